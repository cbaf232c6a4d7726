//! What an idle guest costs: CPU of a node, statements of the cluster.

use std::time::{Duration, Instant};

use crate::lab::{Lab, Setup, StoreKind};
use crate::noise::process_times;
use crate::{Bound, Figures, apart, key};

/// Let the boot and the last connections settle, then measure.
const SETTLE: Duration = Duration::from_secs(3);
/// What is counted there.
const TRANSACTIONS: &str = "all of the database: checkpoints, and what it does by itself";
const TIME: Duration = Duration::from_secs(20);

/// What one second costs.
struct Cost {
    /// Of a core, for one node.
    percent: f64,
    /// Of the whole cluster: the log, the lease, heartbeats.
    statements: f64,
    /// Of the database, checkpoints and its own work included (PostgreSQL).
    transactions: f64,
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
        if store == StoreKind::Postgres {
            figures.add("idle_transactions_per_s", cost.transactions, Bound::Note(TRANSACTIONS));
        }
    }
}

/// The same for Debian, which has timers and services of its own.
pub fn measure_linux(figures: &mut Figures) {
    let cost = apart(|| cost(&Setup::debian_on(StoreKind::Postgres)));
    figures.add(
        "idle_linux_transactions_per_s",
        cost.transactions,
        Bound::Note(TRANSACTIONS),
    );
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
    let statement_count = |index: &usize| lab.cluster.status(*index).expect("it answers").statements;
    let statements = || nodes.iter().map(statement_count).sum::<u64>();
    // All there are, checkpoints too: each statement is a transaction of its own. PostgreSQL's own work is among them.
    let committed = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()";
    let transactions = || match setup.store {
        StoreKind::Postgres | StoreKind::Quorum => lab.sql(committed).trim().parse().expect("a number"),
        StoreKind::Sqlite => 0_u64,
    };
    let (cpu_before, statements_before, transactions_before) = (cpu(), statements(), transactions());
    let start = Instant::now();
    std::thread::sleep(TIME);
    let elapsed = start.elapsed().as_secs_f64();
    Cost {
        percent: (cpu() - cpu_before) / elapsed / nodes.len() as f64 * 100.0,
        statements: (statements() - statements_before) as f64 / elapsed,
        transactions: (transactions() - transactions_before) as f64 / elapsed,
    }
}
