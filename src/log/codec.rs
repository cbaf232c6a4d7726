//! Entries as bytes: how one is built, written, read and found to fit its predecessor.
//!
//! ```text
//!  offset  bytes
//!       0      4  magic "QLOG"
//!       4      2  version, 1
//!       6      2  flags: bit 0 genesis; the others are 0
//!       8      4  length of the payload
//!      12      4  CRC-32 (IEEE) over the row's index, term and id, then offsets 0..12, 16..48 and the payload
//!      16     32  chain hash of the predecessor; 0 for the genesis entry
//!      48      n  payload: postcard of (inputs, grant, config)
//! ```
//!
//! Numbers are little-endian. Index, term and id stand in their own columns of the row; the checksum and the chain hash
//! cover them, so that an entry under another row's name is found out. The checksum finds damage in one row by itself;
//! the chain hash (BLAKE3) ties the row to its whole history.
//!
//! Pair assertion: [`Entry::encode`] reads back what it wrote before it hands it out, and every reader checks again.

use serde::{Deserialize, Serialize};

use super::{AgreedTime, Chain, Entry, Grant, Index, Input, InputId, Payload, Row, Term};

#[cfg(test)]
mod test;

/// Most bytes of an encoded entry. CockroachDB wants a statement to stay below 4 MB; the rest is for the statement's
/// other parameters and the protocol.
pub const ENTRY_BYTES_MAX: usize = 3_900_000;

/// Most inputs in one entry: 16 times what one node may have waiting, and 0.2 s of the smallest frames at 100 Mbit/s.
pub const INPUTS_MAX: usize = 65_536;

/// Most bytes in one frame or one piece of console input: the largest IPv4 packet.
pub const INPUT_BYTES_MAX: usize = 65_535;

/// Most nodes a membership input names: far beyond any cluster, and small enough to check cheaply.
pub const READY_MAX: usize = 1024;

/// Most bytes an input takes beyond those it carries: kind, port and length, and its name as varints.
const INPUT_OVERHEAD_BYTES_MAX: usize = 32;

/// Most bytes of an index as a varint, and of a digest.
const INDEX_AND_DIGEST_BYTES_MAX: usize = 10 + 32;

const MAGIC: [u8; 4] = *b"QLOG";
const VERSION: u16 = 1;
const FLAG_GENESIS: u16 = 1;
const HEADER_BYTES: usize = 48;
/// The checksum's own place in the header.
const CRC_AT: std::ops::Range<usize> = 12..16;
/// Domain separation: no other hash of the project starts like this.
const CHAIN_CONTEXT: &str = "quorate log 1 entry chain";

/// Why bytes are not an entry, or not the one that belongs there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Shorter than the header, or not as long as the header says.
    #[error("an entry of {have} bytes where {want} belong")]
    Length {
        /// Bytes there are.
        have: usize,
        /// Bytes there should be.
        want: usize,
    },
    /// Above [`ENTRY_BYTES_MAX`].
    #[error("an entry of {0} bytes; at most {ENTRY_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// Does not start with the magic number.
    #[error("not an entry: it starts with {0:02x?}")]
    Magic([u8; 4]),
    /// Written by another version of quorate.
    #[error("entry format {0}; this program reads format {VERSION}")]
    Version(u16),
    /// Flag bits this version does not know, or that contradict the contents.
    #[error("entry flags {0:#06x} do not belong to its contents")]
    Flags(u16),
    /// Some bit changed.
    #[error("checksum {have:08x}, computed {computed:08x}")]
    Checksum {
        /// In the header.
        have: u32,
        /// Over what was read.
        computed: u32,
    },
    /// The payload is not what the header's version says.
    #[error("payload: {0}")]
    Payload(String),
    /// A count or length above its limit.
    #[error("{what}: {have}, at most {max} are allowed")]
    Limit {
        /// Which.
        what: &'static str,
        /// How many there are.
        have: usize,
        /// How many may be.
        max: usize,
    },
    /// The entry is sound but does not come after the one it was read after.
    #[error("does not follow its predecessor: {0}")]
    Misfit(String),
}

/// What the payload of an entry holds, as written and as read.
#[derive(Serialize)]
struct PayloadOut<'a> {
    inputs: &'a [Input],
    grant: Grant,
    config: Option<[u8; 32]>,
}

#[derive(Deserialize)]
struct PayloadIn {
    inputs: Vec<Input>,
    grant: Grant,
    config: Option<[u8; 32]>,
}

impl From<&Entry> for (Index, Chain) {
    fn from(entry: &Entry) -> (Index, Chain) {
        (entry.index, entry.chain)
    }
}

impl Entry {
    /// The first entry of a log, named after its contents: equal arguments give an equal entry. For tests; a node that
    /// begins a log uses [`Entry::begin`].
    #[must_use]
    pub fn genesis(config: [u8; 32], start: AgreedTime) -> Entry {
        let name = blake3::hash(&Entry::begin(config, start, 0).payload());
        let id = name.as_bytes()[..16].try_into().expect("a hash has 32 bytes");
        Entry::begin(config, start, u128::from_le_bytes(id))
    }

    /// The first entry of a log. `config` is the digest of everything that must be equal on all nodes, `start` the
    /// agreed time at which the machine is switched on. `id` is random: through the chain hash it makes this log's
    /// history, and whatever is seeded from it, unlike any other's.
    #[must_use]
    pub fn begin(config: [u8; 32], start: AgreedTime, id: u128) -> Entry {
        let mut entry = Entry {
            index: Index(0),
            term: Term(0),
            id,
            previous: Chain::default(),
            chain: Chain::default(),
            inputs: Vec::new(),
            grant: Grant { ticks: 0, until: start },
            config: Some(config),
        };
        entry.chain = chain(entry.previous, entry.index, entry.term, entry.id, &entry.payload());
        entry
    }

    /// The entry that comes after `previous` (an entry, or its index and chain hash).
    #[must_use]
    pub fn after(previous: impl Into<(Index, Chain)>, term: Term, id: u128, inputs: Vec<Input>, grant: Grant) -> Entry {
        let (index, previous) = previous.into();
        let mut entry = Entry {
            index: index.next(),
            term,
            id,
            previous,
            chain: Chain::default(),
            inputs,
            grant,
            config: None,
        };
        entry.chain = chain(previous, entry.index, term, id, &entry.payload());
        entry
    }

    /// The entry as bytes.
    ///
    /// # Panics
    /// If the entry breaks a limit of this module: whoever takes inputs in checks them with [`Input::check`] and stops
    /// adding to an entry in time (see [`Input::encoded_bytes_max`]). Also if reading back gives another entry.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.to_row().entry
    }

    /// The entry as a row of the log; like [`Entry::encode`].
    ///
    /// # Panics
    /// Like [`Entry::encode`].
    #[must_use]
    pub fn to_row(&self) -> Row {
        let flags = if self.config.is_some() { FLAG_GENESIS } else { 0 };
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.payload_bytes_max());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&flags.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]); // length and checksum, known below
        bytes.extend_from_slice(&self.previous.0);
        let mut bytes = self.payload_onto(bytes);
        assert!(
            bytes.len() <= ENTRY_BYTES_MAX,
            "entry {:?} has {} bytes",
            self.index,
            bytes.len()
        );
        let length = u32::try_from(bytes.len() - HEADER_BYTES).expect("below ENTRY_BYTES_MAX");
        bytes[8..12].copy_from_slice(&length.to_le_bytes());
        let crc = checksum(self.index, self.term, self.id, &bytes);
        bytes[CRC_AT].copy_from_slice(&crc.to_le_bytes());
        let row = Row {
            index: self.index,
            term: self.term,
            id: self.id,
            entry: bytes,
        };
        let read = Entry::decode(&row).unwrap_or_else(|error| panic!("entry {:?} as written: {error}", self.index));
        assert!(read == *self, "entry {:?} changed on its way to bytes", self.index);
        row
    }

    /// Read an entry. The chain hash is computed from what was read; whether it fits its predecessor is
    /// [`Entry::fits`]'s to say.
    ///
    /// # Errors
    /// Whatever makes the bytes no entry of this version; never panics, and takes memory in proportion to the row.
    pub fn decode(row: &Row) -> Result<Entry, CodecError> {
        let bytes = row.entry.as_slice();
        let payload = open(row)?;
        let flags = u16::from_le_bytes([bytes[6], bytes[7]]);
        let previous = Chain(bytes[16..HEADER_BYTES].try_into().expect("32 bytes"));
        let (read, rest) =
            postcard::take_from_bytes::<PayloadIn>(payload).map_err(|error| CodecError::Payload(error.to_string()))?;
        if !rest.is_empty() {
            return Err(CodecError::Payload(format!("{} bytes too many", rest.len())));
        }
        let expected = if read.config.is_some() { FLAG_GENESIS } else { 0 };
        if flags != expected || read.config.is_some() != (row.index == Index(0)) {
            return Err(CodecError::Flags(flags));
        }
        limit("inputs", read.inputs.len(), INPUTS_MAX)?;
        read.inputs.iter().try_for_each(Input::check)?;
        Ok(Entry {
            index: row.index,
            term: row.term,
            id: row.id,
            previous,
            chain: chain(previous, row.index, row.term, row.id, payload),
            inputs: read.inputs,
            grant: read.grant,
            config: read.config,
        })
    }

    /// Whether this entry was built on the entry with the chain hash `predecessor`.
    #[must_use]
    pub fn fits(&self, predecessor: Chain) -> bool {
        self.previous == predecessor
    }

    /// Whether this entry may come right after `predecessor`: next index, fitting chain hash, term and agreed time not
    /// going backwards.
    ///
    /// # Errors
    /// [`CodecError::Misfit`] with the reason.
    pub fn follows(&self, predecessor: &Entry) -> Result<(), CodecError> {
        let misfit = |what: String| Err(CodecError::Misfit(what));
        if self.index != predecessor.index.next() {
            return misfit(format!("index {} after {}", self.index.0, predecessor.index.0));
        }
        if !self.fits(predecessor.chain) {
            let (have, want) = (hex::encode(self.previous.0), hex::encode(predecessor.chain.0));
            return misfit(format!("built on {have}, the predecessor is {want}"));
        }
        if self.term < predecessor.term {
            return misfit(format!("term {} after {}", self.term.0, predecessor.term.0));
        }
        if self.grant.until < predecessor.grant.until {
            return misfit(format!(
                "agreed time {} after {}",
                self.grant.until.0, predecessor.grant.until.0
            ));
        }
        Ok(())
    }

    fn payload(&self) -> Vec<u8> {
        self.payload_onto(Vec::with_capacity(self.payload_bytes_max()))
    }

    /// Append the payload to `bytes`.
    fn payload_onto(&self, bytes: Vec<u8>) -> Vec<u8> {
        let payload = PayloadOut {
            inputs: &self.inputs,
            grant: self.grant,
            config: self.config,
        };
        postcard::to_extend(&payload, bytes).expect("a vector takes every byte")
    }

    /// At least the length of the payload: one allocation is enough.
    fn payload_bytes_max(&self) -> usize {
        let fixed = 64; // count, grant, config
        self.inputs
            .iter()
            .fold(fixed, |sum, input| sum + input.encoded_bytes_max())
    }
}

impl Input {
    /// Whether the input may be in an entry: for inputs from a peer or an edge, before they are taken in.
    ///
    /// # Errors
    /// [`CodecError::Limit`] if it is too large.
    pub fn check(&self) -> Result<(), CodecError> {
        match &self.payload {
            Payload::Frame(bytes) => limit("bytes of a frame", bytes.len(), INPUT_BYTES_MAX),
            Payload::Serial { bytes, .. } => limit("bytes of serial input", bytes.len(), INPUT_BYTES_MAX),
            Payload::Membership { ready } => limit("ready nodes", ready.len(), READY_MAX),
            Payload::Reset
            | Payload::Capture { .. }
            | Payload::Digest { .. }
            | Payload::Stored { .. }
            | Payload::Readmit { .. } => Ok(()),
        }
    }

    /// At least the bytes this input takes in an entry: what a sequencer adds up to keep an entry within its limit.
    #[must_use]
    pub fn encoded_bytes_max(&self) -> usize {
        let carried = match &self.payload {
            Payload::Frame(bytes) | Payload::Serial { bytes, .. } => bytes.len(),
            Payload::Membership { ready } => 3 * ready.len(),
            Payload::Digest { .. } | Payload::Stored { .. } => INDEX_AND_DIGEST_BYTES_MAX,
            Payload::Reset | Payload::Capture { .. } | Payload::Readmit { .. } => 0,
        };
        INPUT_OVERHEAD_BYTES_MAX + carried
    }
}

impl std::fmt::Display for InputId {
    /// origin.incarnation.sequence
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{}.{}.{}", self.origin.0, self.incarnation, self.sequence)
    }
}

/// Check everything around the payload and return it.
fn open(row: &Row) -> Result<&[u8], CodecError> {
    let bytes = row.entry.as_slice();
    if bytes.len() > ENTRY_BYTES_MAX {
        return Err(CodecError::TooLong(bytes.len()));
    }
    if bytes.len() < HEADER_BYTES {
        return Err(CodecError::Length {
            have: bytes.len(),
            want: HEADER_BYTES,
        });
    }
    let magic = [bytes[0], bytes[1], bytes[2], bytes[3]];
    if magic != MAGIC {
        return Err(CodecError::Magic(magic));
    }
    let version = u16::from_le_bytes([bytes[4], bytes[5]]);
    if version != VERSION {
        return Err(CodecError::Version(version));
    }
    let length = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
    let payload = &bytes[HEADER_BYTES..];
    if u32::try_from(payload.len()) != Ok(length) {
        return Err(CodecError::Length {
            have: bytes.len(),
            want: HEADER_BYTES.saturating_add(length as usize),
        });
    }
    let have = u32::from_le_bytes(bytes[CRC_AT].try_into().expect("4 bytes"));
    let computed = checksum(row.index, row.term, row.id, bytes);
    if have != computed {
        return Err(CodecError::Checksum { have, computed });
    }
    Ok(payload)
}

fn checksum(index: Index, term: Term, id: u128, entry: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&index.0.to_le_bytes());
    crc.update(&term.0.to_le_bytes());
    crc.update(&id.to_le_bytes());
    crc.update(&entry[..CRC_AT.start]);
    crc.update(&entry[CRC_AT.end..]);
    crc.finalize()
}

fn chain(previous: Chain, index: Index, term: Term, id: u128, payload: &[u8]) -> Chain {
    let mut hash = blake3::Hasher::new_derive_key(CHAIN_CONTEXT);
    hash.update(&previous.0);
    hash.update(&index.0.to_le_bytes());
    hash.update(&term.0.to_le_bytes());
    hash.update(&id.to_le_bytes());
    hash.update(payload);
    Chain(*hash.finalize().as_bytes())
}

fn limit(what: &'static str, have: usize, max: usize) -> Result<(), CodecError> {
    if have > max {
        Err(CodecError::Limit { what, have, max })
    } else {
        Ok(())
    }
}
