//! A node whose state is wrong is found, outvoted and put out. Bits of its guest's memory are turned over from outside, as
//! by a broken memory module: through the process' own memory, which needs nothing in the program under test.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use quorate::demo::client::Transcript;

use crate::checkpoints::{OFTEN, directory_client, ended_well, goes_on, wait_for_checkpoints};
use crate::lab::{Lab, PATIENCE, Setup, StoreKind};

/// Pages in which a bit is turned over: some are written again, or never looked at.
const FLIPS: usize = 16;
const PAGE_BYTES: u64 = 4096;
/// Exit code of a node whose state differs.
const DIVERGENCE: i32 = 70;

/// Where a process keeps guest memory: what it has registered for write tracking (`uw` in VmFlags of smaps).
fn guest_memory(pid: u32) -> Vec<Range<u64>> {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let (mut found, mut range) = (Vec::new(), 0..0);
    for line in smaps.lines() {
        let first = line.split_whitespace().next().unwrap_or_default();
        let parse = |text: &str| u64::from_str_radix(text, 16).ok();
        if let Some((Some(start), Some(end))) = first.split_once('-').map(|(a, b)| (parse(a), parse(b))) {
            range = start..end;
        }
        if line.starts_with("VmFlags:") && line.split_whitespace().any(|flag| flag == "uw") {
            found.push(range.clone());
        }
    }
    assert!(!found.is_empty(), "no tracked memory in process {pid}");
    found
}

/// Turns over a bit in each of [`FLIPS`] pages that hold something, spread over the guest's memory.
pub fn flip_bits(pid: u32) {
    let memory = guest_memory(pid);
    let file = File::options()
        .read(true)
        .write(true)
        .open(format!("/proc/{pid}/mem"))
        .unwrap();
    let pages: Vec<u64> = memory
        .into_iter()
        .flat_map(|range| range.step_by(PAGE_BYTES as usize))
        .collect();
    let mut flipped = 0;
    for (number, &page) in pages.iter().enumerate() {
        // Ever further apart, from the end, where a Linux kernel puts what it allocates first.
        let page = if number % 2 == 0 {
            page
        } else {
            pages[pages.len() - number]
        };
        if number % (pages.len() / 256).max(1) != 0 {
            continue;
        }
        let mut bytes = [0; PAGE_BYTES as usize];
        file.read_exact_at(&mut bytes, page).unwrap();
        if let Some(at) = bytes.iter().position(|byte| *byte != 0) {
            file.write_all_at(&[bytes[at] ^ 0x10], page + at as u64).unwrap();
            flipped += 1;
            if flipped == FLIPS {
                return;
            }
        }
    }
    assert!(flipped > 0, "no page of {} holds anything", pages.len());
}

/// Waits until node `victim` has stopped by itself; how, and after which time.
fn wait_for_end(lab: &mut Lab, victim: usize) -> (Option<i32>, Duration) {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(status) = lab.cluster.ended(victim) {
            return (status.code(), start.elapsed());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("node {victim} goes on\n{}", lab.cluster.describe());
}

fn flipped_memory_is_found(choose: impl Fn(&Lab) -> usize) {
    let setup = Setup {
        cluster_extra: OFTEN,
        ..Setup::debian_on(StoreKind::Postgres)
    };
    let Some(mut lab) = Lab::start(&setup) else { return };
    let client = directory_client();
    goes_on(&lab, &client, 20);
    wait_for_checkpoints(&lab, 1);
    let victim = choose(&lab);
    flip_bits(lab.cluster.pid(victim).unwrap());
    let (code, after) = wait_for_end(&mut lab, victim);
    eprintln!("evicted after {after:.2?}");
    assert_eq!(code, Some(DIVERGENCE), "{}", lab.log(victim));
    lab.cluster.kill(victim); // it is gone: only forget it
    goes_on(&lab, &client, 20);
    let name = format!("node{victim}");
    for index in lab.cluster.running() {
        let log = lab.log(index);
        assert!(log.contains("evicted") && log.contains(&name), "node {index}: {log}");
    }
    lab.assert_digests_equal();
    // It does not come back by itself.
    lab.cluster.start_node(victim).unwrap();
    assert_eq!(
        wait_for_end(&mut lab, victim).0,
        Some(DIVERGENCE),
        "{}",
        lab.log(victim)
    );
    lab.cluster.kill(victim);
    // What was wrong with it is known.
    let diff = lab.prints(lab.sequencer(), &["digest", "diff", &name]);
    eprintln!("{diff}");
    assert!(
        diff.contains("memory at 0x") && diff.contains("evicted for its vote"),
        "{diff}"
    );
    ended_well(&lab, client);
}

#[test]
fn a_follower_with_wrong_memory_is_put_out() {
    flipped_memory_is_found(|lab| lab.follower(None));
}

#[test]
fn a_sequencer_with_wrong_memory_is_put_out() {
    flipped_memory_is_found(Lab::sequencer);
}

/// Outputs wait for a majority: a conversation is slower, and goes on when a node dies.
#[test]
fn outputs_that_wait_for_votes_come() {
    let setup = Setup {
        cluster_extra: "release = \"vote\"\n",
        ..Setup::on(StoreKind::Postgres)
    };
    let Some(mut lab) = Lab::start(&setup) else { return };
    let conversation = lab.converse();
    std::thread::sleep(Duration::from_secs(3));
    lab.cluster.kill(lab.follower(None));
    std::thread::sleep(Duration::from_secs(3));
    let transcript: Transcript = conversation.finish();
    assert_eq!(transcript.broken, None, "{}", lab.cluster.describe());
    assert_eq!(transcript.bytes_lost(), 0);
    let messages = transcript.echoes.len();
    eprintln!("{messages} messages, longest gap {:.0?}", transcript.longest_gap(None));
    assert!(messages > 100, "{messages} messages in 6 s\n{}", lab.cluster.describe());
    lab.assert_digests_equal();
}
