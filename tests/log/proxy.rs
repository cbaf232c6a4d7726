//! Stands between a store and its database and breaks the connection at the worst moment.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection breaks before the request arrives.
    Before,
    /// The request is carried out, but its answer does not come back: the connection breaks.
    After,
    /// The request arrives and no answer comes, while the connection stays.
    Silence,
}

#[derive(Debug, Default)]
struct State {
    /// Strikes the next request that contains these bytes, once.
    armed: Option<(Fault, Vec<u8>)>,
    /// New connections are closed at once.
    closed: bool,
    /// New connections are accepted and ignored.
    mute: bool,
    struck: usize,
    kept: Vec<TcpStream>,
}

/// A TCP port that leads to PostgreSQL's Unix socket.
#[derive(Debug, Clone)]
pub struct Proxy {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    pub async fn start(socket: PathBuf) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy {
            port: listener.local_addr().unwrap().port(),
            state: Arc::default(),
        };
        let accepting = proxy.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let mut state = accepting.state.lock().unwrap();
                if state.mute {
                    state.kept.push(client);
                } else if !state.closed {
                    let (proxy, socket) = (accepting.clone(), socket.clone());
                    tokio::spawn(async move {
                        if let Ok(server) = UnixStream::connect(socket).await {
                            proxy.pass(client, server).await;
                        }
                    });
                }
            }
        });
        proxy
    }

    /// The next request that contains `marker` suffers `fault`.
    pub fn arm(&self, fault: Fault, marker: &[u8]) {
        self.state.lock().unwrap().armed = Some((fault, marker.to_vec()));
    }

    pub fn close(&self, closed: bool) {
        self.state.lock().unwrap().closed = closed;
    }

    pub fn mute(&self, mute: bool) {
        self.state.lock().unwrap().mute = mute;
    }

    /// How many requests suffered.
    pub fn struck(&self) -> usize {
        self.state.lock().unwrap().struck
    }

    fn strikes(&self, request: &[u8]) -> Option<Fault> {
        let mut state = self.state.lock().unwrap();
        let (_, marker) = state.armed.as_ref()?;
        if !request.windows(marker.len()).any(|bytes| bytes == marker) {
            return None;
        }
        state.struck += 1;
        state.armed.take().map(|(fault, _)| fault)
    }

    /// Pass bytes both ways until one side ends or a fault strikes.
    async fn pass(self, mut client: TcpStream, mut server: UnixStream) {
        let (mut request, mut answer) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        loop {
            tokio::select! {
                length = client.read(&mut request) => {
                    let Ok(length @ 1..) = length else { return };
                    let fault = self.strikes(&request[..length]);
                    if fault == Some(Fault::Before) {
                        return;
                    }
                    if server.write_all(&request[..length]).await.is_err() {
                        return;
                    }
                    if fault.is_some() {
                        let _ = server.read(&mut answer).await; // it is carried out now
                    }
                    match fault {
                        Some(Fault::After) => return,
                        Some(_) => std::future::pending().await,
                        None => {}
                    }
                }
                length = server.read(&mut answer) => {
                    let Ok(length @ 1..) = length else { return };
                    if client.write_all(&answer[..length]).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}
