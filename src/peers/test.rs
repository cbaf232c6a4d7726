//! Real sockets on loopback. Every wait has a condition and a limit.

use std::future::Future;
use std::io::ErrorKind;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use snow::StatelessTransportState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::wire::{FRAME_BYTES_MAX, Opener, Sealer};
use super::*;
use crate::log::{Index, Input, InputId, Payload, Term};
use crate::replica::Readiness;

const PATIENCE: Duration = Duration::from_secs(10);

struct Node {
    handle: PeersHandle,
    events: mpsc::Receiver<PeerEvent>,
    stop: Option<oneshot::Sender<()>>,
}

impl Node {
    async fn start(config: PeersConfig) -> Node {
        let at = Instant::now();
        loop {
            let (stop, stopped) = oneshot::channel();
            let shutdown = async move {
                let _ = stopped.await;
            };
            match Peers::start(config.clone(), shutdown).await {
                Ok((handle, events)) => {
                    return Node {
                        handle,
                        events,
                        stop: Some(stop),
                    };
                }
                // For a moment another test's connection may have the port that was let go of.
                Err(error) if error.kind() == ErrorKind::AddrInUse && at.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => panic!("{}: {error}", config.listen),
            }
        }
    }

    async fn next(&mut self) -> PeerEvent {
        within("an event", self.events.recv()).await.expect("the links run")
    }

    /// Next message, Up and Down being errors.
    async fn message(&mut self) -> PeerMessage {
        match self.next().await {
            PeerEvent::Message(_, message) => message,
            other => panic!("a message, not {other:?}"),
        }
    }

    /// Ends the links as the death of the process would: sockets closed by the kernel. Waits until the port is free.
    async fn kill(mut self) {
        drop(self.stop.take());
        while within("the end of the links", self.events.recv()).await.is_some() {}
    }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what} within {PATIENCE:?}"))
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    within(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// Settings of `count` nodes with free ports of their own.
fn cluster(count: u16) -> Vec<PeersConfig> {
    let listeners: Vec<_> = (0..count)
        .map(|_| StdListener::bind("127.0.0.1:0").expect("loopback"))
        .collect();
    let nodes: Vec<_> = listeners
        .iter()
        .zip(0..)
        .map(|(l, id)| (NodeId(id), l.local_addr().expect("bound")))
        .collect();
    nodes
        .iter()
        .map(|(me, listen)| PeersConfig {
            me: *me,
            incarnation: 1,
            listen: *listen,
            nodes: nodes.clone(),
            key: ClusterKey([7; 32]),
            machine: "door".to_owned(),
            digest: [1; 32],
            engine: "engine 1".to_owned(),
            // Tests do not send status messages.
            silence_max: Duration::from_secs(60),
        })
        .collect()
}

async fn pair() -> (Node, Node, Vec<PeersConfig>) {
    let configs = cluster(2);
    let mut a = Node::start(configs[0].clone()).await;
    let mut b = Node::start(configs[1].clone()).await;
    assert_eq!(a.next().await, PeerEvent::Up(NodeId(1)));
    assert_eq!(b.next().await, PeerEvent::Up(NodeId(0)));
    (a, b, configs)
}

fn committed(index: u64, bytes: usize) -> PeerMessage {
    let fill = u8::try_from(index % 251).expect("below 251");
    PeerMessage::Committed {
        index: Index(index),
        term: Term(1),
        id: u128::from(index),
        entry: vec![fill; bytes],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_arrive_complete_and_in_order_both_ways() {
    let (mut a, mut b, _) = pair().await;
    const COUNT: u64 = 5_000;
    let send = |handle: PeersHandle, to| {
        tokio::spawn(async move {
            for index in 0..COUNT {
                handle.send(to, &committed(index, usize::try_from(index % 3_000).expect("small")));
                if index % 100 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        })
    };
    let sending = [send(a.handle.clone(), NodeId(1)), send(b.handle.clone(), NodeId(0))];
    for node in [&mut a, &mut b] {
        for index in 0..COUNT {
            assert_eq!(
                node.message().await,
                committed(index, usize::try_from(index % 3_000).expect("small"))
            );
        }
    }
    for task in sending {
        task.await.expect("senders do not panic");
    }
    assert_eq!(a.handle.counters().messages_in, COUNT);
    assert_eq!(b.handle.counters().messages_out, COUNT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_are_split_and_joined() {
    let (a, mut b, _) = pair().await;
    for bytes in [1 << 20, 4 << 20, 65_519, 65_520, 0] {
        a.handle.send(NodeId(1), &committed(9, bytes));
        assert_eq!(b.message().await, committed(9, bytes));
    }
    a.handle.send(NodeId(1), &committed(9, FRAME_BYTES_MAX));
    assert_eq!(a.handle.counters().messages_too_long, 1);
    a.handle.send(NodeId(1), &committed(10, 1));
    assert_eq!(b.message().await, committed(10, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_reaches_every_linked_peer() {
    let configs = cluster(3);
    let mut nodes = Vec::new();
    for config in &configs {
        nodes.push(Node::start(config.clone()).await);
    }
    for node in &mut nodes {
        assert!(matches!(node.next().await, PeerEvent::Up(_)));
        assert!(matches!(node.next().await, PeerEvent::Up(_)));
    }
    let status = PeerMessage::Status {
        applied: Index(3),
        readiness: Readiness::Ready,
        ticks_per_s: 5,
        sequencing: Some(Term(2)),
    };
    nodes[1].handle.broadcast(&status);
    for id in [0, 2] {
        assert_eq!(nodes[id].next().await, PeerEvent::Message(NodeId(1), status.clone()));
    }
    let third = nodes.pop().expect("three");
    third.kill().await;
    assert_eq!(nodes[1].next().await, PeerEvent::Down(NodeId(2)));
    nodes[1].handle.broadcast(&status);
    assert_eq!(
        nodes[1].handle.links(),
        BTreeMap::from([(NodeId(0), true), (NodeId(2), false)])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_is_down_at_once_and_back_within_moments() {
    for victim in [0, 1] {
        let (a, b, configs) = pair().await;
        let mut nodes = vec![a, b];
        for incarnation in 2..4 {
            // Long enough for the survivor's backoff to reach its end, were it not for the knock.
            nodes.remove(victim).kill().await;
            let survivor = &mut nodes[0];
            let (at, peer) = (Instant::now(), NodeId(u16::try_from(victim).expect("0 or 1")));
            assert_eq!(survivor.next().await, PeerEvent::Down(peer));
            assert!(
                at.elapsed() < Duration::from_millis(100),
                "Down after {:?}",
                at.elapsed()
            );
            tokio::time::sleep(Duration::from_millis(700)).await;
            let at = Instant::now();
            let restarted = Node::start(PeersConfig {
                incarnation,
                ..configs[victim].clone()
            })
            .await;
            assert_eq!(nodes[0].next().await, PeerEvent::Up(peer));
            println!("node {victim} back after {:?}", at.elapsed());
            assert!(at.elapsed() < Duration::from_millis(100), "Up after {:?}", at.elapsed());
            nodes.insert(victim, restarted);
            let other = 1 - victim;
            assert!(matches!(nodes[victim].next().await, PeerEvent::Up(_)));
            nodes[victim].handle.broadcast(&committed(incarnation, 10));
            assert_eq!(nodes[other].message().await, committed(incarnation, 10));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_peer_is_down() {
    let mut configs = cluster(2);
    configs[0].silence_max = Duration::from_millis(150);
    let mut a = Node::start(configs[0].clone()).await;
    let b = Node::start(configs[1].clone()).await;
    assert_eq!(a.next().await, PeerEvent::Up(NodeId(1)));
    let at = Instant::now();
    assert_eq!(a.next().await, PeerEvent::Down(NodeId(1)));
    assert!(at.elapsed() >= Duration::from_millis(140));
    assert_eq!(a.handle.counters().links_silent, 1);
    drop(b);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_key_or_machine_gets_no_link() {
    for change in [
        (|config| config.key = ClusterKey([8; 32])) as fn(&mut PeersConfig),
        |config| config.machine = "window".to_owned(),
    ] {
        for stranger in [0, 1] {
            let mut configs = cluster(2);
            change(&mut configs[stranger]);
            let mut a = Node::start(configs[0].clone()).await;
            let mut b = Node::start(configs[1].clone()).await;
            until("failed handshakes", || {
                a.handle.counters().handshakes_failed > 1 && b.handle.counters().handshakes_failed > 1
            })
            .await;
            assert!(a.events.try_recv().is_err() && b.events.try_recv().is_err());
            assert_eq!(a.handle.counters().links_up + b.handle.counters().links_up, 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_belong_is_refused_with_a_reason() {
    for change in [
        (|config| config.engine = "engine 2".to_owned()) as fn(&mut PeersConfig),
        |config| config.digest = [2; 32],
        |config| config.me = NodeId(7),
    ] {
        let mut configs = cluster(2);
        change(&mut configs[1]);
        let mut a = Node::start(configs[0].clone()).await;
        let mut b = Node::start(configs[1].clone()).await;
        until("a refusal", || {
            a.handle.counters().nodes_refused > 0 && b.handle.counters().nodes_refused > 0
        })
        .await;
        assert!(a.events.try_recv().is_err() && b.events.try_recv().is_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_process_of_a_node_is_not_let_in_again() {
    let configs = cluster(2);
    let mut b = Node::start(configs[1].clone()).await;
    let newer = Node::start(PeersConfig {
        incarnation: 5,
        ..configs[0].clone()
    })
    .await;
    assert_eq!(b.next().await, PeerEvent::Up(NodeId(0)));
    newer.kill().await;
    assert_eq!(b.next().await, PeerEvent::Down(NodeId(0)));
    let older = Node::start(PeersConfig {
        incarnation: 4,
        ..configs[0].clone()
    })
    .await;
    until("a refusal", || b.handle.counters().nodes_refused > 0).await;
    assert!(b.events.try_recv().is_err());
    drop(older);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_read_loses_its_link_and_nobody_waits() {
    let (mut a, b, _) = pair().await;
    // b's node loop stands still: events fill up, then its socket, then a's queue.
    let at = Instant::now();
    let mut sent = 0;
    while a.handle.counters().links_overflowed == 0 {
        a.handle.send(NodeId(1), &committed(sent, 100_000));
        sent += 1;
        assert!(sent < 10_000, "the queue is bounded");
    }
    assert!(at.elapsed() < PATIENCE);
    assert_eq!(a.next().await, PeerEvent::Down(NodeId(1)));
    drop(b);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_turned_away_and_disturb_nobody() {
    let (mut a, mut b, configs) = pair().await;
    let target = configs[1].listen;
    let mut rng = StdRng::seed_from_u64(1);
    for round in 0..60 {
        let bytes = match round {
            0 => b"GET / HTTP/1.1\r\nHost: door\r\n\r\n".to_vec(),
            1 => vec![0xff; 100_000],
            2 => vec![0; 100_000],
            3 => [&[0, 48][..], &[9; 48]].concat(),
            _ => {
                let mut bytes = vec![0; rng.random_range(1..300)];
                rng.fill_bytes(&mut bytes);
                if round % 2 == 0 {
                    // A plausible length, so that the Noise message itself is reached.
                    bytes[0] = 0;
                }
                bytes
            }
        };
        let mut stream = TcpStream::connect(target).await.expect("b listens");
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = within("the end of the connection", stream.read_to_end(&mut answer)).await;
        assert!(answer.is_empty(), "a stranger gets no byte");
    }
    until("counted failures", || b.handle.counters().handshakes_failed >= 60).await;
    a.handle.send(NodeId(1), &committed(1, 10));
    assert_eq!(b.message().await, committed(1, 10));
    assert!(a.events.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_strangers_are_bounded_in_time_and_number() {
    let configs = cluster(2);
    let b = Node::start(configs[1].clone()).await;
    let mut slow = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(configs[1].listen).await.expect("b listens");
        let _ = stream.write_all(&[0]).await;
        slow.push(stream);
    }
    until("refused connections", || b.handle.counters().connections_refused >= 68).await;
    until("timeouts", || b.handle.counters().handshakes_timed_out >= 32).await;
    // Its own node gets in afterwards.
    let mut a = Node::start(configs[0].clone()).await;
    assert_eq!(a.next().await, PeerEvent::Up(NodeId(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_way_latency_on_loopback() {
    let (mut a, mut b, _) = pair().await;
    let echo = tokio::spawn(async move {
        while let Some(PeerEvent::Message(from, message)) = b.events.recv().await {
            b.handle.send(from, &message);
        }
    });
    let frame = Payload::Frame(vec![0x45; 200]);
    let id = InputId {
        origin: NodeId(0),
        incarnation: 1,
        sequence: 1,
    };
    let message = PeerMessage::Offer(vec![Input { id, payload: frame }]);
    let mut one_way_ns: Vec<u128> = Vec::new();
    for _ in 0..3_000 {
        let at = Instant::now();
        a.handle.send(NodeId(1), &message);
        let _ = a.message().await;
        one_way_ns.push(at.elapsed().as_nanos() / 2);
    }
    one_way_ns.sort_unstable();
    let (p50, p99) = (
        one_way_ns[one_way_ns.len() / 2],
        one_way_ns[one_way_ns.len() * 99 / 100],
    );
    println!("one way: p50 {} us, p99 {} us", p50 / 1_000, p99 / 1_000);
    // Generous: the machine that runs the tests is shared.
    assert!(p50 < 1_000_000, "p50 {p50} ns");
    echo.abort();
}

/// Both ends of an established Noise session.
fn session() -> (Arc<StatelessTransportState>, Arc<StatelessTransportState>) {
    let new = || {
        snow::Builder::new("Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s".parse().unwrap())
            .psk(0, &[7; 32])
            .unwrap()
    };
    let (mut a, mut b) = (new().build_initiator().unwrap(), new().build_responder().unwrap());
    let (mut bytes, mut rest) = ([0; 64], [0; 64]);
    let length = a.write_message(&[], &mut bytes).unwrap();
    b.read_message(&bytes[..length], &mut rest).unwrap();
    let length = b.write_message(&[], &mut bytes).unwrap();
    a.read_message(&bytes[..length], &mut rest).unwrap();
    (
        Arc::new(a.into_stateless_transport_mode().unwrap()),
        Arc::new(b.into_stateless_transport_mode().unwrap()),
    )
}

/// Seals `plain` as one record, as only an authenticated peer can.
fn record(noise: &StatelessTransportState, nonce: u64, plain: &[u8]) -> Vec<u8> {
    let mut sealed = vec![0; 2 + plain.len() + 16];
    noise.write_message(nonce, plain, &mut sealed[2..]).unwrap();
    let length = u16::try_from(plain.len() + 16).unwrap();
    sealed[..2].copy_from_slice(&length.to_be_bytes());
    sealed
}

#[test]
fn an_authenticated_peer_cannot_claim_an_oversized_message() {
    let (a, b) = session();
    let mut opener = Opener::new(b);
    opener.sealed.extend_from_slice(&record(&a, 0, &u32::MAX.to_be_bytes()));
    let error = opener.next::<PeerMessage>(FRAME_BYTES_MAX).expect_err("4 GiB");
    assert!(
        matches!(
            error,
            WireError::TooLong {
                length: 0xffff_ffff,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn random_authenticated_bytes_are_errors_or_messages_and_never_panic() {
    let mut rng = StdRng::seed_from_u64(2);
    for _ in 0..5_000 {
        let (a, b) = session_cached();
        let mut opener = Opener::new(b);
        let mut body = vec![0; rng.random_range(0..200)];
        rng.fill_bytes(&mut body);
        if let Some(tag) = body.first_mut() {
            *tag %= 3;
        }
        let plain = [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat();
        opener.sealed.extend_from_slice(&record(&a, 0, &plain));
        let _ = opener.next::<PeerMessage>(FRAME_BYTES_MAX);
    }
}

#[test]
fn altered_lost_repeated_and_trailing_bytes_are_noticed() {
    let (a, b) = session();
    let mut sealed = Vec::new();
    Sealer::new(Arc::clone(&a)).seal(&Frame::new(&committed(1, 300)).unwrap(), &mut sealed);
    for position in 2..sealed.len() {
        let mut altered = sealed.clone();
        altered[position] ^= 1;
        let mut opener = Opener::new(Arc::clone(&b));
        opener.sealed.extend_from_slice(&altered);
        assert!(matches!(
            opener.next::<PeerMessage>(1_000),
            Err(WireError::Forged { record: 0 })
        ));
    }
    let mut opener = Opener::new(Arc::clone(&b));
    opener.sealed.extend_from_slice(&sealed);
    assert_eq!(opener.next::<PeerMessage>(1_000).unwrap(), Some(committed(1, 300)));
    opener.sealed.extend_from_slice(&sealed);
    assert!(matches!(
        opener.next::<PeerMessage>(1_000),
        Err(WireError::Forged { record: 1 })
    ));

    let mut body = postcard::to_stdvec(&committed(1, 3)).unwrap();
    body.push(0);
    let plain = [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat();
    let mut opener = Opener::new(b);
    opener.sealed.extend_from_slice(&record(&a, 0, &plain));
    assert!(matches!(opener.next::<PeerMessage>(1_000), Err(WireError::Trailing(1))));
}

#[test]
fn messages_survive_any_cut_of_the_byte_stream() {
    let (a, b) = session();
    let messages: Vec<_> = (0..40)
        .map(|index| committed(index, usize::try_from(index).unwrap() * 5_000))
        .collect();
    let mut sealed = Vec::new();
    let mut sealer = Sealer::new(a);
    for message in &messages {
        sealer.seal(&Frame::new(message).unwrap(), &mut sealed);
    }
    let mut rng = StdRng::seed_from_u64(3);
    let mut opener = Opener::new(b);
    let (mut rest, mut received) = (&sealed[..], Vec::new());
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rng.random_range(1..=rest.len().min(90_000)));
        opener.sealed.extend_from_slice(piece);
        rest = after;
        while let Some(message) = opener.next::<PeerMessage>(FRAME_BYTES_MAX).unwrap() {
            received.push(message);
        }
    }
    assert_eq!(received, messages);
}

/// A session made once: key agreement is what costs time.
fn session_cached() -> (Arc<StatelessTransportState>, Arc<StatelessTransportState>) {
    static SESSION: std::sync::OnceLock<(Arc<StatelessTransportState>, Arc<StatelessTransportState>)> =
        std::sync::OnceLock::new();
    SESSION.get_or_init(session).clone()
}
