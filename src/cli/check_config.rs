//! `quorate check-config`.

use std::fmt::Write as _;

use super::{Exit, Failure, print};
use crate::config::Config;
use crate::images::GuestFiles;
use crate::node::check_hooks;

/// Prints the settings as they are used, and the digest that must be equal on all nodes with what goes into it.
pub(super) fn check_config(config: &Config) -> Result<(), Failure> {
    config.cluster.key()?;
    check_hooks(&config.hooks)?;
    let files = GuestFiles::open(&config.cluster)?;
    let digest = config.cluster.digest(files.hashes(), machine::ENGINE_ID);
    let settings = toml::to_string(config)
        .map_err(|error| Failure::new(Exit::Data, format!("the settings cannot be printed: {error}"), ""))?;
    let mut text = format!("{settings}\n# digest {}\n", hex::encode(digest.digest));
    for (name, value) in &digest.parts {
        let _ = writeln!(text, "# digest of {name}: {value}");
    }
    print(text.as_bytes())
}
