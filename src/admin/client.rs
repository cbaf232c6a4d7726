//! The asking side: blocking, because the command line does one thing at a time.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::{AdminError, DigestAt, Readmitted, Reply, Request, Status};

/// A status of the largest cluster has some KB.
const REPLY_BYTES_MAX: u64 = 1 << 20;
/// A node that does not answer in this time hangs.
const REPLY_MAX: Duration = Duration::from_secs(10);

/// How the node that serves the socket at `path` is.
///
/// # Errors
/// See [`Client::status`].
pub fn status(path: &Path) -> Result<Status, AdminError> {
    Client::connect(path)?.status()
}

/// Its machine's digest, see [`Client::digest`].
///
/// # Errors
/// See [`Client::digest`].
pub fn digest(path: &Path, at: Option<u64>) -> Result<DigestAt, AdminError> {
    Client::connect(path)?.digest(at)
}

/// A connection for one request.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// [`AdminError::NotRunning`] if nobody serves the socket.
    pub fn connect(path: &Path) -> Result<Client, AdminError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AdminError::NotRunning(path.to_owned()),
            _ => AdminError::Io {
                path: path.to_owned(),
                error,
            },
        };
        let stream = UnixStream::connect(path).map_err(failed)?;
        stream.set_read_timeout(Some(REPLY_MAX)).map_err(failed)?;
        Ok(Client {
            path: path.to_owned(),
            stream: BufReader::new(stream),
        })
    }

    /// How the node is.
    ///
    /// # Errors
    /// As all requests: the connection broke, the node refused, or its answer is not understood.
    pub fn status(mut self) -> Result<Status, AdminError> {
        self.ask(&Request::Status {})
    }

    /// The machine's digest.
    ///
    /// # Errors
    /// See [`Client::status`]; also if the node does not know the digest at that entry.
    pub fn digest(mut self, at: Option<u64>) -> Result<DigestAt, AdminError> {
        self.ask(&Request::Digest { at })
    }

    /// Resets the board.
    ///
    /// # Errors
    /// See [`Client::status`].
    pub fn reset(mut self) -> Result<(), AdminError> {
        self.ask(&Request::Reset {})
    }

    /// Lets a node that was put out come back; waits until the log says so.
    ///
    /// # Errors
    /// See [`Client::status`]; also if it is not in the log in time.
    pub fn readmit(mut self, node: &str) -> Result<Readmitted, AdminError> {
        let node = node.to_owned();
        self.ask(&Request::Readmit { node })
    }

    /// The serial console: output to read, input to write.
    ///
    /// # Errors
    /// See [`Client::status`].
    pub fn console(self) -> Result<Stream, AdminError> {
        self.stream(&Request::Console {})
    }

    /// Packets as pcapng.
    ///
    /// # Errors
    /// See [`Client::status`].
    pub fn capture(self) -> Result<Stream, AdminError> {
        self.stream(&Request::Capture {})
    }

    fn stream(mut self, request: &Request) -> Result<Stream, AdminError> {
        self.ask::<()>(request)?;
        self.stream
            .get_ref()
            .set_read_timeout(None)
            .map_err(|error| self.failed(error))?;
        Ok(Stream(self.stream))
    }

    fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T, AdminError> {
        let mut line = serde_json::to_vec(request).expect("requests have string keys and no custom code");
        line.push(b'\n');
        match self.stream.get_ref().write_all(&line) {
            // A node that has no room says so and hangs up before it is asked: that is read below.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            written => written.map_err(|error| self.failed(error))?,
        }
        let mut answer = Vec::new();
        let read = (&mut self.stream).take(REPLY_BYTES_MAX).read_until(b'\n', &mut answer);
        read.map_err(|error| self.failed(error))?;
        if answer.is_empty() {
            return Err(AdminError::Malformed("the node closed the connection".to_owned()));
        }
        match serde_json::from_slice(&answer).map_err(|error| AdminError::Malformed(error.to_string()))? {
            Reply::Ok(value) => Ok(value),
            Reply::Error(why) => Err(AdminError::Refused(why)),
        }
    }

    fn failed(&self, error: io::Error) -> AdminError {
        AdminError::Io {
            path: self.path.clone(),
            error,
        }
    }
}

/// A stream of bytes from, and for the console to, the node. It ends when the node is gone or the stream was
/// [closed](Input::close).
#[derive(Debug)]
pub struct Stream(BufReader<UnixStream>);

impl Stream {
    /// The other direction, for another thread.
    ///
    /// # Errors
    /// If the operating system has no file descriptor left.
    pub fn input(&self) -> io::Result<Input> {
        self.0.get_ref().try_clone().map(Input)
    }
}

impl io::Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

/// The direction to the node: bytes as typed.
#[derive(Debug)]
pub struct Input(UnixStream);

impl Input {
    /// Ends the stream in both directions: a blocked read of the [`Stream`] returns.
    pub fn close(&self) {
        // Fails only if it has ended already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl io::Write for Input {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // nothing is kept back
    }
}
