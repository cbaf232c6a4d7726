//! What an error of the database means for the one who asked: again, elsewhere, or not at all.

use tokio_postgres::Error;

use super::settings::with_source;
use crate::log::{LogError, schema};

/// What to do about an error.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The statement certainly did nothing: run it again on the same connection.
    Again(String),
    /// The connection is of no use any more, or its database is not; the statement may have been carried out.
    Reconnect(String),
    /// A unique key is taken (23505).
    Conflict,
    /// Trying again does not help.
    Final(LogError),
}

/// Classify by SQLSTATE (PostgreSQL manual, appendix A); CockroachDB uses the same codes.
pub(super) fn classify(error: &Error) -> Fault {
    match error.code() {
        Some(code) if !error.is_closed() => by_code(code.code(), &with_source(error)),
        _ => Fault::Reconnect(with_source(error)),
    }
}

fn by_code(code: &str, text: &str) -> Fault {
    let said = format!("{text} (SQLSTATE {code})");
    let refused = |hint: &str| Fault::Final(LogError::Refused(format!("{said}. {hint}")));
    match code {
        "23505" => Fault::Conflict,
        // Serialization failure, deadlock, lock not available: rolled back.
        "40001" | "40P01" | "55P03" => Fault::Again(said),
        // Two CREATE ... IF NOT EXISTS at the same moment: one of them may hear that the table or its type exists.
        "42P07" | "42710" => Fault::Again(said),
        "42P01" | "42703" | "3F000" => Fault::Final(schema::missing(&format!("lacks a table or column ({said})"))),
        "3D000" => refused("Create the database first"),
        "42501" => refused("GRANT the user SELECT, INSERT, UPDATE on quorate's tables (and CREATE to migrate)"),
        _ => match &code[..code.len().min(2)] {
            "28" => refused("Check user and password in the URL, and what the database's pg_hba.conf lets in"),
            "42" => refused("Is this PostgreSQL 12 or newer, or CockroachDB?"),
            "22" | "23" => refused("This should not happen: please report it"),
            // 40003 in doubt, 08 connection, 25006 now a standby, 53 out of connections or disk, 57 shutting down or
            // starting up or canceled, 58 I/O, XX internal, and whatever is not known: may pass, so keep trying.
            _ => Fault::Reconnect(said),
        },
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn codes_mean_what_the_manual_says() {
        let is = |code: &str| by_code(code, "text");
        assert_eq!(is("23505"), Fault::Conflict);
        for code in ["40001", "40P01", "42P07", "42710"] {
            assert!(matches!(is(code), Fault::Again(_)), "{code}");
        }
        for code in [
            "40003", "08006", "57P01", "57P03", "57014", "25006", "53300", "53100", "XX000", "", "?",
        ] {
            assert!(matches!(is(code), Fault::Reconnect(_)), "{code}");
        }
        for code in ["28P01", "28000", "42501", "42601", "3D000", "22003"] {
            assert!(matches!(is(code), Fault::Final(LogError::Refused(_))), "{code}");
        }
        assert!(matches!(is("42P01"), Fault::Final(LogError::Schema(text)) if text.contains("quorate db migrate")));
    }
}
