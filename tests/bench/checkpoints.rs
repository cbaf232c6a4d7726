//! What it costs to have the machine in the database, and what that brings: coming back, going back, being found wrong.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use quorate::admin::Status;

use crate::flip::flip_bits;
use crate::lab::{Lab, PATIENCE, Setup, StoreKind};
use crate::services::{search, search_at_most, serve};
use crate::terminal::Terminal;
use crate::{Bound, Figures, apart};

/// One checkpoint in 10 s is what the bounds are about; more in the same time show more of them.
const OFTEN: &str = "\n[checkpoint]\nevery_s = 2\n";
const NEVER: &str = "\n[checkpoint]\nevery_s = 0\n";
/// Measured time of anything that goes on.
const TIME: Duration = Duration::from_secs(20);
/// Longest pause that the issue allows, and the rest of its bounds.
const PAUSE_MS_MAX: f64 = 20.0;
const SLOWDOWN_PERCENT_MAX: f64 = 5.0;
const REPLAY_RATIO_MIN: f64 = 5.0;
/// Searches a second in a log that is replayed: a busy directory, but not as many as this host can do.
const REPLAYED_PER_S: f64 = 200.0;
const EVICT_S_MAX: f64 = 2.0;
const MB: f64 = 1e6;
const BLOCK_BYTES: f64 = 4096.0;

pub fn measure(figures: &mut Figures) {
    apart(|| pauses_and_returns(figures));
    let busy = |extra| apart(|| busy(extra));
    let (without, with) = (busy(NEVER), busy(""));
    figures.add(
        "checkpoint_slowdown_percent",
        (1.0 - with.ticks_per_s / without.ticks_per_s) * 100.0,
        Bound::AtMost(SLOWDOWN_PERCENT_MAX),
    );
    figures.add(
        "checkpoint_append_p50_ratio",
        with.append_p50_us / without.append_p50_us,
        Bound::Note("appends of a busy guest, with a checkpoint every 10 s over without"),
    );
    figures.add(
        "checkpoint_append_p99_ratio",
        with.append_p99_us / without.append_p99_us,
        Bound::AtMost(2.0),
    );
    let ratio = apart(replay_ratio);
    figures.add("replay_ratio", ratio, Bound::AtLeast(REPLAY_RATIO_MIN));
    let evicted = apart(eviction_s);
    figures.add("evict_s", evicted, Bound::AtMost(EVICT_S_MAX));
}

/// The directory's address.
fn directory() -> Ipv4Addr {
    crate::lab::guest(389).ip().to_string().parse().expect("an address")
}

fn debian(cluster_extra: &'static str) -> Lab {
    let setup = Setup {
        cluster_extra,
        ..Setup::debian_on(StoreKind::Postgres)
    };
    Lab::start(&setup).expect("the benchmarks need root and PostgreSQL")
}

/// How long the guest has run, at least, when a node is lost.
fn ran() -> Duration {
    let seconds = std::env::var("QUORATE_BENCH_RAN_S").map(|text| text.parse().expect("a number of seconds"));
    Duration::from_secs(seconds.unwrap_or(0))
}

fn statuses(lab: &Lab) -> Vec<Status> {
    let running = lab.cluster.running().into_iter();
    running.filter_map(|index| lab.cluster.status(index)).collect()
}

/// Pauses and appends while the directory is searched, the database's bytes, and how soon a node is back.
fn pauses_and_returns(figures: &mut Figures) {
    let mut lab = debian(OFTEN);
    let begun = Instant::now();
    let wal = |lab: &Lab| -> f64 {
        let answer = lab.sql("SELECT pg_current_wal_lsn() - '0/0'");
        answer.trim().parse().expect("a number")
    };
    std::thread::sleep(Duration::from_secs(5));
    let (before, start) = (wal(&lab), Instant::now());
    std::thread::sleep(TIME);
    let per_hour = |bytes: f64, time: Duration| bytes / MB / time.as_secs_f64() * 3600.0;
    let note = "PostgreSQL's write-ahead log, a checkpoint every 2 s";
    figures.add(
        "db_mb_per_hour_idle",
        per_hour(wal(&lab) - before, start.elapsed()),
        Bound::Note(note),
    );
    let (before, start) = (wal(&lab), Instant::now());
    let served = serve(search(directory()));
    figures.add(
        "db_mb_per_hour_ldap",
        per_hour(wal(&lab) - before, start.elapsed()),
        Bound::Note(note),
    );
    figures.add(
        "checkpoint_ldap_p50_ms",
        served.p50_ms,
        Bound::Note("a search, a checkpoint every 2 s"),
    );
    let statuses = statuses(&lab);
    let longest = statuses.iter().map(|status| status.captures.pause_max_us).max();
    let median = statuses.iter().map(|status| status.captures.pause_p50_us).max();
    figures.add(
        "checkpoint_pause_p50_ms",
        median.unwrap_or_default() as f64 / 1000.0,
        Bound::Note("median, of the node where it is longest"),
    );
    figures.add(
        "checkpoint_first_pause_ms",
        longest.unwrap_or_default() as f64 / 1000.0,
        Bound::Note("the longest: of the first, which copies all memory"),
    );
    let pause = median.unwrap_or_default() as f64 / 1000.0;
    figures.add("checkpoint_pause_ms", pause, Bound::AtMost(PAUSE_MS_MAX));
    let stored = statuses.iter().find(|status| status.captures.stored > 0);
    let stored = stored.expect("one of them stores").captures;
    figures.add(
        "checkpoint_mb_s",
        stored.stored_blocks as f64 * BLOCK_BYTES / MB / (stored.stored_ms as f64 / 1000.0),
        Bound::Note("memory and disk stored, with the pauses that leave half of the database to others"),
    );
    std::thread::sleep(ran().saturating_sub(begun.elapsed()));
    let victim = lab.follower(None);
    lab.cluster.kill(victim);
    std::thread::sleep(Duration::from_secs(5));
    let start = Instant::now();
    lab.cluster.start_node(victim).expect("it started before");
    lab.cluster.wait_ready(PATIENCE).expect("it comes back");
    figures.add(
        "rejoin_s",
        start.elapsed().as_secs_f64(),
        Bound::Note("from its start to ready"),
    );
    lab.assert_digests_equal();
}

/// A guest that computes.
struct Busy {
    /// Instructions a second.
    ticks_per_s: f64,
    append_p50_us: f64,
    append_p99_us: f64,
}

fn busy(cluster_extra: &'static str) -> Busy {
    let lab = debian(cluster_extra);
    let mut shell = Terminal::open(&lab, 0);
    shell.log_in();
    // It computes, and writes memory: 16 MiB again and again.
    shell.type_in("(while :; do head -c 16000000 /dev/zero | md5sum; done) >/dev/null &\r");
    std::thread::sleep(Duration::from_secs(3));
    let sequencer = lab.sequencer();
    let executed = || lab.cluster.status(sequencer).expect("it answers").executed;
    let (before, start) = (executed(), Instant::now());
    std::thread::sleep(TIME);
    let ticks_per_s = (executed() - before) as f64 / start.elapsed().as_secs_f64();
    let status = lab.cluster.status(sequencer).expect("it answers");
    Busy {
        ticks_per_s,
        append_p50_us: status.append_p50_us as f64,
        append_p99_us: status.append_p99_us as f64,
    }
}

/// Agreed time that an offline replay runs through in a second, over a log in which the directory was searched so often.
fn replay_ratio() -> f64 {
    let mut lab = debian(NEVER);
    serve(search_at_most(REPLAYED_PER_S, directory()));
    let before = lab.cluster.status(lab.sequencer()).expect("it answers");
    for index in lab.cluster.running() {
        lab.cluster.kill(index);
    }
    let to = before.applied.to_string();
    let begun = lab.sql("SELECT pos FROM log ORDER BY pos LIMIT 1");
    assert_eq!(begun.trim(), "0", "nothing was trimmed");
    let first = Instant::now();
    lab.prints(0, &["replay", "--to", "0"]);
    let start_up = first.elapsed();
    let start = Instant::now();
    lab.prints(0, &["replay", "--to", &to]);
    let took = start.elapsed().saturating_sub(start_up);
    let uptime_s = before.uptime_ms as f64 / 1000.0;
    uptime_s / took.as_secs_f64()
}

/// From a bit that turned over to the others' word that the node is out.
fn eviction_s() -> f64 {
    let lab = debian("");
    let victim = lab.follower(None);
    let witness = lab.sequencer();
    flip_bits(lab.cluster.pid(victim).expect("it runs"));
    let start = Instant::now();
    lab.cluster
        .wait_for("the node to be put out", PATIENCE, || {
            lab.log(witness).contains("evicted")
        })
        .expect("it is found");
    start.elapsed().as_secs_f64()
}
