//! What the guest's work costs the host: processor seconds of a whole node beside those of plain QEMU.
//!
//! Three nodes share this host's cores, caches and memory, so what is compared with is one of three QEMUs that do.

use quorate::demo::debian::Boot;
use quorate::demo::topology::{Topology, isolate};

use crate::lab::{GuestKind, Lab, Setup, StoreKind, debian};
use crate::noise::process_times;
use crate::qemu::Qemu;
use crate::terminal::Terminal;
use crate::{Bound, Figures, apart};

/// From power on to the shell, then the work of `quorate-bench` (tests/guests/debian/programs).
const WORKS: [&str; 5] = ["boot", "loop", "fork", "sha256", "syscall"];
/// Processor seconds for each work.
type Spent = [f64; WORKS.len()];
/// Each but the boot is done so often, and the median counts. All are printed: one round of some fifty took 2.6 times as
/// long as the others, on all nodes, and it is not known why.
const ROUNDS: usize = 5;
const PROMPT: &str = "quorate# ";

pub fn measure(figures: &mut Figures) {
    let (ours, qemu, icount) = (apart(replicated), apart(|| plain(false)), apart(|| plain(true)));
    for (name, of) in [("a node", ours), ("QEMU", qemu), ("QEMU -icount", icount)] {
        println!("  {name}: {of:.2?} processor seconds for {WORKS:?}");
    }
    let mut ahead = 0;
    for (index, work) in WORKS.iter().enumerate() {
        let ratio = ours[index] / qemu[index];
        figures.add(&format!("qemu_ratio_{work}"), ratio, Bound::AtMost(1.6));
    }
    for (index, work) in WORKS.iter().enumerate() {
        let ratio = ours[index] / icount[index];
        ahead += usize::from(ratio < 1.0);
        let note = Bound::Note("processor seconds, a node's over QEMU's with -icount");
        figures.add(&format!("icount_ratio_{work}"), ratio, note);
    }
    figures.add("icount_ahead", ahead as f64, Bound::AtLeast(3.0)); // of five
}

/// A cluster's nodes, on PostgreSQL: all threads of their processes.
fn replicated() -> Spent {
    let setup = Setup {
        guest: GuestKind::Shell,
        ..Setup::on(StoreKind::Postgres)
    };
    let lab = Lab::start_nodes(&setup).expect("the benchmarks need root and PostgreSQL");
    let running = lab.cluster.running();
    let pids = running
        .iter()
        .map(|&index| lab.cluster.pid(index).expect("it runs"))
        .collect::<Vec<_>>();
    lab.wait_answering();
    spent(&pids, &mut [&mut Terminal::open(&lab, lab.sequencer())])
}

/// As many QEMUs beside each other.
fn plain(icount: bool) -> Spent {
    isolate().expect("the benchmarks need root");
    let nodes = Setup::on(StoreKind::Postgres).nodes;
    let _topology = Topology::build(nodes).expect("the benchmarks need root");
    let debian = debian();
    let mut machines: Vec<Qemu> = (0..nodes)
        .map(|index| Qemu::start(&debian, Boot::Shell, index, icount))
        .collect();
    let pids: Vec<u32> = machines.iter().map(Qemu::pid).collect();
    let mut terminals: Vec<&mut Terminal> = machines.iter_mut().map(|machine| &mut machine.terminal).collect();
    spent(&pids, &mut terminals)
}

/// Of one of the processes `pids`, on average; what is typed at `terminals` reaches them all.
fn spent(pids: &[u32], terminals: &mut [&mut Terminal]) -> Spent {
    let seconds = || {
        let each = pids.iter().map(|pid| {
            let [user_s, system_s, ..] = process_times(&pid.to_string());
            user_s + system_s
        });
        each.sum::<f64>() / pids.len() as f64
    };
    let wait = |terminals: &mut [&mut Terminal], text: &str| {
        terminals.iter_mut().for_each(|terminal| terminal.wait(text));
    };
    WORKS.map(|work| {
        if work == "boot" {
            wait(terminals, PROMPT);
            return seconds();
        }
        let mut rounds = [(); ROUNDS].map(|()| {
            let before = seconds();
            for terminal in terminals.iter_mut() {
                terminal.type_in(&format!("quorate-bench {work}\r"));
            }
            wait(terminals, &format!("bench {work} end"));
            wait(terminals, PROMPT);
            seconds() - before
        });
        println!("  {work}: {rounds:.2?}");
        rounds.sort_unstable_by(f64::total_cmp);
        rounds[ROUNDS / 2]
    })
}
