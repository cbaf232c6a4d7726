//! Finished engine builds, shared between target directories and clones: a minute of compiling becomes a copy.
//!
//! ```text
//! $QUORATE_CACHE, $XDG_CACHE_HOME/quorate or ~/.cache/quorate
//!   engine/<key>/<library>          key = SHA-256 over everything the build depends on
//!   engine/<key>/<library>.sha256   digest of the library, in hexadecimal
//! ```
//!
//! An entry is written to a folder of its own and renamed, so nobody sees half of one. One that does not match its
//! digest is removed and built again. No cache, or one that cannot be written, only costs the build.

use crate::source::hex;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::{env, fs, io, process};

/// The place of one build in the cache.
pub struct Entry {
    folder: Option<PathBuf>,
}

impl Entry {
    /// `inputs` names everything that decides what the build gives.
    pub fn new(inputs: &[(&str, &str)]) -> Entry {
        let mut hash = Sha256::new();
        for part in inputs.iter().flat_map(|&(name, value)| [name, value]) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Entry {
            folder: root().map(|root| root.join("engine").join(hex(&hash.finalize()))),
        }
    }

    /// Copies `file` to the folder `to` if the cache has it intact.
    pub fn fetch(&self, file: &str, to: &Path) -> bool {
        let Some(folder) = &self.folder else { return false };
        let Ok(contents) = fs::read(folder.join(file)) else {
            return false;
        };
        let expected = fs::read_to_string(folder.join(format!("{file}.sha256"))).unwrap_or_default();
        if expected.trim() != hex(&Sha256::digest(&contents)) {
            println!(
                "cargo:warning={} is damaged: building the engine again",
                folder.display()
            );
            let _ = fs::remove_dir_all(folder); // if it cannot be removed, store() will fail as quietly
            return false;
        }
        fs::write(to.join(file), contents).is_ok()
    }

    /// Puts `file` of the folder `from` into the cache, if that is possible.
    pub fn store(&self, file: &str, from: &Path) {
        let Some(folder) = &self.folder else { return };
        let temporary = folder.with_extension(format!("new-{}", process::id()));
        if write_entry(&temporary, file, from)
            .and_then(|()| fs::rename(&temporary, folder))
            .is_err()
        {
            // Unwritable, or another build was first: either way there is nothing to do but clean up.
            let _ = fs::remove_dir_all(&temporary);
        }
    }
}

fn write_entry(folder: &Path, file: &str, from: &Path) -> io::Result<()> {
    let contents = fs::read(from.join(file))?;
    fs::create_dir_all(folder)?;
    fs::write(folder.join(format!("{file}.sha256")), hex(&Sha256::digest(&contents)))?;
    fs::write(folder.join(file), contents)
}

fn root() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let root = set("QUORATE_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("quorate")))
        .or_else(|| set("HOME").map(|folder| folder.join(".cache/quorate")))?;
    root.is_absolute().then_some(root)
}
