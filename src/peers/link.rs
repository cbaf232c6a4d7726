//! One established link: sending without a task in between, receiving into the event queue.
//!
//! [`Link::send`] encrypts and writes to the socket in the caller's thread; only what the kernel does not take at once
//! waits for the link's task. That saves a task switch (10 to 50 us on a busy host) on the way of every committed entry.

use std::io;
use std::sync::Mutex;
use std::time::Duration;

use bytes::BytesMut;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout_at};

use super::PeerEvent;
use super::handshake::Channel;
use super::wire::{FRAME_BYTES_MAX, Frame, Opener, Sealer, WireError};
use crate::log::NodeId;

/// Most bytes that wait for a peer that does not read: some of the largest messages, or 100 ms at 1 Gbit/s. A peer so
/// far behind is better off reading the log itself.
const QUEUE_BYTES_MAX: usize = 16 << 20;
/// A send buffer larger than this is given back when it is empty.
const BUFFER_BYTES_KEPT: usize = 1 << 20;

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("closed ({0})")]
    Closed(io::ErrorKind),
    #[error("nothing received for {} ms", .0.as_millis())]
    Silent(Duration),
    #[error("protocol error: {0}")]
    Garbled(#[from] WireError),
    #[error("the node is shutting down")]
    Shutdown,
}

/// The sending half and what ends the link; shared by everybody who sends.
pub(super) struct Link {
    pub(super) incarnation: u64,
    stream: TcpStream,
    outbox: Mutex<Outbox>,
    /// Signalled when the kernel did not take everything.
    unsent: Notify,
}

struct Outbox {
    sealer: Sealer,
    /// Sealed bytes; those before `sent` are gone.
    bytes: Vec<u8>,
    sent: usize,
}

/// The link's queue is full.
#[derive(Debug)]
pub(super) struct Overflow;

impl Link {
    /// Takes over an authenticated channel. The opener goes to [`Link::run`].
    pub(super) fn new(channel: Channel, incarnation: u64) -> (Link, Opener) {
        let Channel { stream, sealer, opener } = channel;
        let outbox = Mutex::new(Outbox {
            sealer,
            bytes: Vec::new(),
            sent: 0,
        });
        (
            Link {
                incarnation,
                stream,
                outbox,
                unsent: Notify::new(),
            },
            opener,
        )
    }

    /// Sends or queues a frame; never waits. On a link that has ended it does nothing.
    pub(super) fn send(&self, frame: &Frame) -> Result<(), Overflow> {
        let mut outbox = self.outbox.lock().expect("no panic while it is held");
        let waiting = outbox.bytes.len() - outbox.sent;
        if waiting + frame.len() > QUEUE_BYTES_MAX {
            self.close();
            return Err(Overflow);
        }
        let Outbox { sealer, bytes, .. } = &mut *outbox;
        sealer.seal(frame, bytes);
        // With something waiting already, the task below is at it; writing here would only find the socket full.
        if waiting == 0 {
            match outbox.flush(&self.stream) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.unsent.notify_one(),
                Err(_) => self.close(),
            }
        }
        Ok(())
    }

    /// Ends the link: [`Link::run`] returns as soon as it has handed over what it received.
    pub(super) fn close(&self) {
        // The only failure is "not connected": then it has ended already.
        let _ = SockRef::from(&self.stream).shutdown(std::net::Shutdown::Both);
    }

    /// Receives until the link ends. `count` is called for each message.
    pub(super) async fn run(
        &self,
        peer: NodeId,
        opener: Opener,
        events: &mpsc::Sender<PeerEvent>,
        silence_max: Duration,
        count: impl Fn(),
    ) -> Ended {
        let ended = tokio::select! {
            ended = self.receive(peer, opener, events, silence_max, count) => ended,
            ended = self.flush_when_writable() => ended,
        };
        self.close();
        ended
    }

    async fn receive(
        &self,
        peer: NodeId,
        mut opener: Opener,
        events: &mpsc::Sender<PeerEvent>,
        silence_max: Duration,
        count: impl Fn(),
    ) -> Ended {
        let mut received_at = Instant::now();
        loop {
            loop {
                match opener.next(FRAME_BYTES_MAX) {
                    Ok(Some(message)) => {
                        count();
                        if events.send(PeerEvent::Message(peer, message)).await.is_err() {
                            return Ended::Shutdown;
                        }
                    }
                    Ok(None) => break,
                    Err(error) => return error.into(),
                }
            }
            match self.read(&mut opener.sealed, received_at + silence_max).await {
                Ok(Some(0)) => return Ended::Closed(io::ErrorKind::UnexpectedEof),
                Ok(Some(_)) => received_at = Instant::now(),
                Ok(None) => return Ended::Silent(silence_max),
                Err(error) => return Ended::Closed(error.kind()),
            }
        }
    }

    /// Reads what there is; `None` when nothing came until `deadline`.
    async fn read(&self, into: &mut BytesMut, deadline: Instant) -> io::Result<Option<usize>> {
        loop {
            into.reserve(Opener::READ_BYTES);
            match self.stream.try_read_buf(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result.map(Some),
            }
            match timeout_at(deadline, self.stream.readable()).await {
                Ok(ready) => ready?,
                Err(_) => return Ok(None),
            }
        }
    }

    async fn flush_when_writable(&self) -> Ended {
        loop {
            self.unsent.notified().await;
            loop {
                if let Err(error) = self.stream.writable().await {
                    return Ended::Closed(error.kind());
                }
                match self
                    .outbox
                    .lock()
                    .expect("no panic while it is held")
                    .flush(&self.stream)
                {
                    Ok(()) => break,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Ended::Closed(error.kind()),
                }
            }
        }
    }
}

impl Outbox {
    /// Writes until everything is sent (`Ok`) or the socket takes no more (`WouldBlock`).
    fn flush(&mut self, stream: &TcpStream) -> io::Result<()> {
        while self.sent < self.bytes.len() {
            match stream.try_write(&self.bytes[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(error) => {
                    // A peer that keeps the queue half full for ever must not make what is sent pile up in front.
                    if self.sent > BUFFER_BYTES_KEPT {
                        self.bytes.drain(..self.sent);
                        self.sent = 0;
                    }
                    return Err(error);
                }
            }
        }
        self.sent = 0;
        self.bytes.clear();
        if self.bytes.capacity() > BUFFER_BYTES_KEPT {
            self.bytes = Vec::new();
        }
        Ok(())
    }
}
