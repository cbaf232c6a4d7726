//! Bytes on an established link: messages <-> frames <-> Noise records. No sockets here.
//!
//! ```text
//! message   postcard of replica::PeerMessage
//! frame     | u32 BE length | message |                          at most FRAME_BYTES_MAX
//! record    | u16 BE length | ciphertext of a piece of the frame stream, 16-byte tag included |
//! ```
//! Frames are a byte stream cut into records, so a message may be larger than a record. Records are numbered on both
//! sides (the Noise nonce): one lost, repeated or altered record fails the authentication and ends the link.

use std::sync::Arc;

use bytes::{Buf, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use snow::StatelessTransportState;

/// Longest ciphertext of one record (Noise specification, revision 34, section 3).
const RECORD_BYTES_MAX: usize = 65_535;
/// Poly1305 tag at the end of every record.
const TAG_BYTES: usize = 16;
/// Longest message: an entry of 4 MiB, or as many offered inputs, with room for what surrounds them.
pub(super) const FRAME_BYTES_MAX: usize = 6 << 20;
/// Length field in front of a message.
const PREFIX_BYTES: usize = 4;

/// Why bytes from (or for) a peer are not a message. From an authenticated peer this is a bug or another version.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// A record that was not made with this link's keys, or is not the next one.
    #[error("record {record} fails its authentication")]
    Forged {
        /// Number of the record on this link, from 0.
        record: u64,
    },
    /// A message longer than the receiver accepts.
    #[error("a message of {length} bytes is longer than {limit}")]
    TooLong {
        /// Claimed or real length in bytes.
        length: usize,
        /// Limit in bytes.
        limit: usize,
    },
    /// Authenticated bytes that are no message.
    #[error("not a message: {0}")]
    Malformed(#[from] postcard::Error),
    /// A message followed by bytes that do not belong to it.
    #[error("{0} bytes after the end of a message")]
    Trailing(usize),
}

/// A message as a frame: made once, sealed once for each link it goes to.
#[derive(Debug)]
pub(super) struct Frame(Vec<u8>);

impl Frame {
    /// Encodes `message`.
    pub(super) fn new(message: &impl Serialize) -> Result<Frame, WireError> {
        let mut bytes = postcard::to_extend(message, vec![0; PREFIX_BYTES])?;
        let length = bytes.len() - PREFIX_BYTES;
        if length > FRAME_BYTES_MAX {
            return Err(WireError::TooLong {
                length,
                limit: FRAME_BYTES_MAX,
            });
        }
        let prefix = u32::try_from(length).expect("FRAME_BYTES_MAX fits 32 bits");
        bytes[..PREFIX_BYTES].copy_from_slice(&prefix.to_be_bytes());
        Ok(Frame(bytes))
    }

    /// Length with its prefix.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Encrypts frames of one direction.
pub(super) struct Sealer {
    noise: Arc<StatelessTransportState>,
    record: u64,
}

impl Sealer {
    pub(super) fn new(noise: Arc<StatelessTransportState>) -> Sealer {
        Sealer { noise, record: 0 }
    }

    /// Appends `frame` as records to `out`.
    pub(super) fn seal(&mut self, frame: &Frame, out: &mut Vec<u8>) {
        for piece in frame.0.chunks(RECORD_BYTES_MAX - TAG_BYTES) {
            let sealed = piece.len() + TAG_BYTES;
            out.extend_from_slice(&u16::try_from(sealed).expect("a piece fits a record").to_be_bytes());
            let start = out.len();
            out.resize(start + sealed, 0);
            self.noise
                .write_message(self.record, piece, &mut out[start..])
                .expect("the buffer has room for piece and tag, and the piece fits a record");
            self.record += 1;
        }
    }
}

/// Decrypts one direction and puts messages together again.
pub(super) struct Opener {
    noise: Arc<StatelessTransportState>,
    record: u64,
    /// Received, not yet decrypted. The caller reads the socket into it.
    pub(super) sealed: BytesMut,
    plain: BytesMut,
}

impl Opener {
    /// Room to offer a read: one whole record, so that a small message never takes two system calls.
    pub(super) const READ_BYTES: usize = RECORD_BYTES_MAX + 2;

    pub(super) fn new(noise: Arc<StatelessTransportState>) -> Opener {
        Opener {
            noise,
            record: 0,
            sealed: BytesMut::with_capacity(2 * Opener::READ_BYTES),
            plain: BytesMut::new(),
        }
    }

    /// The next complete message of at most `limit` bytes, or `None` until more bytes are read. Holds at most `limit`
    /// plus two records: a claimed length reserves nothing.
    pub(super) fn next<T: DeserializeOwned>(&mut self, limit: usize) -> Result<Option<T>, WireError> {
        loop {
            if let Some(prefix) = self.plain.first_chunk::<PREFIX_BYTES>() {
                let length = usize::try_from(u32::from_be_bytes(*prefix)).expect("usize holds 32 bits");
                if length > limit {
                    return Err(WireError::TooLong { length, limit });
                }
                if let Some(body) = self.plain.get(PREFIX_BYTES..PREFIX_BYTES + length) {
                    let (message, rest) = postcard::take_from_bytes(body)?;
                    if !rest.is_empty() {
                        return Err(WireError::Trailing(rest.len()));
                    }
                    self.plain.advance(PREFIX_BYTES + length);
                    return Ok(Some(message));
                }
            }
            if !self.open_record()? {
                return Ok(None);
            }
        }
    }

    /// Decrypts one record; false if it is not complete yet.
    fn open_record(&mut self) -> Result<bool, WireError> {
        let Some(prefix) = self.sealed.first_chunk::<2>() else {
            return Ok(false);
        };
        let length = usize::from(u16::from_be_bytes(*prefix));
        let Some(sealed) = self.sealed.get(2..2 + length) else {
            return Ok(false);
        };
        let start = self.plain.len();
        self.plain.resize(start + length, 0);
        let opened = self
            .noise
            .read_message(self.record, sealed, &mut self.plain[start..])
            .map_err(|_| WireError::Forged { record: self.record })?;
        self.plain.truncate(start + opened);
        self.sealed.advance(2 + length);
        self.record += 1;
        Ok(true)
    }
}
