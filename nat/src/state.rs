//! Saved state: an envelope, and what [`Nat`] puts into it.
//!
//! ```text
//!  0        4         6          38             42          74
//!  | magic  | version | settings | payload len  | BLAKE3    | payload (postcard)
//!  | 4      | u16 LE  | 32       | u32 LE       | 32        | ...
//! ```
//!
//! `settings` is the digest of the configuration; the hash is over the payload. What comes back from a database or a
//! peer is checked like any other input: a wrong byte is an error, never a panic.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::ConfigError;
use crate::counters::Counters;
use crate::flow::{Flow, Table, Transport};
use crate::{AgreedTime, Config, Nat};

/// "quorate NAT".
const MAGIC: [u8; 4] = *b"QNAT";
/// Raised with every change of what is saved.
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 74;
/// No count of packets gets here in practice, and counting on from here cannot overflow.
pub(crate) const COUNT_MAX: u64 = u64::MAX / 2;

/// Saved state that cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The settings themselves are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Too short for a header, or not as long as the header says.
    #[error("saved state of {0} bytes: not the length its header asks for")]
    Length(usize),
    /// Something else was saved here.
    #[error("saved state begins with {found:02x?}, not {expected:02x?}")]
    Magic {
        /// The first bytes.
        found: [u8; 4],
        /// What they should be.
        expected: [u8; 4],
    },
    /// Another version's format.
    #[error("saved state has version {found}, this program reads {expected}")]
    Version {
        /// Version found.
        found: u16,
        /// Version of this program.
        expected: u16,
    },
    /// Saved under other settings.
    #[error("saved state belongs to other settings")]
    Settings,
    /// Damaged.
    #[error("saved state is damaged: its checksum does not fit")]
    Checksum,
    /// The payload is not what it should be.
    #[error("saved state cannot be decoded")]
    Payload,
    /// The payload contradicts itself or the settings.
    #[error("saved state breaks an invariant: {0}")]
    Invariant(&'static str),
}

/// What of a [`Nat`] cannot be derived from the settings.
#[derive(Serialize, Deserialize)]
struct State {
    now: AgreedTime,
    next_id: u64,
    counters: Counters,
    flows: Vec<Flow>,
}

impl Nat {
    /// The state as bytes; its layout is in the source of this module.
    pub fn save(&self) -> Vec<u8> {
        seal(MAGIC, VERSION, self.settings.digest(), &self.state())
    }

    /// The value that was saved under the same settings. Views must be made anew.
    pub fn restore(config: Config, bytes: &[u8]) -> Result<Self, RestoreError> {
        let mut nat = Self::new(config)?;
        let state: State = open(MAGIC, VERSION, nat.settings.digest(), bytes)?;
        if state.next_id > COUNT_MAX || state.counters.largest() > COUNT_MAX {
            return Err(RestoreError::Invariant("a count is impossible"));
        }
        for flow in &state.flows {
            check_flow(&nat, flow, state.now)?;
        }
        nat.now = state.now;
        nat.counters = state.counters;
        nat.table = Table::from_flows(nat.settings.config().flows_max, state.next_id, state.flows)
            .ok_or(RestoreError::Invariant("flows are too many or share a name"))?;
        Ok(nat)
    }

    /// A hash over settings and state: equal on nodes that applied the same entries. It reads all flows.
    pub fn digest(&self) -> [u8; 32] {
        *blake3::hash(&self.save()).as_bytes()
    }

    fn state(&self) -> State {
        State {
            now: self.now,
            next_id: self.table.next_id(),
            counters: self.counters.clone(),
            flows: self.table.flows().cloned().collect(),
        }
    }
}

fn check_flow(nat: &Nat, flow: &Flow, now: AgreedTime) -> Result<(), RestoreError> {
    use crate::flow::Progress;
    let (world, guest) = (&flow.world, &flow.guest);
    let fits = matches!(
        (world.transport, flow.progress),
        (Transport::Tcp, Progress::Tcp(_))
            | (Transport::Udp, Progress::Udp { .. })
            | (Transport::EchoToGuest | Transport::EchoToWorld, Progress::Echo)
    );
    if !fits || world.transport != guest.transport {
        return Err(RestoreError::Invariant("a flow has two transports"));
    }
    if world.peer.address != guest.peer.address
        || guest.local.address != nat.settings.guest()
        || !nat.settings.is_external(world.local.address)
    {
        return Err(RestoreError::Invariant("a flow has foreign addresses"));
    }
    if flow.last > now {
        return Err(RestoreError::Invariant("a flow is from the future"));
    }
    Ok(())
}

/// Puts a value into the envelope.
pub(crate) fn seal(magic: [u8; 4], version: u16, settings: [u8; 32], value: &impl Serialize) -> Vec<u8> {
    let payload = postcard::to_stdvec(value).expect("plain data in memory always serializes");
    envelope(magic, version, settings, &payload)
}

/// The envelope around `payload`.
pub(crate) fn envelope(magic: [u8; 4], version: u16, settings: [u8; 32], payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("tables are bounded far below 4 GiB");
    let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
    bytes.extend_from_slice(&magic);
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&settings);
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(blake3::hash(payload).as_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Takes a value out of the envelope.
pub(crate) fn open<T: DeserializeOwned>(
    magic: [u8; 4],
    version: u16,
    settings: [u8; 32],
    bytes: &[u8],
) -> Result<T, RestoreError> {
    let length = RestoreError::Length(bytes.len());
    let Some((header, payload)) = bytes.split_at_checked(HEADER_BYTES) else {
        return Err(length);
    };
    let found: [u8; 4] = field(header, 0);
    if found != magic {
        return Err(RestoreError::Magic { found, expected: magic });
    }
    let found = u16::from_le_bytes(field(header, 4));
    if found != version {
        return Err(RestoreError::Version {
            found,
            expected: version,
        });
    }
    if field::<32>(header, 6) != settings {
        return Err(RestoreError::Settings);
    }
    if u32::from_le_bytes(field(header, 38)) as usize != payload.len() {
        return Err(length);
    }
    if *blake3::hash(payload).as_bytes() != field::<32>(header, 42) {
        return Err(RestoreError::Checksum);
    }
    match postcard::take_from_bytes(payload) {
        Ok((value, [])) => Ok(value),
        _ => Err(RestoreError::Payload),
    }
}

fn field<const N: usize>(header: &[u8], offset: usize) -> [u8; N] {
    *header[offset..]
        .first_chunk()
        .expect("the header's layout has room for every field")
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::NodeId;
    use crate::testing::*;

    fn busy() -> Nat {
        let mut nat = Nat::new(config()).unwrap();
        nat.inbound(
            &tcp((CLIENT, 5), (SHARED, 80), "S", 1, 0, &[]),
            NodeId(1),
            AgreedTime(5),
        );
        nat.outbound(&from_guest(&udp((GUEST, 4000), (CLIENT, 53), &[])), AgreedTime(6));
        nat
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let saved = busy().save();
        for at in 0..saved.len() {
            let mut damaged = saved.clone();
            damaged[at] ^= 0x10;
            assert!(Nat::restore(config(), &damaged).is_err(), "byte {at}");
            assert!(Nat::restore(config(), &saved[..at]).is_err(), "cut at {at}");
        }
        let longer = [&saved[..], &[0]].concat();
        assert_eq!(
            Nat::restore(config(), &longer).unwrap_err(),
            RestoreError::Length(longer.len())
        );
    }

    #[test]
    fn state_of_other_settings_is_refused() {
        let error = Nat::restore(
            Config {
                flows_max: 17,
                ..config()
            },
            &busy().save(),
        )
        .unwrap_err();
        assert_eq!(error, RestoreError::Settings);
    }

    #[test]
    fn state_that_contradicts_itself_is_refused() {
        type Change = fn(&mut State);
        let cases: [(Change, &str); 7] = [
            (|state| state.flows[1] = state.flows[0].clone(), "share a name"),
            (|state| state.next_id = 1, "too many or share"),
            (|state| state.flows = vec![state.flows[0].clone(); 17], "too many"),
            (|state| state.flows[0].guest.local.address = CLIENT, "foreign"),
            (
                |state| state.flows[0].world.transport = Transport::Udp,
                "two transports",
            ),
            (|state| state.now = AgreedTime(5), "future"),
            (|state| state.counters.to_guest = u64::MAX, "impossible"),
        ];
        let nat = busy();
        for (change, message) in cases {
            let mut state = nat.state();
            change(&mut state);
            let error = Nat::restore(config(), &seal(MAGIC, VERSION, nat.settings.digest(), &state)).unwrap_err();
            assert!(error.to_string().contains(message), "{error} lacks {message}");
        }
    }

    #[test]
    fn every_part_is_in_the_digest() {
        let nat = busy();
        let mut later = nat.clone();
        assert_eq!(later.digest(), nat.digest());
        later.advance(AgreedTime(7));
        assert_ne!(later.digest(), nat.digest());
        let mut counted = nat.clone();
        counted.inbound(&[], NodeId(1), AgreedTime(6));
        assert_ne!(counted.digest(), nat.digest());
    }
}
