//! The cluster's key: 32 bytes as 64 hexadecimal digits in a file only the service can read.

use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::ConfigError;
use crate::peers::ClusterKey;

/// 64 digits and room for the end of a line.
const KEY_FILE_BYTES_MAX: u64 = 80;
/// Permissions of the world: a key that everybody can read is no key.
const WORLD: u32 = 0o007;
/// Permissions of the group: unusual, but how some sites hand out secrets.
const GROUP: u32 = 0o070;

/// Reads the cluster's key.
///
/// # Errors
/// If it cannot be read, is readable by everybody, or is not 64 hexadecimal digits.
pub fn read_key_file(path: &Path) -> Result<ClusterKey, ConfigError> {
    let wrong = |what: String, fix| ConfigError::Key {
        file: path.to_owned(),
        what,
        fix,
    };
    let unreadable = |error| ConfigError::Read {
        file: path.to_owned(),
        error,
        fix: "make one with `quorate key new FILE` and copy it to every node; name it as key_file",
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    if mode & WORLD != 0 {
        let what = format!("the cluster's key has mode {:04o}: everybody may use it", mode & 0o7777);
        return Err(wrong(
            what,
            "run `chmod 600` on it, and make a new key if others have seen it",
        ));
    }
    if mode & GROUP != 0 {
        tracing::warn!(file = %path.display(), mode = format_args!("{:04o}", mode & 0o7777), "the group can read the cluster's key");
    }
    let mut text = String::new();
    file.take(KEY_FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    let mut key = [0; 32];
    hex::decode_to_slice(text.trim(), &mut key).map_err(|error| {
        wrong(
            format!("the cluster's key is not 64 hexadecimal digits: {error}"),
            "make one with `quorate key new FILE`",
        )
    })?;
    Ok(ClusterKey(key))
}

/// Makes a new key in a new file that only the owner can read.
///
/// # Errors
/// If the file exists already or cannot be written.
pub fn create_key_file(path: &Path) -> io::Result<()> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{}", hex::encode(key))?;
    file.sync_all()
}
