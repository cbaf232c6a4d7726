//! How two nodes get to know each other: Noise, then a Hello and an Answer each way.
//!
//! ```text
//! dialer                                     listener
//!   | u16 | e, psk                    ->                      Noise_NNpsk0: the cluster key is the PSK
//!                                     <-     | u16 | e, ee
//!   Hello                             <>     Hello            frames as in `wire` from here on
//!   Answer                            <>     Answer           welcome, or why not
//! ```
//! The prologue binds protocol version and machine name: two clusters that share a key by mistake do not mix. What an
//! operator can get wrong with the right key (settings, engine, ids) is compared in Hello instead, so that it is
//! refused with a reason rather than as a failed decryption. A replayed first message leads nowhere: the keys depend
//! on the listener's fresh ephemeral, and nothing is acted upon before the dialer's Hello authenticates under them.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use snow::{Builder, HandshakeState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::wire::{Frame, Opener, Sealer, WireError};
use super::{ClusterKey, PeersConfig};
use crate::log::NodeId;

/// Noise pattern and primitives.
const NOISE: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
/// Version of everything on the link; part of the prologue.
const PROTOCOL: &str = "quorate peers 1";
/// Both Noise messages are 48 bytes; more is not one of ours.
const NOISE_BYTES_MAX: usize = 48;
/// A Hello is two short names and 50 bytes.
const HELLO_BYTES_MAX: usize = 1024;

/// What a dialer wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Purpose {
    /// This connection becomes the link.
    Link,
    /// "I have started: dial me now." The connection ends with the answer.
    Knock,
}

/// How a node introduces itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) node: NodeId,
    pub(super) incarnation: u64,
    pub(super) purpose: Purpose,
    /// Digest of the settings that must be equal (see `config`).
    pub(super) digest: [u8; 32],
    pub(super) engine: String,
    /// Version of the program: for the log only.
    pub(super) version: String,
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Welcome,
    Refused(String),
}

/// Why an authenticated node is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("node {0} is not in this cluster's list of nodes")]
    Unknown(u16),
    #[error("node {got} answers at the address of node {expected}")]
    WrongNode { expected: u16, got: u16 },
    #[error("node {0} must not ask for this: of two nodes the one listed first dials")]
    WrongSide(u16),
    #[error("the engine differs: {theirs:?} there, {ours:?} here; install the same build on every node")]
    Engine { ours: String, theirs: String },
    #[error("the settings differ: digest {theirs} there, {ours} here; compare `quorate check-config` on both nodes")]
    Settings { ours: String, theirs: String },
    #[error("node {node} was started again since (incarnation {newest}, this one is {got})")]
    Stale { node: u16, newest: u64, got: u64 },
}

/// Why a connection did not become a link.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("closed during the handshake ({0}); the other node may have another cluster key, machine name or version")]
    Io(#[from] io::Error),
    #[error("not authenticated: no quorate node, another protocol version, another machine or another cluster key")]
    NotAuthenticated,
    #[error("after authentication: {0}")]
    Wire(#[from] WireError),
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    #[error("refused by the other node: {0}")]
    RefusedThere(String),
    #[error("not complete within the time limit")]
    TimedOut,
}

/// A connection whose other end holds the cluster key (or replays somebody who does, until it answered once).
pub(super) struct Channel {
    pub(super) stream: TcpStream,
    pub(super) sealer: Sealer,
    pub(super) opener: Opener,
}

/// Dialer's side. `judge` decides about the listener's Hello.
pub(super) async fn initiate(
    mut stream: TcpStream,
    config: &PeersConfig,
    purpose: Purpose,
    judge: impl FnOnce(&Hello) -> Result<(), Refusal>,
) -> Result<(Channel, Hello), HandshakeError> {
    let mut noise = noise(config, true);
    write_noise(&mut stream, &mut noise).await?;
    read_noise(&mut stream, &mut noise).await?;
    introduce(Channel::new(stream, noise), config, purpose, judge).await
}

/// Listener's side. `judge` decides about the dialer's Hello.
pub(super) async fn respond(
    mut stream: TcpStream,
    config: &PeersConfig,
    judge: impl FnOnce(&Hello) -> Result<(), Refusal>,
) -> Result<(Channel, Hello), HandshakeError> {
    let mut noise = noise(config, false);
    read_noise(&mut stream, &mut noise).await?;
    write_noise(&mut stream, &mut noise).await?;
    introduce(Channel::new(stream, noise), config, Purpose::Link, judge).await
}

/// The same on both sides, so that neither takes a link for up that the other one refuses.
async fn introduce(
    mut channel: Channel,
    config: &PeersConfig,
    purpose: Purpose,
    judge: impl FnOnce(&Hello) -> Result<(), Refusal>,
) -> Result<(Channel, Hello), HandshakeError> {
    channel.send(&hello(config, purpose)).await?;
    let theirs = channel.receive().await?;
    if let Err(refusal) = judge(&theirs) {
        channel.send(&Answer::Refused(refusal.to_string())).await?;
        return Err(refusal.into());
    }
    channel.send(&Answer::Welcome).await?;
    match channel.receive().await? {
        Answer::Welcome => Ok((channel, theirs)),
        Answer::Refused(reason) => Err(HandshakeError::RefusedThere(reason)),
    }
}

impl Channel {
    fn new(stream: TcpStream, noise: HandshakeState) -> Channel {
        let noise = noise
            .into_stateless_transport_mode()
            .expect("both messages have passed");
        let noise = Arc::new(noise);
        Channel {
            stream,
            sealer: Sealer::new(Arc::clone(&noise)),
            opener: Opener::new(noise),
        }
    }

    async fn send(&mut self, message: &impl Serialize) -> Result<(), HandshakeError> {
        let mut bytes = Vec::new();
        self.sealer.seal(&Frame::new(message)?, &mut bytes);
        Ok(self.stream.write_all(&bytes).await?)
    }

    async fn receive<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, HandshakeError> {
        loop {
            match self.opener.next(HELLO_BYTES_MAX) {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {}
                // The first message already proved the dialer's key; this one proves that it is no replay.
                Err(WireError::Forged { .. }) => return Err(HandshakeError::NotAuthenticated),
                Err(error) => return Err(error.into()),
            }
            if self.stream.read_buf(&mut self.opener.sealed).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }
}

fn hello(config: &PeersConfig, purpose: Purpose) -> Hello {
    Hello {
        node: config.me,
        incarnation: config.incarnation,
        purpose,
        digest: config.digest,
        engine: config.engine.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn noise(config: &PeersConfig, initiator: bool) -> HandshakeState {
    let ClusterKey(key) = &config.key;
    let prologue = [PROTOCOL.as_bytes(), b"\0", config.machine.as_bytes()].concat();
    let builder = Builder::new(NOISE.parse().expect("a pattern snow knows"))
        .psk(0, key)
        .and_then(|builder| builder.prologue(&prologue))
        .expect("PSK and prologue are given once");
    let state = if initiator {
        builder.build_initiator()
    } else {
        builder.build_responder()
    };
    state.expect("the pattern needs no other keys")
}

async fn write_noise(stream: &mut TcpStream, noise: &mut HandshakeState) -> Result<(), HandshakeError> {
    let mut bytes = [0; 2 + NOISE_BYTES_MAX];
    let length = noise
        .write_message(&[], &mut bytes[2..])
        .expect("an empty payload and two tokens are 48 bytes");
    bytes[..2].copy_from_slice(&u16::try_from(length).expect("48").to_be_bytes());
    Ok(stream.write_all(&bytes[..2 + length]).await?)
}

async fn read_noise(stream: &mut TcpStream, noise: &mut HandshakeState) -> Result<(), HandshakeError> {
    let length = usize::from(stream.read_u16().await?);
    if length > NOISE_BYTES_MAX {
        return Err(HandshakeError::NotAuthenticated);
    }
    let mut bytes = [0; NOISE_BYTES_MAX];
    stream.read_exact(&mut bytes[..length]).await?;
    noise
        .read_message(&bytes[..length], &mut [0; NOISE_BYTES_MAX])
        .map_err(|_| HandshakeError::NotAuthenticated)?;
    Ok(())
}
