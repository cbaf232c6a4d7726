//! The disk (virtio 1.2 5.2).
//!
//! A request is complete when its notification returns: the data is in guest memory, or in the overlay and so in the
//! machine's agreed state. What was written can be lost only together with the machine that wrote it, never before or
//! after it, so a flush finds nothing left to do and succeeds; it is offered because drivers order their writes by it.
//!
//! [`request`] reads what the driver asks for; here is what is done about it. The contents are [`Overlay`]'s, which is
//! not in the device's saved state: that holds only its digest, and takes no other disk.

pub mod request;
mod state;

#[cfg(test)]
mod test;

use super::chain::{Chain, Writer};
use super::queue::QueueError;
use super::{Served, VirtioDevice};
use crate::devices::{Context, DeviceStateError, name_state};
use crate::disk::{BLOCK_BYTES, Disk, DiskError, Overlay, SECTOR_BYTES};
use request::{Kind, Range, Request, Status};
use serde::{Deserialize, Serialize};

/// Feature bits (virtio 1.2 5.2.3).
const FEATURE_SIZE_MAX: u64 = 1 << 1;
const FEATURE_SEG_MAX: u64 = 1 << 2;
const FEATURE_RO: u64 = 1 << 5;
const FEATURE_BLK_SIZE: u64 = 1 << 6;
const FEATURE_FLUSH: u64 = 1 << 9;
const FEATURE_TOPOLOGY: u64 = 1 << 10;
const FEATURE_DISCARD: u64 = 1 << 13;
const FEATURE_WRITE_ZEROES: u64 = 1 << 14;

const QUEUE_SIZE: u16 = 256;
/// Most data segments of a request: the queue's descriptors without header and status.
const SEGMENTS_MAX: u32 = QUEUE_SIZE as u32 - 2;
/// Longest segment. With the former it bounds a request to 16 MB.
const SEGMENT_BYTES_MAX: u32 = 64 * 1024;
/// Most data of a request.
const REQUEST_BYTES_MAX: u64 = SEGMENTS_MAX as u64 * SEGMENT_BYTES_MAX as u64;
/// Most sectors that one discard or write of zeroes clears: 16 MiB.
const ZEROED_SECTORS_MAX: u32 = 32 * 1024;
/// What clearing costs, in bytes for each byte moved.
const ZEROED_PER_MOVED: u64 = 16;
/// Data moves between disk and memory in such pieces.
const PIECE_BYTES: usize = 64 * 1024;
/// struct virtio_blk_config (virtio 1.2 5.2.4), as far as the features offered need it.
const CONFIG_BYTES: usize = 60;
/// Length of the identity a driver can ask for.
const ID_BYTES: usize = 20;

/// A disk.
pub struct Block {
    overlay: Overlay,
    config: [u8; CONFIG_BYTES],
    id: [u8; ID_BYTES],
    counters: Counters,
    /// Not state: a piece on its way.
    buffer: Box<[u8]>,
}

/// Requests served. For people, not for the guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Flushes.
    pub flushes: u64,
    /// Requests that failed.
    pub errors: u64,
}

impl Block {
    /// The disk number `number` of a machine, which a guest may find by its identity `quorate-N`.
    pub fn new(disk: &Disk, number: u8) -> Result<Self, DiskError> {
        let overlay = Overlay::new(disk)?;
        let mut id = [0; ID_BYTES];
        let text = format!("quorate-{number}");
        id[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Block {
            config: config(overlay.bytes() / SECTOR_BYTES),
            overlay,
            id,
            counters: Counters::default(),
            buffer: vec![0; PIECE_BYTES].into(),
        })
    }

    /// Requests served.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Does what the request asks for, up to its status.
    fn execute(
        &mut self,
        request: &Request,
        chain: &Chain,
        writer: &mut Writer<'_>,
        cx: &mut Context<'_>,
    ) -> Result<Outcome, QueueError> {
        match request.kind {
            Kind::Read => self.read(request, writer, cx),
            Kind::Write => self.write(request, chain, cx),
            Kind::Flush => {
                self.counters.flushes = self.counters.flushes.saturating_add(1);
                Ok(Outcome::of(Status::Ok))
            }
            Kind::GetId if request.data_in < ID_BYTES as u64 => Ok(Outcome::of(Status::IoError)),
            Kind::GetId => {
                writer.write(cx.memory(), &self.id)?;
                Ok(Outcome {
                    status: Status::Ok,
                    written: ID_BYTES as u64,
                    moved: 0,
                })
            }
            Kind::Discard | Kind::WriteZeroes => self.clear(request, chain, cx),
            Kind::Unknown(_) => Ok(Outcome::of(Status::Unsupported)),
        }
    }

    /// The range of the disk that the request's data stands for, if there is one.
    fn place(&self, sector: u64, length: u64) -> Option<u64> {
        let offset = sector.checked_mul(SECTOR_BYTES)?;
        let fits = length.is_multiple_of(SECTOR_BYTES) && length <= REQUEST_BYTES_MAX;
        (fits && self.overlay.check(offset, length).is_ok()).then_some(offset)
    }

    fn read(
        &mut self,
        request: &Request,
        writer: &mut Writer<'_>,
        cx: &mut Context<'_>,
    ) -> Result<Outcome, QueueError> {
        let Some(mut offset) = self.place(request.sector, request.data_in) else {
            return Ok(Outcome::of(Status::IoError));
        };
        let mut rest = request.data_in as usize;
        while rest != 0 {
            let piece = &mut self.buffer[..rest.min(PIECE_BYTES)];
            self.overlay.read(offset, piece).expect("the whole range was checked");
            writer.write(cx.memory(), piece)?;
            offset += piece.len() as u64;
            rest -= piece.len();
        }
        self.counters.read_bytes = self.counters.read_bytes.saturating_add(request.data_in);
        Ok(Outcome {
            status: Status::Ok,
            written: request.data_in,
            moved: request.data_in,
        })
    }

    fn write(&mut self, request: &Request, chain: &Chain, cx: &mut Context<'_>) -> Result<Outcome, QueueError> {
        let place = self.place(request.sector, request.data_out);
        let Some(mut offset) = place.filter(|_| !self.read_only()) else {
            return Ok(Outcome::of(Status::IoError));
        };
        let mut reader = chain.reader();
        reader.read(cx.memory(), &mut [0; request::HEADER_BYTES])?;
        let mut rest = request.data_out as usize;
        while rest != 0 {
            let piece = &mut self.buffer[..rest.min(PIECE_BYTES)];
            reader.read(cx.memory(), piece)?;
            let written = self.overlay.write(offset, piece);
            written.expect("the whole range was checked, and that the disk takes writes");
            offset += piece.len() as u64;
            rest -= piece.len();
        }
        self.counters.written_bytes = self.counters.written_bytes.saturating_add(request.data_out);
        Ok(Outcome {
            status: Status::Ok,
            written: 0,
            moved: request.data_out,
        })
    }

    /// Discards, and writes zeroes: the same, as discarded sectors may hold anything and zeroes need no memory (virtio
    /// 1.2 5.2.6.2).
    fn clear(&mut self, request: &Request, chain: &Chain, cx: &mut Context<'_>) -> Result<Outcome, QueueError> {
        if request.data_out != request::RANGE_BYTES as u64 || self.read_only() {
            return Ok(Outcome::of(Status::IoError));
        }
        let mut reader = chain.reader();
        reader.read(cx.memory(), &mut [0; request::HEADER_BYTES])?;
        let mut bytes = [0; request::RANGE_BYTES];
        reader.read(cx.memory(), &mut bytes)?;
        let range = Range::parse(&bytes);
        if !range.flags_allowed(request.kind) {
            return Ok(Outcome::of(Status::Unsupported));
        }
        let length = u64::from(range.sectors) * SECTOR_BYTES;
        let Some(offset) = range.sector.checked_mul(SECTOR_BYTES) else {
            return Ok(Outcome::of(Status::IoError));
        };
        if range.sectors > ZEROED_SECTORS_MAX || self.overlay.write_zeroes(offset, length).is_err() {
            return Ok(Outcome::of(Status::IoError));
        }
        Ok(Outcome {
            status: Status::Ok,
            written: 0,
            moved: length / ZEROED_PER_MOVED,
        })
    }

    fn read_only(&self) -> bool {
        self.overlay.disk().read_only
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    status: Status,
    /// Bytes of data in guest memory, from the first on.
    written: u64,
    moved: u64,
}

impl Outcome {
    fn of(status: Status) -> Self {
        Outcome {
            status,
            written: 0,
            moved: 0,
        }
    }
}

impl VirtioDevice for Block {
    const ID: u32 = 2;
    const QUEUES: &'static [u16] = &[QUEUE_SIZE];

    fn features(&self) -> u64 {
        let both = FEATURE_SIZE_MAX | FEATURE_SEG_MAX | FEATURE_BLK_SIZE | FEATURE_FLUSH | FEATURE_TOPOLOGY;
        if self.read_only() {
            both | FEATURE_RO
        } else {
            both | FEATURE_DISCARD | FEATURE_WRITE_ZEROES
        }
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn serve(&mut self, _queue: usize, chain: &Chain, cx: &mut Context<'_>) -> Result<Served, QueueError> {
        let request = Request::parse(chain, cx.memory())?;
        let mut writer = chain.writer();
        let outcome = self.execute(&request, chain, &mut writer, cx)?;
        if outcome.status != Status::Ok {
            self.counters.errors = self.counters.errors.saturating_add(1);
        }
        writer.skip(request.data_in - outcome.written)?;
        writer.write(cx.memory(), &[outcome.status as u8])?;
        // The used length promises only what is written without a gap (virtio 1.2 2.7.8.2); the status is the last byte.
        let whole = outcome.written == request.data_in;
        Ok(Served {
            written: (outcome.written + u64::from(whole)) as u32,
            moved: outcome.moved,
        })
    }

    /// What was written stays written.
    fn reset(&mut self) {}

    fn disk(&self) -> Option<&Overlay> {
        Some(&self.overlay)
    }

    fn disk_mut(&mut self) -> Option<&mut Overlay> {
        Some(&mut self.overlay)
    }

    fn save(&self) -> Vec<u8> {
        state::save(self.counters, self.overlay.digest())
    }

    fn describe(&self) -> serde_json::Value {
        serde_json::json!({ "counters": name_state(&self.counters), "disk": blake3::Hash::from_bytes(self.overlay.digest()).to_hex().as_str() })
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), DeviceStateError> {
        self.counters = state::restore(saved, self.overlay.digest())?;
        Ok(())
    }
}

/// The configuration space of a disk of so many sectors.
fn config(capacity: u64) -> [u8; CONFIG_BYTES] {
    let mut config = [0; CONFIG_BYTES];
    let mut put = |offset: usize, bytes: &[u8]| config[offset..offset + bytes.len()].copy_from_slice(bytes);
    put(0, &capacity.to_le_bytes());
    put(8, &SEGMENT_BYTES_MAX.to_le_bytes());
    put(12, &SEGMENTS_MAX.to_le_bytes());
    put(20, &(SECTOR_BYTES as u32).to_le_bytes()); // blk_size
    // Topology: sectors are best moved in whole blocks of the overlay.
    let per_block = BLOCK_BYTES as u64 / SECTOR_BYTES;
    put(24, &[per_block.trailing_zeros() as u8]); // physical_block_exp
    put(26, &(per_block as u16).to_le_bytes()); // min_io_size
    put(34, &1u16.to_le_bytes()); // num_queues
    put(36, &ZEROED_SECTORS_MAX.to_le_bytes()); // max_discard_sectors
    put(40, &1u32.to_le_bytes()); // max_discard_seg
    put(44, &(per_block as u32).to_le_bytes()); // discard_sector_alignment
    put(48, &ZEROED_SECTORS_MAX.to_le_bytes()); // max_write_zeroes_sectors
    put(52, &1u32.to_le_bytes()); // max_write_zeroes_seg
    put(56, &[1]); // write_zeroes_may_unmap
    config
}
