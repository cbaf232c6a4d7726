//! The figures of `make bench`: measured in one run on this host, printed as a table, written to `target/bench.json` as one
//! flat object. Ratios within one run are what to compare between hosts.
//!
//! `QUORATE_BENCH=name,...` runs only some groups: naive, clock, echo, frames, gaps, idle. Keys of groups that did not run
//! are left out of the file.

#[path = "../common/mod.rs"]
mod common;
#[path = "../end_to_end/lab.rs"]
mod lab;
#[path = "../end_to_end/relay.rs"]
mod relay;

mod clock;
mod echo;
mod frames;
mod gaps;
mod idle;
mod naive;

use std::collections::BTreeMap;

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;

use lab::StoreKind;

/// Key, value, and the bound the project set itself (as text).
#[derive(Debug, Default)]
pub struct Figures(Vec<(String, f64, String)>);

impl Figures {
    /// Record a figure.
    pub fn add(&mut self, key: &str, value: f64, bound: &str) {
        println!("  {key} = {}", rounded(value));
        self.0.push((key.to_owned(), rounded(value), bound.to_owned()));
    }

    /// A figure recorded before.
    pub fn get(&self, key: &str) -> Option<f64> {
        self.0.iter().find(|(of, _, _)| of == key).map(|(_, value, _)| *value)
    }
}

/// Four significant digits are more than such a measurement has.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10f64.powi(3 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

fn main() {
    let wanted = std::env::var("QUORATE_BENCH").ok();
    let runs = |group: &str| {
        wanted
            .as_ref()
            .is_none_or(|list| list.split(',').any(|name| name == group))
    };
    let mut figures = Figures::default();
    let groups: [(&str, fn(&mut Figures)); 6] = [
        ("naive", naive::measure),
        ("clock", clock::measure),
        ("echo", echo::measure),
        ("frames", frames::measure),
        ("gaps", gaps::measure),
        ("idle", idle::measure),
    ];
    for (name, measure) in groups {
        if runs(name) {
            println!("{name}");
            // each group enters namespaces of its own, which a thread cannot leave again
            std::thread::scope(|scope| {
                scope
                    .spawn(|| measure(&mut figures))
                    .join()
                    .expect("a measurement failed")
            });
        }
    }
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_header(["figure", "measured", "bound"]);
    for (key, value, bound) in &figures.0 {
        table.add_row([key, &value.to_string(), bound]);
    }
    println!("{table}");
    let flat: BTreeMap<_, _> = figures.0.iter().map(|(key, value, _)| (key, value)).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench.json");
    std::fs::write(
        path,
        serde_json::to_string_pretty(&flat).expect("numbers and names can be written"),
    )
    .expect("target/ can be written");
    println!("written to target/bench.json");
}

/// Key of a figure on a store: PostgreSQL has the plain name, SQLite a prefix.
pub fn key(store: StoreKind, name: &str) -> String {
    match store {
        StoreKind::Postgres => name.to_owned(),
        StoreKind::Sqlite => format!("sqlite_{name}"),
    }
}
