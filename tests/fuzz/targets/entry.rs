//! A row of the log, as a database might return it: an entry or an error, and an entry encodes to the same row again.
#![no_main]

use quorate::log::{Entry, Index, Row, Term};

libfuzzer_sys::fuzz_target!(|data: (u64, u64, u128, Vec<u8>)| {
    let (index, term, id, entry) = data;
    let row = Row { index: Index(index), term: Term(term), id, entry };
    if let Ok(decoded) = Entry::decode(&row) {
        assert_eq!(decoded.to_row(), row);
    }
});
