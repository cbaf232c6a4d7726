//! Transparent mode: raw frames pass untranslated, and only the owner of a station is remembered.
//!
//! [`Owners`] says which node took the last frame from a station of the world, as a learning bridge does (IEEE 802.1Q
//! section 8.7), so that the egress policy `ingress-owner` also works on frames. Like the flows it is replicated state,
//! changed only while committed entries are applied.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::NodeId;
use crate::packet::ethernet::{Frame, is_group};
use crate::state::{COUNT_MAX, RestoreError, open, seal};

/// "quorate L2".
const MAGIC: [u8; 4] = *b"QNL2";
/// Raised with every change of what is saved.
const VERSION: u16 = 1;

/// Stations remembered; more than one segment holds. The one silent for longest makes room, so a sender that makes up
/// addresses costs memory only up to here.
pub const STATIONS_MAX: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Station {
    owner: NodeId,
    /// Number of the last frame from it.
    frame: u64,
}

/// Which node took the last frame from each station.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owners {
    stations: BTreeMap<[u8; 6], Station>,
    /// Stations by the number of their last frame: the order in which they are forgotten.
    order: BTreeMap<u64, [u8; 6]>,
    frames: u64,
}

impl Owners {
    /// Nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Node `origin` took `frame` from the world. A frame without a proper source teaches nothing.
    pub fn learn(&mut self, frame: &[u8], origin: NodeId) {
        let Ok(Frame { source, .. }) = Frame::parse(frame) else {
            return;
        };
        if is_group(source) {
            return;
        }
        let station = Station {
            owner: origin,
            frame: self.frames,
        };
        self.frames += 1;
        if let Some(before) = self.stations.insert(source, station) {
            self.order.remove(&before.frame);
        } else if self.stations.len() > STATIONS_MAX
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.stations.remove(&oldest);
        }
        self.order.insert(station.frame, source);
    }

    /// The node behind which the destination of the guest's `frame` was seen; none for groups and unknown stations.
    pub fn owner(&self, frame: &[u8]) -> Option<NodeId> {
        let Frame { destination, .. } = Frame::parse(frame).ok()?;
        self.stations.get(&destination).map(|station| station.owner)
    }

    /// How many stations are known.
    pub fn len(&self) -> usize {
        self.stations.len()
    }

    /// No station is known.
    pub fn is_empty(&self) -> bool {
        self.stations.is_empty()
    }

    /// The state as bytes, in the envelope of [`crate::Nat::save`] with settings of zero.
    pub fn save(&self) -> Vec<u8> {
        seal(MAGIC, VERSION, [0; 32], &(self.frames, &self.stations))
    }

    /// The value that was saved.
    pub fn restore(bytes: &[u8]) -> Result<Self, RestoreError> {
        let (frames, stations): (u64, BTreeMap<[u8; 6], Station>) = open(MAGIC, VERSION, [0; 32], bytes)?;
        let order: BTreeMap<u64, [u8; 6]> = stations.iter().map(|(&mac, station)| (station.frame, mac)).collect();
        let is_early = order.last_key_value().is_none_or(|(&last, _)| last < frames) && frames <= COUNT_MAX;
        if stations.len() > STATIONS_MAX || order.len() != stations.len() || !is_early {
            return Err(RestoreError::Invariant("stations are too many or share a frame"));
        }
        Ok(Self {
            stations,
            order,
            frames,
        })
    }

    /// A hash over the state.
    pub fn digest(&self) -> [u8; 32] {
        *blake3::hash(&self.save()).as_bytes()
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn frame(source: u64, destination: u64) -> Vec<u8> {
        let address = |number: u64| *number.to_be_bytes()[2..].first_chunk::<6>().unwrap();
        Frame {
            destination: address(destination),
            source: address(source),
            ethertype: 0x0800,
            payload: &[],
        }
        .emit()
    }

    #[test]
    fn the_last_frame_decides() {
        let mut owners = Owners::new();
        assert_eq!(owners.owner(&frame(1, 2)), None);
        owners.learn(&frame(2, 1), NodeId(0));
        owners.learn(&frame(2, 1), NodeId(2));
        assert_eq!(owners.owner(&frame(1, 2)), Some(NodeId(2)));
        assert_eq!(owners.owner(&frame(1, 0xffff_ffff_ffff)), None);
        owners.learn(&[0; 13], NodeId(1));
        owners.learn(&frame(0x0100_0000_0000, 1), NodeId(1));
        assert_eq!(owners.len(), 1);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_silent() {
        let mut owners = Owners::new();
        for source in 0..STATIONS_MAX as u64 {
            owners.learn(&frame(source, 1), NodeId(0));
        }
        owners.learn(&frame(0, 1), NodeId(1));
        owners.learn(&frame(STATIONS_MAX as u64, 1), NodeId(2));
        assert_eq!(owners.len(), STATIONS_MAX);
        assert_eq!(owners.owner(&frame(9, 0)), Some(NodeId(1)));
        assert_eq!(owners.owner(&frame(9, 1)), None);
    }

    #[test]
    fn cut_and_restore_at_every_frame() {
        let sources = [5, 6, 5, 7, 5, 6];
        let mut whole = Owners::new();
        for (cut, &source) in sources.iter().enumerate() {
            whole.learn(&frame(source, 1), NodeId(cut as u16));
            let mut restored = Owners::restore(&whole.save()).unwrap();
            assert_eq!(restored, whole);
            let mut straight = whole.clone();
            for &later in &sources[cut + 1..] {
                restored.learn(&frame(later, 1), NodeId(9));
                straight.learn(&frame(later, 1), NodeId(9));
            }
            assert_eq!(restored.digest(), straight.digest());
        }
    }
}
