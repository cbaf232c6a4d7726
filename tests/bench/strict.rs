//! The reference at work: strict mode on PostgreSQL, each access to a register or to memory a statement that is committed
//! before the next instruction. Its clock stands beside the fast mode's in the table.

use std::time::Duration;

use quorate::config::Cluster;
use quorate::images::GuestFiles;
use quorate::strict;
use quorate::strict::compare::Comparison;

use crate::common::postgres::{Options, Postgres};
use crate::lab::firmware;
use crate::{Bound, Figures};

/// Long enough for some thousand accesses.
const SECONDS: f64 = 4.0;
/// Instructions between two looks at the digests.
const ENTRY_TICKS: u64 = 100;
const PATIENCE: Duration = Duration::from_secs(10);

pub fn measure(figures: &mut Figures) {
    let postgres = Postgres::start_or_skip(Options::default()).expect("the benchmarks need PostgreSQL");
    let folder = tempfile::tempdir().expect("a folder can be made");
    let settings = folder.path().join("cluster.toml");
    std::fs::write(&settings, settings_of(&firmware())).expect("the settings can be written");
    let cluster = Cluster::load(&settings).expect("the settings are right");
    let files = GuestFiles::open(&cluster).expect("the firmware can be read");
    let hal = || strict::open(&postgres.url(), &cluster.machine, PATIENCE);
    let mut comparison = Comparison::new(&cluster, &files, 0, hal).expect("the guest can be made");
    let mut checkpoint = comparison.checkpoint().expect("the database answers");
    while checkpoint.seconds < SECONDS {
        checkpoint = comparison.step(ENTRY_TICKS).expect("the database answers");
        assert!(checkpoint.equal, "the strict mode and the fast one differ");
    }
    let per_s = |count: u64| count as f64 / checkpoint.seconds;
    figures.add(
        "strict_accesses_per_s",
        per_s(checkpoint.accesses),
        Bound::Note("each register and memory access agreed, equal digests"),
    );
    figures.add(
        "strict_instructions_per_s",
        per_s(checkpoint.instructions),
        Bound::Note("the clock of that; ours: effective_ticks_per_s"),
    );
}

fn settings_of(firmware: &std::path::Path) -> String {
    format!(
        "machine = \"strict\"\nstore = \"sqlite:unused.db\"\nkey_file = \"cluster.key\"\n[[node]]\nname = \"a\"\n\
         peer = \"192.0.2.1:7100\"\n[guest]\nboard = \"mps2-an385\"\nfirmware = {firmware:?}\nmode = \"strict\"\n\
         [network]\nguest = \"10.77.0.2/24\"\ngateway = \"10.77.0.1\"\nexternal = [\"203.0.113.10\"]\n"
    )
}
