//! Moments, the source, and a console, on logs in memory.

use std::time::Duration;

use super::*;
use crate::explain::rfc3339;
use crate::log::{AgreedTime, AnyLog, Entry, Grant, Log, Memory, Term};

const SECOND: u64 = 1_000_000_000;

/// Genesis at 100 s and nine entries of a second each.
fn sample() -> (Memory, Vec<Entry>) {
    let log = Memory::new();
    let mut entries = vec![Entry::genesis([1; 32], AgreedTime(100 * SECOND))];
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(log.genesis(entries[0].to_row())).unwrap();
    for at in 1..10 {
        let grant = Grant {
            ticks: 10,
            until: AgreedTime((100 + at) * SECOND),
        };
        let entry = Entry::after(entries.last().unwrap(), Term(1), u128::from(at), vec![], grant);
        log.overwrite(entry.to_row());
        entries.push(entry);
    }
    (log, entries)
}

fn source(log: &Memory) -> Source {
    Source::new(AnyLog::Memory(log.clone())).unwrap()
}

#[test]
fn moments_are_read() {
    for (text, moment) in [
        ("7", Moment::Entry(Index(7))),
        ("-10s", Moment::BeforeEnd(Duration::from_secs(10))),
        ("-1min 500ms", Moment::BeforeEnd(Duration::from_millis(60_500))),
        ("1970-01-01T00:01:40Z", Moment::At(AgreedTime(100 * SECOND))),
        ("1970-01-01T00:01:40.25Z", Moment::At(AgreedTime(100_250_000_000))),
    ] {
        assert_eq!(text.parse(), Ok(moment), "{text}");
    }
    for text in [
        "",
        "x",
        "10s",
        "-",
        "-10",
        "2026-11-28",
        "2026-11-28T07:00:00",
        "1969-12-31T23:59:59Z",
    ] {
        let error = text.parse::<Moment>().unwrap_err().to_string();
        assert!(
            error.contains(&format!("{text:?}")) && error.contains("-10s"),
            "{error}"
        );
    }
    assert_eq!(rfc3339(AgreedTime(100_250_000_001)), "1970-01-01T00:01:40.250000001Z");
}

#[test]
fn moments_are_found() {
    let (log, _) = sample();
    let source = source(&log);
    let at = |text: &str| text.parse::<Moment>().unwrap().resolve(&source);
    for (text, index) in [
        ("0", 0),
        ("9", 9),
        ("1970-01-01T00:01:40Z", 0),
        ("1970-01-01T00:01:44.999999999Z", 4),
        ("1970-01-01T00:01:45Z", 5),
        ("2026-11-28T07:00:00Z", 9),
        ("-0s", 9),
        ("-1ns", 8),
        ("-9s", 0),
    ] {
        assert_eq!(at(text).unwrap(), Index(index), "{text}");
    }
    assert_eq!(Moment::End.resolve(&source).unwrap(), Index(9));
    assert_eq!(
        at("10").unwrap_err().to_string(),
        "the log has no entry 10: its last one is 9"
    );
    for (text, wanted) in [
        ("1970-01-01T00:01:39Z", "00:01:39"),
        ("-10s", "00:01:39"),
        ("-1day", "1970-01-01T00:00:00"),
    ] {
        let error = at(text).unwrap_err().to_string();
        assert!(
            error.contains(wanted) && error.contains("begins with entry 0, at 1970-01-01T00:01:40"),
            "{error}"
        );
    }
}

#[test]
fn a_source_gives_what_follows_and_nothing_else() {
    let (log, entries) = sample();
    let mut reading = source(&log);
    for pair in entries.windows(2) {
        assert_eq!(reading.after(&pair[0]).unwrap().as_ref(), Some(&pair[1]));
    }
    assert_eq!(reading.after(&entries[9]).unwrap(), None);
    assert_eq!(
        reading.after(&entries[3]).unwrap().as_ref(),
        Some(&entries[4]),
        "back again"
    );

    log.conceal(Index(5));
    let error = source(&log).after(&entries[4]).unwrap_err().to_string();
    assert!(error.starts_with("entry 5 is damaged: it is missing"), "{error}");
    log.reveal(Index(5));
    let mut row = entries[5].to_row();
    *row.entry.last_mut().unwrap() ^= 1;
    log.overwrite(row);
    let error = source(&log).after(&entries[4]).unwrap_err().to_string();
    assert!(error.starts_with("entry 5 is damaged: checksum"), "{error}");
    let grant = entries[5].grant;
    let other = Entry::after(&entries[3], Term(1), 77, vec![], grant);
    let moved = Entry {
        index: Index(5),
        ..other
    };
    log.overwrite(Entry::after((Index(4), moved.chain), Term(1), 78, vec![], grant).to_row());
    let error = source(&log).after(&entries[4]).unwrap_err().to_string();
    assert!(error.contains("does not follow its predecessor"), "{error}");
}
