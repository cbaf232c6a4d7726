//! Bulk data over one TCP connection into the Debian guest and out of it, and what the log takes for it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use quorate::demo::client::connect;
use quorate::demo::ssh;
use rand::Rng;

use crate::lab::{Lab, Setup, StoreKind, debian, guest};
use crate::{Bound, Figures};

/// Bytes each way, and in MB.
const BYTES: usize = 32_000_000;
const MB: f64 = BYTES as f64 / 1e6;
/// Ports of the guest's sink and source.
const SINK: u16 = 5001;
const SOURCE: u16 = 5002;
/// What the log takes, and nothing else: the first checkpoint, of all memory, is larger than what is sent here. What
/// checkpoints take is measured with them (`db_mb_per_hour_*`).
const NO_CHECKPOINTS: &str = "\n[checkpoint]\nevery_s = 0\n";
/// Over and above a frame's payload: Ethernet, IPv4 and TCP headers (with timestamps).
const HEADERS: usize = 14 + 20 + 32;
/// Payload of a full frame.
const SEGMENT: usize = 1448;

/// What the log holds.
#[derive(Clone, Copy)]
struct Written {
    entries: f64,
    entry_bytes: f64,
    /// Everything the database wrote first of all: its write-ahead log.
    wal_bytes: f64,
}

pub fn measure(figures: &mut Figures) {
    let lab = Lab::start(&Setup {
        cluster_extra: NO_CHECKPOINTS,
        ..Setup::debian_on(StoreKind::Postgres)
    })
    .expect("the benchmarks need root and PostgreSQL");
    let key = debian().ssh_key();
    // nc ends with its connection; where its own input ends first, it says so to the other side and reads on
    let listen = format!(
        "(sleep 300 | busybox nc -l -p {SINK} | wc -c >/tmp/read) >/dev/null 2>&1 </dev/null & \
         (head -c {BYTES} /dev/zero | busybox nc -l -p {SOURCE}) >/dev/null 2>&1 </dev/null &"
    );
    ssh::run(&key, &listen).expect("the guest takes commands");
    // both listen when the guest's table of sockets shows it: nc takes only one connection
    let listening =
        format!("until grep -c -e :{SINK:04X} -e :{SOURCE:04X} /proc/net/tcp6 | grep -q 2; do sleep 0.1; done");
    ssh::run(&key, &listening).expect("the guest takes commands");
    let before = written(&lab);
    let start = Instant::now();
    push(&mut connect(guest(SINK)).expect("the guest listens"));
    let seconds = start.elapsed().as_secs_f64();
    let came_in = difference(written(&lab), before);
    let read = ssh::run(&key, "until test -s /tmp/read; do sleep 0.1; done; cat /tmp/read");
    let read = read.expect("the guest takes commands");
    assert_eq!(read.trim(), BYTES.to_string(), "the guest read everything");
    figures.add("tcp_in_mb_s", MB / seconds, Bound::Note("into the guest"));

    let before = written(&lab);
    let start = Instant::now();
    let mut read = Vec::new();
    let mut stream = connect(guest(SOURCE)).expect("the guest listens");
    stream.read_to_end(&mut read).expect("the guest sends");
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(read.len(), BYTES, "the guest sent everything");
    let went_out = difference(written(&lab), before);
    figures.add("tcp_out_mb_s", MB / seconds, Bound::Note("out of the guest"));

    for (way, written) in [("in", came_in), ("out", went_out)] {
        let per_mb = |key: &str, value: f64, note| (format!("tcp_{way}_{key}_per_mb"), value / MB, Bound::Note(note));
        for (key, value, note) in [
            per_mb("entries", written.entries, "log entries for a MB of data"),
            per_mb("db_bytes", written.entry_bytes, "bytes of these entries"),
            per_mb(
                "wal_bytes",
                written.wal_bytes,
                "written ahead by PostgreSQL, pages and all",
            ),
        ] {
            figures.add(&key, value, note);
        }
    }
    let frames = BYTES + BYTES.div_ceil(SEGMENT) * HEADERS;
    figures.add(
        "db_bytes_per_frame_byte",
        came_in.wal_bytes / frames as f64,
        Bound::AtMost(1.3),
    );
    lab.assert_digests_equal();
}

/// Sends all and waits until the guest has read it: it closes the connection then.
fn push(stream: &mut TcpStream) {
    let mut chunk = vec![0; 1 << 16];
    rand::rng().fill_bytes(&mut chunk); // PostgreSQL compresses what it can
    let mut left = BYTES;
    while left > 0 {
        let length = left.min(chunk.len());
        stream.write_all(&chunk[..length]).expect("the guest takes it");
        left -= length;
    }
    stream.shutdown(Shutdown::Write).expect("the connection is open");
    let end = stream.read(&mut [0; 1]).expect("the guest closes it");
    assert_eq!(end, 0, "the sink says nothing");
}

fn written(lab: &Lab) -> Written {
    let answer = lab.sql("SELECT count(*), sum(length(entry)), pg_current_wal_lsn() - '0/0' FROM log");
    let numbers: Vec<f64> = answer.split('|').filter_map(|number| number.parse().ok()).collect();
    let [entries, entry_bytes, wal_bytes] = numbers[..] else {
        panic!("PostgreSQL answered {answer:?}");
    };
    Written {
        entries,
        entry_bytes,
        wal_bytes,
    }
}

fn difference(after: Written, before: Written) -> Written {
    Written {
        entries: after.entries - before.entries,
        entry_bytes: after.entry_bytes - before.entry_bytes,
        wal_bytes: after.wal_bytes - before.wal_bytes,
    }
}
