//! Frames at the TAP as pcapng, for `quorate capture`.

use std::sync::Arc;

use netbridge::pcapng::{Direction, LinkType, Writer};

use crate::admin::Feed;
use crate::clock;

/// Turns frames into pcapng blocks while somebody listens.
#[derive(Debug, Clone)]
pub struct Capture {
    feed: Arc<Feed>,
    interface: Arc<str>,
    preamble_bytes: usize,
}

impl Capture {
    /// A capture of the interface of this name.
    #[must_use]
    pub fn new(interface: &str) -> Capture {
        let preamble = section(interface, None);
        let preamble_bytes = preamble.len();
        Capture {
            feed: Arc::new(Feed::new(preamble, 0)),
            interface: interface.into(),
            preamble_bytes,
        }
    }

    /// What listeners hear: a section header and the interface, then a block for each frame.
    #[must_use]
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// A frame passed the TAP.
    pub fn frame(&self, direction: Direction, frame: &[u8]) {
        if self.feed.has_listeners() {
            let mut block = section(&self.interface, Some((direction, frame)));
            block.drain(..self.preamble_bytes);
            self.feed.publish(block);
        }
    }
}

/// A whole section with one interface and at most one packet.
fn section(interface: &str, packet: Option<(Direction, &[u8])>) -> Vec<u8> {
    const IN_MEMORY: &str = "writing to memory does not fail";
    let mut writer = Writer::new(Vec::new()).expect(IN_MEMORY);
    let id = writer.interface(interface, LinkType::Ethernet).expect(IN_MEMORY);
    if let Some((direction, frame)) = packet {
        writer
            .packet(id, clock::wall_ns(), direction, frame, None)
            .expect(IN_MEMORY);
    }
    writer.into_inner().expect(IN_MEMORY)
}
