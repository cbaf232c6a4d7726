//! A real socket, a made-up node.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use tokio::sync::oneshot;

use super::*;
use crate::peers::PeerCounters;

struct Fake {
    console: Feed,
    capture: Feed,
    typed: Mutex<Vec<u8>>,
}

fn status() -> Status {
    Status {
        machine: "door".to_owned(),
        node: "a".to_owned(),
        version: "1".to_owned(),
        uptime_ms: 1,
        role: NodeRole::Sequencer,
        sequencer: Some("a".to_owned()),
        term: 2,
        readiness: NodeReadiness::CatchingUp,
        committed: 9,
        applied: 8,
        agreed_time_ns: 5,
        lag_ms: 3,
        activity: "busy".to_owned(),
        crash: None,
        pending_inputs: 0,
        append_p50_us: 700,
        append_p99_us: 900,
        captures: CaptureStatus::default(),
        statements: 10,
        inputs: 3,
        executed: 1_000_000,
        edge: EdgeStatus {
            repeated: 0,
            left_to_others: 0,
            withheld: 0,
            frames_in: 1,
            frames_out: 2,
            dropped: BTreeMap::from([("malformed".to_owned(), 3)]),
        },
        peers: vec![PeerStatus {
            node: "b".to_owned(),
            link_up: false,
            readiness: None,
            applied: None,
        }],
        nodes: vec![NodeStatus {
            node: "b".to_owned(),
            state: NodeState::LostDatabase,
            role: None,
            applied: Some(7),
            lag_entries: Some(2),
            lag_ms: None,
            digest: DigestVerdict::Agrees(5),
            carrier: Some(true),
            heartbeat_age_ms: Some(6_000),
            heard_age_ms: None,
            version: Some("1".to_owned()),
        }],
        checkpoint: Some(CheckpointStatus { index: 4, age_ms: None }),
        evicted: vec![EvictedNode {
            node: "c".to_owned(),
            index: Some(3),
        }],
        split: None,
        links: PeerCounters::default(),
        digest: None,
        store: "sqlite:x".to_owned(),
        store_available: true,
    }
}

impl AdminBackend for Fake {
    async fn status(&self) -> Result<Status, Refusal> {
        Ok(status())
    }

    async fn digest(&self, at: Option<Index>) -> Result<DigestAt, Refusal> {
        match at {
            Some(Index(index)) if index > 8 => Err(Refusal(format!("entry {index} is not applied yet"))),
            at => Ok(DigestAt {
                index: at.map_or(8, |at| at.0),
                digest: "ab".repeat(32),
            }),
        }
    }

    async fn reset(&self) -> Result<(), Refusal> {
        Ok(())
    }

    async fn typed(&self, bytes: Vec<u8>) -> Result<(), Refusal> {
        self.console.publish(bytes.to_ascii_uppercase());
        self.typed.lock().expect("no panic").extend(bytes);
        Ok(())
    }

    async fn readmit(&self, node: String) -> Result<Readmitted, Refusal> {
        match node.as_str() {
            "c" => Ok(Readmitted {
                node,
                index: 9,
                term: 2,
            }),
            _ => Err(Refusal(format!("{node} is not evicted"))),
        }
    }

    fn console(&self) -> &Feed {
        &self.console
    }

    fn capture(&self) -> &Feed {
        &self.capture
    }
}

/// Runs `client` against a server of its own.
fn with_server(client: impl FnOnce(&Path, &Fake)) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let fake = Arc::new(Fake {
        console: Feed::console(),
        capture: Feed::new(&b"header"[..], 0),
        typed: Mutex::default(),
    });
    let server = runtime.block_on(async { AdminServer::bind(&path) }).expect("free");
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = runtime.spawn(server.serve(Arc::clone(&fake), async {
        let _ = stopped.await;
    }));
    client(&path, &fake);
    drop(stop);
    runtime.block_on(serving).expect("the server does not panic");
    assert!(!path.exists(), "the socket is removed");
}

fn read_exactly(stream: &mut Stream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut got = 0;
    while got < length {
        let more = stream.read(&mut bytes[got..]).expect("connected");
        assert!(more > 0, "closed after {got} of {length} bytes");
        got += more;
    }
    bytes
}

#[test]
fn requests_are_answered() {
    with_server(|path, _| {
        let client = || Client::connect(path).expect("served");
        assert_eq!(client().status().expect("a status"), status());
        assert_eq!(client().digest(None).expect("a digest").index, 8);
        assert_eq!(client().digest(Some(3)).expect("a digest").index, 3);
        let refused = client().digest(Some(9)).expect_err("not applied");
        assert!(
            matches!(&refused, AdminError::Refused(why) if why == "entry 9 is not applied yet"),
            "{refused}"
        );
        client().reset().expect("done");
        let mode = std::fs::metadata(path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    });
}

#[test]
fn several_consoles_see_the_history_and_everything_typed_at_one() {
    with_server(|path, fake| {
        fake.console.publish(vec![b'x'; 70_000]);
        fake.console.publish(&b"boot\n"[..]);
        let mut consoles: Vec<Stream> = (0..3)
            .map(|_| Client::connect(path).and_then(Client::console).expect("a console"))
            .collect();
        for console in &mut consoles {
            let history = read_exactly(console, 64 << 10);
            assert!(history.ends_with(b"xboot\n"));
        }
        consoles[1]
            .input()
            .expect("a clone")
            .write_all(b"help\n")
            .expect("connected");
        for console in &mut consoles {
            assert_eq!(read_exactly(console, 5), b"HELP\n");
        }
        assert_eq!(*fake.typed.lock().expect("no panic"), b"help\n");
        let input = consoles[0].input().expect("a clone");
        input.close();
        assert_eq!(consoles[0].read(&mut [0; 8]).expect("closed"), 0);
    });
}

#[test]
fn a_capture_begins_with_the_header() {
    with_server(|path, fake| {
        assert!(!fake.capture.has_listeners());
        fake.capture.publish(&b"nobody sees this"[..]);
        let mut capture = Client::connect(path).and_then(Client::capture).expect("a capture");
        assert_eq!(read_exactly(&mut capture, 6), b"header");
        assert!(fake.capture.has_listeners());
        fake.capture.publish(&b"block"[..]);
        assert_eq!(read_exactly(&mut capture, 5), b"block");
    });
}

#[test]
fn what_is_no_request_is_refused() {
    with_server(|path, _| {
        let long = vec![b' '; 10_000];
        for line in [
            &b"\n"[..],
            b"{}\n",
            b"{\"request\":\"explode\"}\n",
            b"{\"request\":\"status\",\"x\":1}\n",
            b"\xff\n",
            &long,
        ] {
            let mut stream = UnixStream::connect(path).expect("served");
            // The server may answer and close before it has read all of a long line.
            let _ = stream.write_all(line);
            let mut answer = String::new();
            BufReader::new(stream).read_line(&mut answer).expect("an answer");
            assert!(answer.starts_with("{\"error\":\"not a request"), "{answer}");
        }
    });
}

#[test]
fn clients_are_bounded() {
    with_server(|path, _| {
        let held: Vec<_> = (0..32)
            .map(|_| Client::connect(path).and_then(Client::console).expect("a place"))
            .collect();
        let refused = Client::connect(path)
            .expect("connected")
            .status()
            .expect_err("no place");
        assert!(refused.to_string().contains("32 clients already"), "{refused}");
        for stream in &held {
            stream.input().expect("a clone").close();
        }
        let at = std::time::Instant::now();
        while Client::connect(path).expect("served").status().is_err() {
            assert!(at.elapsed() < Duration::from_secs(10), "places are given back");
        }
    });
}

#[tokio::test]
async fn a_second_node_is_told_and_a_dead_ones_socket_is_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    let missing = Client::connect(&path).expect_err("nobody");
    assert!(matches!(missing, AdminError::NotRunning(_)));
    // A socket nobody listens to, as kill -9 leaves it.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("free"));
    assert!(matches!(Client::connect(&path), Err(AdminError::NotRunning(_))));
    let first = AdminServer::bind(&path).expect("replaced");
    let second = AdminServer::bind(&path).expect_err("taken");
    assert!(matches!(second, AdminError::AlreadyRunning(_)));
    drop(first);
    std::fs::write(&path, "a file").expect("free");
    assert!(matches!(AdminServer::bind(&path), Err(AdminError::NotASocket(_))));
    assert_eq!(std::fs::read_to_string(&path).expect("still there"), "a file");
}

#[tokio::test]
async fn a_slow_listener_loses_pieces_and_is_told() {
    let feed = Feed::new(&b""[..], 0);
    let mut slow = feed.listen();
    for _ in 0..2_000 {
        feed.publish(&b"x"[..]);
    }
    assert!(matches!(slow.next().await, Received::Lost(lost) if lost >= 900));
    assert!(matches!(slow.next().await, Received::Piece(_)));
}

#[test]
fn random_answers_are_errors() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("free");
    let answers: [&[u8]; 5] = [b"", b"\n", b"{\"ok\":{}}\n", b"\xff\xff\n", b"[1"];
    let serving = std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = [0; 64];
            let _ = stream.read(&mut request);
            stream.write_all(answer).expect("connected");
        }
    });
    for _ in answers {
        let error = Client::connect(&path).expect("served").status().expect_err("no status");
        assert!(matches!(error, AdminError::Malformed(_)), "{error}");
    }
    serving.join().expect("no panic");
}

proptest! {
    #[test]
    fn random_requests_never_panic(bytes: Vec<u8>) {
        let _ = serde_json::from_slice::<Request>(&bytes);
        let _ = serde_json::from_slice::<Reply<Status>>(&bytes);
    }
}
