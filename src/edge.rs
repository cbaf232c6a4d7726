//! This node's TAP: what comes in is filtered and offered, what goes out is framed and sent.
//!
//! [`Edge`] belongs to the main loop (receiving, carrier, link watch); [`Wire`] is the half that the executor's thread
//! shares, for sending. Both meet in one lock around the ingress logic, which knows the neighbours' station addresses.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard};

use netbridge::ingress::{Decision, Ingress};
use netbridge::pcapng::Direction;
use netbridge::{LinkWatch, Port, Tap, TapError};
use tokio::io::unix::AsyncFd;

use crate::capture::Capture;
use crate::log::Payload;

/// Largest frame the TAP hands over: an MTU of 1500 and the header, with room for a VLAN tag, rounded up.
const FRAME_BYTES_MAX: usize = 2048;
/// The TAP and what both threads need around it.
#[derive(Debug)]
pub struct Wire {
    tap: Tap,
    ingress: Mutex<Ingress>,
    capture: Capture,
}

impl Wire {
    /// Send one output: an IPv4 packet (which gets its Ethernet header here) or, in transparent mode, a frame.
    ///
    /// # Errors
    /// The TAP refuses (its queue is full, it is down), or the packet is not IPv4.
    pub fn send(&self, output: &[u8]) -> io::Result<()> {
        let frame = self.ingress().frame_for(output);
        let frame = frame.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an IPv4 packet"))?;
        self.capture.frame(Direction::Outbound, &frame);
        self.tap.send(&frame)
    }

    /// Tell the segment that the guest's station is here now (transparent mode; otherwise nothing).
    pub fn announce_station(&self) {
        let announcement = self.ingress().station_announcement();
        if let Some(frame) = announcement {
            self.capture.frame(Direction::Outbound, &frame);
            let _ = self.tap.send(&frame); // the guest's next frame says the same
        }
    }

    /// Frames in and out, for whoever listens.
    #[must_use]
    pub fn capture(&self) -> &Capture {
        &self.capture
    }

    fn ingress(&self) -> MutexGuard<'_, Ingress> {
        self.ingress.lock().expect("nobody panics with the lock")
    }
}

/// The TAP's descriptor, for tokio. It stays open and the same as long as the [`Wire`] lives, which this holds.
struct Descriptor(Arc<Wire>);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.tap.as_fd().as_raw_fd()
    }
}

/// The main loop's half.
pub struct Edge {
    wire: Arc<Wire>,
    descriptor: AsyncFd<Descriptor>,
    /// What the rules and flows let in (mode `nat`); nothing before the executor said so.
    view: Option<nat::View>,
    transparent: bool,
    links: Vec<String>,
    watch: LinkWatch,
    buffer: Box<[u8; FRAME_BYTES_MAX]>,
}

impl Edge {
    /// Wrap an open TAP. `links` must have carrier for the node to be ready. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The runtime cannot watch the descriptor, or links cannot be looked at.
    pub fn new(tap: Tap, ingress: Ingress, transparent: bool, links: Vec<String>) -> io::Result<Edge> {
        let capture = Capture::new(tap.name());
        let wire = Arc::new(Wire {
            tap,
            ingress: Mutex::new(ingress),
            capture,
        });
        // The constructor is deprecated for one that is unsafe to call, because nothing forces a type's descriptor to
        // stay open; `Descriptor` holds what keeps it open.
        #[allow(deprecated)]
        let descriptor = AsyncFd::new(Descriptor(Arc::clone(&wire)))?;
        let buffer = Box::new([0; FRAME_BYTES_MAX]);
        Ok(Edge {
            wire,
            descriptor,
            view: None,
            transparent,
            links,
            watch: LinkWatch::new()?,
            buffer,
        })
    }

    /// The half for the executor.
    #[must_use]
    pub fn wire(&self) -> Arc<Wire> {
        Arc::clone(&self.wire)
    }

    /// Wait until there may be something to [`receive`](Edge::receive). Cancel safe.
    ///
    /// # Errors
    /// The runtime is going away.
    pub async fn readable(&self) -> io::Result<()> {
        self.descriptor.readable().await.map(|mut guard| guard.retain_ready())
    }

    /// Take frames from the TAP until one is to be offered to the log; ARP is answered on the way. `None`: the TAP has
    /// nothing more now.
    pub fn receive(&mut self, now: u64) -> Option<Payload> {
        loop {
            let length = match self.wire.tap.recv(&mut self.buffer[..]) {
                Ok(length) => length,
                Err(error) => {
                    if error.kind() == io::ErrorKind::WouldBlock {
                        self.wait_for_more();
                    }
                    return None; // any other error shows again, or the carrier watch finds the TAP gone
                }
            };
            let frame = &self.buffer[..length];
            self.wire.capture.frame(Direction::Inbound, frame);
            let (view, transparent) = (&self.view, self.transparent);
            let admit = |packet: &[u8]| match view {
                _ if transparent => Ok(()),
                Some(view) => view.admits(packet).map_err(nat::DropReason::name),
                None => Err("the machine has not started"),
            };
            let mut ingress = self.wire.ingress();
            match ingress.frame(frame, now, admit) {
                Decision::Offer(bytes) => return Some(Payload::Frame(bytes.to_vec())),
                Decision::Reply(reply) => {
                    drop(ingress);
                    self.wire.capture.frame(Direction::Outbound, &reply);
                    let _ = self.wire.tap.send(&reply); // a lost ARP reply is asked for again
                }
                Decision::Drop(_) => {}
            }
        }
    }

    /// Tell tokio that the descriptor was read empty, so that [`readable`](Edge::readable) waits for the kernel again.
    fn wait_for_more(&self) {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        if let std::task::Poll::Ready(Ok(mut guard)) = self.descriptor.poll_read_ready(&mut context) {
            guard.clear_ready();
        }
    }

    /// What may come in changed.
    pub fn set_view(&mut self, view: nat::View) {
        self.view = Some(view);
    }

    /// Raise or drop the TAP's carrier; when it rises, the external addresses are announced (gratuitous ARP).
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_carrier(&self, up: bool) -> Result<(), TapError> {
        self.wire.tap.set_carrier(up)?;
        if up {
            let announcements = self.wire.ingress().announcements();
            for frame in announcements {
                let _ = self.wire.tap.send(&frame); // the neighbours will ask
            }
        }
        Ok(())
    }

    /// Whether every watched link has carrier. A link that is gone has none.
    #[must_use]
    pub fn links_up(&self) -> bool {
        self.links.iter().all(|link| self.watch.is_up(link).unwrap_or(false))
    }

    /// Frames seen, offered, answered and dropped, with the reasons that occurred.
    #[must_use]
    pub fn counters(&self) -> netbridge::counters::Counters {
        self.wire.ingress().counters().clone()
    }
}
