//! The serving side: the socket, who may be there at the same time, one task for each client.

use std::fs::{File, Permissions, TryLockError};
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{AdminBackend, AdminError, Feed, Received, Refusal, Reply, Request};
use crate::log::Index;

/// A request is one short line.
const REQUEST_BYTES_MAX: u64 = 4096;
/// A client that connects has something to ask.
const REQUEST_MAX: Duration = Duration::from_secs(5);
/// Clients at the same time: operators, their scripts, and a monitoring system.
const CLIENTS_MAX: usize = 32;
/// Bytes of console input offered to the log at once.
const TYPED_BYTES_MAX: usize = 1024;
/// Pause after a failed `accept` (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The bound socket. Its lock is held until this is dropped, also by `kill -9`.
#[derive(Debug)]
pub struct AdminServer {
    path: PathBuf,
    listener: UnixListener,
    _lock: File,
}

impl AdminServer {
    /// Binds the socket with mode 0600; one left by a dead process is replaced. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`AdminError::AlreadyRunning`] if another process holds it.
    pub fn bind(path: &Path) -> Result<AdminServer, AdminError> {
        let failed = |error| AdminError::Io {
            path: path.to_owned(),
            error,
        };
        // A lock, because "connect, and remove it if nobody answers" lets two nodes that start together both win.
        let lock = File::create(beside(path, ".lock")).map_err(failed)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => AdminError::AlreadyRunning(path.to_owned()),
            TryLockError::Error(error) => failed(error),
        })?;
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => return Err(AdminError::NotASocket(path.to_owned())),
            _ => {}
        }
        // Bound under another name and renamed, so that it is never there with wider permissions.
        let fresh = beside(path, ".new");
        match std::fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&fresh).map_err(failed)?;
        std::fs::set_permissions(&fresh, Permissions::from_mode(0o600)).map_err(failed)?;
        std::fs::rename(&fresh, path).map_err(failed)?;
        Ok(AdminServer {
            path: path.to_owned(),
            listener,
            _lock: lock,
        })
    }

    /// Answers clients until `shutdown`.
    pub async fn serve<B: AdminBackend>(self, backend: Arc<B>, shutdown: impl Future<Output = ()>) {
        tokio::select! {
            () = shutdown => {}
            () = accept(&self.listener, &backend) => {}
        }
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        // If it is gone already, so much the better.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

async fn accept<B: AdminBackend>(listener: &UnixListener, backend: &Arc<B>) {
    let places = Arc::new(Semaphore::new(CLIENTS_MAX));
    let mut clients = JoinSet::new();
    loop {
        let accepted = listener.accept().await;
        while clients.try_join_next().is_some() {}
        let mut stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept an admin client");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let backend = Arc::clone(backend);
        let place = Arc::clone(&places).try_acquire_owned();
        clients.spawn(async move {
            let served = match place {
                Ok(_place) => answer(stream, &*backend).await,
                Err(_) => reply::<()>(&mut stream, Err(Refusal(format!("{CLIENTS_MAX} clients already")))).await,
            };
            if let Err(error) = served {
                tracing::debug!(%error, "an admin client left");
            }
        });
    }
}

async fn answer<B: AdminBackend>(stream: UnixStream, backend: &B) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    let mut bounded = (&mut stream).take(REQUEST_BYTES_MAX);
    timeout(REQUEST_MAX, bounded.read_until(b'\n', &mut line)).await??;
    let request = match serde_json::from_slice(&line) {
        Ok(request) => request,
        Err(error) => {
            return reply::<()>(stream.get_mut(), Err(Refusal(format!("not a request: {error}")))).await;
        }
    };
    match request {
        Request::Status {} => reply(stream.get_mut(), backend.status().await).await,
        Request::Digest { at } => reply(stream.get_mut(), backend.digest(at.map(Index)).await).await,
        Request::Reset {} => reply(stream.get_mut(), backend.reset().await).await,
        Request::Readmit { node } => reply(stream.get_mut(), backend.readmit(node).await).await,
        Request::Console {} => {
            reply(stream.get_mut(), Ok(())).await?;
            let (mut input, mut output) = tokio::io::split(stream);
            tokio::select! {
                done = pour(backend.console(), &mut output, b"\r\n[output lost]\r\n") => done,
                done = take_in(&mut input, backend) => done,
            }
        }
        Request::Capture {} => {
            reply(stream.get_mut(), Ok(())).await?;
            let (mut input, mut output) = tokio::io::split(stream);
            tokio::select! {
                // Lost pieces are whole blocks: the file stays valid.
                done = pour(backend.capture(), &mut output, b"") => done,
                done = until_closed(&mut input) => done,
            }
        }
    }
}

async fn reply<T: Serialize>(stream: &mut UnixStream, result: Result<T, Refusal>) -> io::Result<()> {
    let reply = match result {
        Ok(value) => Reply::Ok(value),
        Err(Refusal(why)) => Reply::Error(why),
    };
    let mut line = serde_json::to_vec(&reply).expect("answers have string keys and no custom code");
    line.push(b'\n');
    stream.write_all(&line).await
}

/// Writes everything a feed brings, `lost` where something is missing.
async fn pour(feed: &Feed, output: &mut (impl AsyncWriteExt + Unpin), lost: &[u8]) -> io::Result<()> {
    let mut listener = feed.listen();
    output.write_all(&std::mem::take(&mut listener.first)).await?;
    output.flush().await?;
    loop {
        match listener.next().await {
            Received::Piece(piece) => output.write_all(&piece).await?,
            Received::Lost(_) => output.write_all(lost).await?,
            Received::End => return Ok(()),
        }
        output.flush().await?;
    }
}

/// Offers what a console's client types, until it closes.
async fn take_in<B: AdminBackend>(input: &mut (impl AsyncReadExt + Unpin), backend: &B) -> io::Result<()> {
    let mut bytes = [0; TYPED_BYTES_MAX];
    loop {
        let length = input.read(&mut bytes).await?;
        if length == 0 {
            return Ok(());
        }
        backend
            .typed(bytes[..length].to_vec())
            .await
            .map_err(io::Error::other)?;
    }
}

async fn until_closed(input: &mut (impl AsyncReadExt + Unpin)) -> io::Result<()> {
    while input.read(&mut [0; 64]).await? > 0 {}
    Ok(())
}
