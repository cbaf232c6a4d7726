//! The figures of `make bench`: measured in one run on this host, printed as a table, written to `target/bench.json` as one
//! flat object. Ratios within one run are what to compare between hosts; `noise_*_percent` says how much of the host
//! others used while a group ran.
//!
//! `QUORATE_BENCH=name,...` runs only some groups: naive, strict, clock, echo, frames, gaps, idle, processor, services,
//! throughput, idle_linux, checkpoints. Keys of groups that did not run are left out of the file. `QUORATE_BENCH_RAN_S=600`
//! lets the guest run for ten minutes before a node has to come back (`rejoin_s`), instead of one.
#![allow(clippy::unwrap_used)] // in the helpers it shares with the tests

#[path = "../common/mod.rs"]
mod common;
#[path = "../end_to_end/flip.rs"]
mod flip;
#[path = "../end_to_end/lab.rs"]
#[allow(dead_code)] // some of it only the tests need
mod lab;
#[path = "../end_to_end/relay.rs"]
mod relay;
#[path = "../end_to_end/terminal.rs"]
#[allow(dead_code)] // some of it only the tests need
mod terminal;

mod checkpoints;
mod clock;
mod echo;
mod frames;
mod gaps;
mod idle;
mod naive;
mod noise;
mod processor;
mod qemu;
mod services;
mod strict;
mod throughput;

use std::collections::BTreeMap;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};

use lab::StoreKind;

/// What is said about a figure in the table.
#[derive(Debug, Clone, Copy)]
pub enum Bound {
    /// The project's bound: not less than this.
    AtLeast(f64),
    /// The project's bound: not more than this.
    AtMost(f64),
    /// No bound; what the figure is.
    Note(&'static str),
}

impl Bound {
    /// The bound in words, and whether `value` keeps it.
    fn judge(self, value: f64) -> (String, &'static str) {
        let (text, kept) = match self {
            Bound::AtLeast(bound) => (format!("at least {}", rounded(bound)), value >= bound),
            Bound::AtMost(bound) => (format!("at most {}", rounded(bound)), value <= bound),
            Bound::Note(note) => return (note.to_owned(), ""),
        };
        (text, if kept { "holds" } else { "MISSED" })
    }
}

/// Key, value and bound of every figure, in the order in which they were measured.
#[derive(Debug, Default)]
pub struct Figures(Vec<(String, f64, Bound)>);

impl Figures {
    /// Record a figure.
    pub fn add(&mut self, key: &str, value: f64, bound: Bound) {
        println!("  {key} = {}", rounded(value));
        self.0.push((key.to_owned(), rounded(value), bound));
    }

    /// A figure recorded before.
    pub fn get(&self, key: &str) -> Option<f64> {
        self.0.iter().find(|(of, _, _)| of == key).map(|(_, value, _)| *value)
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table
            .load_style(UTF8_FULL_CONDENSED)
            .set_header(["figure", "measured", "bound", ""]);
        for (key, value, bound) in &self.0 {
            let (text, kept) = bound.judge(*value);
            table.add_row([key, &value.to_string(), &text, kept]);
        }
        if let Some(measured) = table.column_mut(1) {
            measured.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}

/// Four significant digits are more than such a measurement has.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let digits = 3 - value.abs().log10().floor() as i32;
    let scale = 10f64.powi(digits.abs()); // exact, unlike its inverse
    if digits < 0 {
        (value / scale).round() * scale
    } else {
        (value * scale).round() / scale
    }
}

/// Measures and records.
type Group = fn(&mut Figures);

fn main() {
    let wanted = std::env::var("QUORATE_BENCH").ok();
    let runs = |group: &str| {
        wanted
            .as_ref()
            .is_none_or(|list| list.split(',').any(|name| name == group))
    };
    let mut figures = Figures::default();
    let groups: [(&str, Group); 12] = [
        ("naive", naive::measure),
        ("strict", strict::measure),
        ("clock", clock::measure),
        ("echo", echo::measure),
        ("frames", frames::measure),
        ("gaps", gaps::measure),
        ("idle", idle::measure),
        ("processor", processor::measure),
        ("services", services::measure),
        ("throughput", throughput::measure),
        ("idle_linux", idle::measure_linux),
        ("checkpoints", checkpoints::measure),
    ];
    for (name, measure) in groups {
        if runs(name) {
            println!("{name}");
            let noise = noise::Noise::start();
            apart(|| measure(&mut figures));
            figures.add(
                &format!("noise_{name}_percent"),
                noise.percent(),
                Bound::Note("of the host, used by others"),
            );
        }
    }
    println!("{}", figures.table());
    let flat: BTreeMap<_, _> = figures.0.iter().map(|(key, value, _)| (key, value)).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench.json");
    std::fs::write(
        path,
        serde_json::to_string_pretty(&flat).expect("numbers and names can be written"),
    )
    .expect("target/ can be written");
    println!("written to target/bench.json");
}

/// Measures on a thread of its own: each cluster enters namespaces, which a thread cannot leave again.
pub fn apart<T: Send>(measure: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(measure).join().expect("a measurement failed"))
}

/// Key of a figure on a store: PostgreSQL has the plain name, SQLite a prefix.
pub fn key(store: StoreKind, name: &str) -> String {
    match store {
        StoreKind::Postgres => name.to_owned(),
        StoreKind::Sqlite => format!("sqlite_{name}"),
        StoreKind::Quorum => format!("quorum_{name}"),
    }
}
