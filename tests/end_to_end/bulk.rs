//! Large transfers to and from the guest, checked byte for byte.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quorate::demo::client::connect;

/// What a transfer went through.
#[derive(Debug, Clone, Copy)]
pub struct Transfer {
    /// Bytes of payload.
    pub bytes: u64,
    /// From the first byte to the last.
    pub took: Duration,
    /// Longest time in which nothing moved.
    pub longest_gap: Duration,
}

/// Measures how long nothing moves, and tells how far it is.
struct Gaps<'a> {
    moved: &'a AtomicU64,
    start: Instant,
    last: Instant,
    longest: Duration,
}

impl Gaps<'_> {
    fn new(moved: &AtomicU64) -> Gaps<'_> {
        let now = Instant::now();
        Gaps {
            moved,
            start: now,
            last: now,
            longest: Duration::ZERO,
        }
    }

    fn moved(&mut self, bytes: usize) {
        self.moved.fetch_add(bytes as u64, Ordering::Relaxed);
        let now = Instant::now();
        self.longest = self.longest.max(now - self.last);
        self.last = now;
    }

    fn transfer(self, bytes: u64) -> Transfer {
        Transfer {
            bytes,
            took: self.start.elapsed(),
            longest_gap: self.longest,
        }
    }
}

/// Payload that does not repeat: xorshift64.
pub fn payload(bytes: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    let mut data = Vec::with_capacity(bytes + 8);
    while data.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        data.extend_from_slice(&state.to_le_bytes());
    }
    data.truncate(bytes);
    data
}

/// The guest's `/stream` pattern: 32-bit xorshift from seed 1, little endian (see the firmware's README).
pub fn stream_pattern(bytes: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut data = Vec::with_capacity(bytes + 4);
    while data.len() < bytes {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        data.extend_from_slice(&state.to_le_bytes());
    }
    data.truncate(bytes);
    data
}

/// Upload to the guest's `/sink`, which answers with length and CRC-32 of what it received.
pub fn upload(to: SocketAddr, data: &[u8]) -> io::Result<Transfer> {
    upload_counted(to, data, &AtomicU64::new(0))
}

/// The same; adds to `moved` what the connection took.
pub fn upload_counted(to: SocketAddr, data: &[u8], moved: &AtomicU64) -> io::Result<Transfer> {
    let mut stream = connect(to)?;
    write!(
        stream,
        "POST /sink HTTP/1.1\r\nHost: guest\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        data.len()
    )?;
    let mut gaps = Gaps::new(moved);
    for chunk in data.chunks(16 * 1024) {
        stream.write_all(chunk)?;
        gaps.moved(chunk.len());
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    gaps.moved(0);
    let expected = format!("\"bytes\":{},\"crc32\":\"{:08x}\"", data.len(), crc32fast::hash(data));
    let compact: String = answer.chars().filter(|c| *c != ' ').collect();
    if !compact.contains(&expected) {
        return Err(io::Error::other(format!(
            "the guest received something else: {answer:?}, expected {expected}"
        )));
    }
    Ok(gaps.transfer(data.len() as u64))
}

/// Download `bytes` from the guest's `/stream` and compare each with the pattern.
pub fn download(from: SocketAddr, bytes: usize) -> io::Result<Transfer> {
    download_counted(from, bytes, &AtomicU64::new(0))
}

/// The same; adds to `moved` what came.
pub fn download_counted(from: SocketAddr, bytes: usize, moved: &AtomicU64) -> io::Result<Transfer> {
    let expected = stream_pattern(bytes);
    let mut stream = connect(from)?;
    write!(
        stream,
        "GET /stream?bytes={bytes} HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n"
    )?;
    let mut reader = BufReader::with_capacity(64 * 1024, stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::Error::other("the answer has no body"));
        }
    }
    expect(&mut reader, &expected, moved)
}

/// Read as many bytes as `expected` has and compare each.
fn expect(reader: &mut impl BufRead, expected: &[u8], moved: &AtomicU64) -> io::Result<Transfer> {
    let mut gaps = Gaps::new(moved);
    let mut at = 0;
    while at < expected.len() {
        let got = reader.fill_buf()?;
        let length = got.len().min(expected.len() - at);
        if length == 0 {
            return Err(io::Error::other(format!(
                "closed after {at} of {} bytes",
                expected.len()
            )));
        }
        if got[..length] != expected[at..at + length] {
            return Err(io::Error::other(format!(
                "a wrong byte between {at} and {}",
                at + length
            )));
        }
        reader.consume(length);
        at += length;
        gaps.moved(length);
    }
    Ok(gaps.transfer(expected.len() as u64))
}

/// Send `data` to the guest's echo service while reading it back, and compare.
pub fn echo(to: SocketAddr, data: &[u8]) -> io::Result<Transfer> {
    echo_counted(to, data, &AtomicU64::new(0))
}

/// The same; adds to `moved` what came back.
pub fn echo_counted(to: SocketAddr, data: &[u8], moved: &AtomicU64) -> io::Result<Transfer> {
    let stream = connect(to)?;
    let mut writer = stream.try_clone()?;
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || writer.write_all(data));
        let mut reader = BufReader::with_capacity(64 * 1024, stream);
        let transfer = expect(&mut reader, data, moved)?;
        sender.join().expect("the sender does not panic")?;
        Ok(transfer)
    })
}
