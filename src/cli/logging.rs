//! What the program says on standard error while it works.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LogSettings};

/// For a node: as its settings say; `RUST_LOG` goes first.
pub(super) fn start(settings: &LogSettings) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(&settings.level));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    // Fails only if there is a subscriber already, as in tests.
    let _ = match settings.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// For commands that answer one question: warnings only, and none about what the command tries again by itself.
pub(super) fn start_quiet() {
    start(&LogSettings {
        format: LogFormat::Text,
        level: "warn,quorate::log=error".to_owned(),
    });
}
