//! What an idle guest costs: CPU of a node, statements of the cluster.

use std::time::{Duration, Instant};

use crate::lab::{Lab, Setup, StoreKind};
use crate::noise::process_times;
use crate::{Bound, Figures, apart, key};

/// Let the boot and the last connections settle, then measure.
const SETTLE: Duration = Duration::from_secs(3);
const TIME: Duration = Duration::from_secs(20);

/// What one second costs.
struct Cost {
    /// Of a core, for one node.
    percent: f64,
    /// Of the whole cluster.
    statements: f64,
}

pub fn measure(figures: &mut Figures) {
    for store in [StoreKind::Postgres, StoreKind::Sqlite] {
        let cost = apart(|| cost(&Setup::on(store)));
        figures.add(&key(store, "idle_node_cpu_percent"), cost.percent, Bound::AtMost(5.0));
        figures.add(
            &key(store, "idle_statements_per_s"),
            cost.statements,
            Bound::AtMost(30.0),
        );
    }
}

/// The same for Debian, which has timers and services of its own.
pub fn measure_linux(figures: &mut Figures) {
    let cost = apart(|| cost(&Setup::debian_on(StoreKind::Postgres)));
    figures.add("idle_linux_cpu_percent", cost.percent, Bound::AtMost(10.0));
    figures.add("idle_linux_statements_per_s", cost.statements, Bound::AtMost(40.0));
}

fn cost(setup: &Setup) -> Cost {
    let lab = Lab::start(setup).expect("the benchmarks need root and PostgreSQL");
    let nodes = lab.cluster.running();
    std::thread::sleep(SETTLE);
    let cpu = || {
        nodes
            .iter()
            .map(|&index| {
                let pid = lab.cluster.pid(index).expect("it runs");
                let [user_s, system_s, ..] = process_times(&pid.to_string());
                user_s + system_s
            })
            .sum::<f64>()
    };
    // PostgreSQL counts all there are, checkpoints and heartbeats too: each statement is a transaction of its own.
    let committed = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()";
    let statement_count = |index: &usize| lab.cluster.status(*index).expect("it answers").statements;
    let statements = || match setup.store {
        StoreKind::Postgres => lab.sql(committed).trim().parse().expect("a number"),
        StoreKind::Sqlite => nodes.iter().map(statement_count).sum::<u64>(),
    };
    let (cpu_before, statements_before, start) = (cpu(), statements(), Instant::now());
    std::thread::sleep(TIME);
    let elapsed = start.elapsed().as_secs_f64();
    Cost {
        percent: (cpu() - cpu_before) / elapsed / nodes.len() as f64 * 100.0,
        statements: (statements() - statements_before) as f64 / elapsed,
    }
}
