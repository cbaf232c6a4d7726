//! What frames are received from and sent to.
//!
//! Real ports also implement [`AsFd`](std::os::fd::AsFd): the node waits for the descriptor with its own runtime, this
//! crate never waits.

use std::io;

/// Ethernet frames in and out, without the frame check sequence. Non-blocking.
pub trait Port {
    /// Receives one frame into `buf` and returns its length in bytes. A longer frame is cut to `buf`.
    ///
    /// # Errors
    /// `WouldBlock` if there is none now; anything else means the port is gone.
    fn recv(&self, buf: &mut [u8]) -> io::Result<usize>;

    /// Sends one whole frame.
    ///
    /// # Errors
    /// The port refused this frame (too short, link administratively down) or is gone.
    fn send(&self, frame: &[u8]) -> io::Result<()>;
}
