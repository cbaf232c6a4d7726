//! The outside world: one TCP connection to the guest that says something all the time and checks every byte that comes
//! back.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::topology::inside;

/// A client gives up on a silent connection after this long: longer than any gap we would call survived.
const PATIENCE: Duration = Duration::from_secs(30);

/// One message that came back.
#[derive(Debug, Clone, Copy)]
pub struct Echo {
    /// When it had come back whole.
    pub at: Instant,
    /// How long that took since it was sent.
    pub round_trip: Duration,
}

/// What the connection went through.
#[derive(Debug, Clone, Default)]
pub struct Transcript {
    /// Every message that came back intact, in order.
    pub echoes: Vec<Echo>,
    /// Payload bytes sent.
    pub bytes_sent: u64,
    /// Payload bytes that came back equal to what was sent.
    pub bytes_intact: u64,
    /// How the connection ended, if not by us.
    pub broken: Option<String>,
}

impl Transcript {
    /// Longest time between two echoes, both of them at or after `from`.
    #[must_use]
    pub fn longest_gap(&self, from: Option<Instant>) -> Duration {
        let at: Vec<Instant> = self.echoes.iter().map(|echo| echo.at).collect();
        // the gap that began before `from` and ended after it counts
        let gaps = at.windows(2).filter(|pair| from.is_none_or(|from| pair[1] >= from));
        gaps.map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// Median and 99th percentile of the round trips of echoes that came back before `until`.
    #[must_use]
    pub fn round_trips(&self, until: Option<Instant>) -> Option<(Duration, Duration)> {
        let counted = self
            .echoes
            .iter()
            .filter(|echo| until.is_none_or(|until| echo.at < until));
        let mut trips: Vec<Duration> = counted.map(|echo| echo.round_trip).collect();
        trips.sort_unstable();
        let at = |percent: usize| trips.get((trips.len().checked_sub(1)?) * percent / 100).copied();
        Some((at(50)?, at(99)?))
    }

    /// Bytes sent that did not come back intact.
    #[must_use]
    pub fn bytes_lost(&self) -> u64 {
        self.bytes_sent - self.bytes_intact
    }
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    echoes: AtomicU64,
    transcript: Mutex<Transcript>,
}

/// When the next message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As soon as the last one is back: a client that asks and waits. One message is under way, so a packet lost on the
    /// way in costs the client's own retransmission timeout (200 ms at least on Linux), whatever we do.
    WhenBack,
    /// Every so often, whether the last one is back or not: a stream.
    Every(Duration),
}

/// A running conversation on one TCP connection; never reconnects.
#[derive(Debug)]
pub struct Conversation {
    shared: Arc<Shared>,
    local: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Conversation {
    /// Connect from namespace `client` to the guest's echo service at `to` and start talking in messages of `size` bytes.
    ///
    /// # Errors
    /// The connection cannot be opened.
    pub fn start(to: SocketAddr, size: usize, pace: Pace) -> io::Result<Conversation> {
        Conversation::over(connect(to)?, size, pace)
    }

    /// Like [`Conversation::start`], on a connection that is open.
    ///
    /// # Errors
    /// It is not open any more.
    fn over(stream: TcpStream, size: usize, pace: Pace) -> io::Result<Conversation> {
        let local = stream.local_addr()?;
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            echoes: AtomicU64::new(0),
            transcript: Mutex::default(),
        });
        let thread = std::thread::Builder::new().name("client".into()).spawn({
            let shared = Arc::clone(&shared);
            move || talk(stream, size, pace, &shared)
        })?;
        Ok(Conversation {
            shared,
            local,
            thread: Some(thread),
        })
    }

    /// The client's end of the connection.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Messages that came back so far.
    #[must_use]
    pub fn echoes(&self) -> u64 {
        self.shared.echoes.load(Ordering::Relaxed)
    }

    /// Whether it still goes on.
    #[must_use]
    pub fn alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Finish the message under way, hang up and tell.
    ///
    /// # Panics
    /// The client's thread panicked.
    #[must_use]
    pub fn finish(mut self) -> Transcript {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the client thread does not panic");
        }
        std::mem::take(&mut *self.shared.transcript.lock().expect("its thread is gone"))
    }
}

/// Open a TCP connection from the client's namespace.
///
/// # Errors
/// Refused, or no answer in time.
pub fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = inside("client", || TcpStream::connect_timeout(&to, Duration::from_secs(5)))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Byte `position` of what message `number` says: a pattern that does not repeat within a message or between neighbours.
fn pattern(number: u64, size: usize) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut message = Vec::with_capacity(size + 8);
    while message.len() < size {
        state ^= state << 13; // xorshift64, Marsaglia 2003
        state ^= state >> 7;
        state ^= state << 17;
        message.extend_from_slice(&state.to_le_bytes());
    }
    message.truncate(size);
    message
}

/// Say what there is to say and check what comes back, until told to stop; then take in what is still under way.
fn talk(stream: TcpStream, size: usize, pace: Pace, shared: &Shared) {
    let (sent, said) = mpsc::channel();
    let (heard, back) = mpsc::channel();
    let result = std::thread::scope(|scope| {
        let speaker = scope.spawn(|| speak(&stream, size, pace, shared, sent, back));
        let listened = listen(&stream, size, said, heard, shared);
        if listened.is_err() {
            let _ = stream.shutdown(Shutdown::Both); // ends the speaker too; the first error is the one that counts
        }
        listened.and(speaker.join().expect("the speaker does not panic"))
    });
    if let Err(error) = result {
        shared.transcript.lock().expect("nobody panics with the lock").broken = Some(error.to_string());
    }
}

/// Tells `sent` when each message left; `back` says that one came back.
fn speak(
    mut stream: &TcpStream,
    size: usize,
    pace: Pace,
    shared: &Shared,
    sent: Sender<Instant>,
    back: Receiver<()>,
) -> io::Result<()> {
    let start = Instant::now();
    for number in 0.. {
        match pace {
            Pace::Every(pace) => std::thread::sleep((start + pace * number).saturating_duration_since(Instant::now())),
            Pace::WhenBack if number > 0 && back.recv().is_err() => return Ok(()), // the listener tells why
            Pace::WhenBack => {}
        }
        let message = pattern(u64::from(number), size);
        if shared.stop.load(Ordering::Relaxed) || sent.send(Instant::now()).is_err() {
            return Ok(());
        }
        shared
            .transcript
            .lock()
            .expect("nobody panics with the lock")
            .bytes_sent += size as u64;
        stream.write_all(&message)?;
    }
    Ok(())
}

/// Expects one message for each that was `said`, until the speaker has no more.
fn listen(
    mut stream: &TcpStream,
    size: usize,
    said: Receiver<Instant>,
    heard: Sender<()>,
    shared: &Shared,
) -> io::Result<()> {
    let mut back = vec![0; size];
    for (number, sent) in (0..).zip(said) {
        stream.read_exact(&mut back)?;
        let at = Instant::now();
        let intact = pattern(number, size).iter().zip(&back).filter(|(a, b)| a == b).count() as u64;
        let mut transcript = shared.transcript.lock().expect("nobody panics with the lock");
        transcript.bytes_intact += intact;
        transcript.echoes.push(Echo {
            at,
            round_trip: at - sent,
        });
        drop(transcript);
        shared.echoes.fetch_add(1, Ordering::Relaxed);
        let _ = heard.send(()); // the speaker may have stopped
    }
    Ok(())
}

/// Fetch `path` from the guest's web server on a connection of its own; returns head and body.
///
/// # Errors
/// The connection fails, or no answer comes.
pub fn get(to: SocketAddr, path: &str) -> io::Result<(String, Vec<u8>)> {
    let mut stream = connect(to)?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no HTTP head in the answer"))?;
    Ok((
        String::from_utf8_lossy(&answer[..end]).into_owned(),
        answer[end + 4..].to_vec(),
    ))
}
