//! Whether another interface, usually the uplink, has a link.

use std::io;

use crate::tap::Control;

/// Asks the kernel about interfaces of the network namespace in which it was made.
#[derive(Debug)]
pub struct LinkWatch(Control);

impl LinkWatch {
    /// Binds to the calling thread's network namespace.
    ///
    /// # Errors
    /// No socket could be opened.
    pub fn new() -> io::Result<Self> {
        Control::new().map(LinkWatch)
    }

    /// The interface is administratively up and has a carrier, at this moment.
    ///
    /// The driver is asked first (ETHTOOL_GLINK): the flag IFF_RUNNING follows the carrier by up to a second, because
    /// the kernel groups link events. It is the answer only for drivers that do not tell.
    ///
    /// # Errors
    /// ENODEV if there is no such interface (it may come back).
    pub fn is_up(&self, name: &str) -> io::Result<bool> {
        let flags = self.0.flags(name)?;
        if flags & libc::IFF_UP as u16 == 0 {
            return Ok(false);
        }
        match self.0.ethtool_link(name) {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(flags & libc::IFF_RUNNING as u16 != 0),
            result => result,
        }
    }
}
