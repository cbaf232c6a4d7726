//! One source of bytes, any number of listeners that come and go: the serial console, the capture.

use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;
use tokio::sync::broadcast;

/// Pieces a slow listener may be behind before it loses some. Pieces are what one entry brings forth: at most some KB.
const PIECES_MAX: usize = 1024;

/// The source. Publishing never waits; with nobody listening and no history it costs a lock.
#[derive(Debug)]
pub struct Feed {
    preamble: Bytes,
    history_bytes_max: usize,
    /// Held while a piece is sent or a listener comes: nobody misses or repeats a piece.
    history: Mutex<VecDeque<u8>>,
    pieces: broadcast::Sender<Bytes>,
}

/// A listener.
#[derive(Debug)]
pub struct Listener {
    /// What comes before the first piece: preamble and history.
    pub first: Vec<u8>,
    pieces: broadcast::Receiver<Bytes>,
}

/// What a listener gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// The next piece, whole as it was published.
    Piece(Bytes),
    /// It was too slow: so many pieces are lost.
    Lost(u64),
    /// The source is gone.
    End,
}

impl Feed {
    /// `preamble` goes to every listener first; then the last `history_bytes_max` bytes published.
    #[must_use]
    pub fn new(preamble: impl Into<Bytes>, history_bytes_max: usize) -> Feed {
        let pieces = broadcast::Sender::new(PIECES_MAX);
        Feed {
            preamble: preamble.into(),
            history_bytes_max,
            history: Mutex::default(),
            pieces,
        }
    }

    /// A serial console: the last 64 KiB, then what comes.
    #[must_use]
    pub fn console() -> Feed {
        Feed::new(Bytes::new(), 64 << 10)
    }

    /// Hands `piece` to all listeners and remembers its end.
    pub fn publish(&self, piece: impl Into<Bytes>) {
        let piece = piece.into();
        let mut history = self.history.lock().expect("no panic while it is held");
        let kept = &piece[piece.len().saturating_sub(self.history_bytes_max)..];
        let surplus = (history.len() + kept.len()).saturating_sub(self.history_bytes_max);
        history.drain(..surplus);
        history.extend(kept);
        // Fails when nobody listens.
        let _ = self.pieces.send(piece);
    }

    /// Whether making a piece is worth the trouble.
    #[must_use]
    pub fn has_listeners(&self) -> bool {
        self.pieces.receiver_count() > 0
    }

    /// A new listener.
    #[must_use]
    pub fn listen(&self) -> Listener {
        let history = self.history.lock().expect("no panic while it is held");
        let first = self.preamble.iter().chain(history.iter()).copied().collect();
        Listener {
            first,
            pieces: self.pieces.subscribe(),
        }
    }
}

impl Listener {
    /// Waits for the next piece.
    pub async fn next(&mut self) -> Received {
        match self.pieces.recv().await {
            Ok(piece) => Received::Piece(piece),
            Err(broadcast::error::RecvError::Lagged(pieces)) => Received::Lost(pieces),
            Err(broadcast::error::RecvError::Closed) => Received::End,
        }
    }
}
