//! Where a guest's accepted mail must be in the end: in its Maildir, and in the bucket it uploads to; each exactly once.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::Command;

use super::topology::{EXTERNAL, output};
use super::transactions::{Said, Transcript};

/// Where the guest keeps its mail.
const MAILDIR: &str = "/srv/mail/new";
/// The bucket it uploads to.
pub const BUCKET: &str = "mail";

/// How many of the accepted messages are among `digests` (SHA-256 in hexadecimal) exactly once.
pub fn once(transcript: &Transcript, digests: impl IntoIterator<Item = String>) -> u64 {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for digest in digests {
        *counts.entry(digest).or_default() += 1;
    }
    let accepted = transcript.said.iter().filter_map(|(_, said)| match said {
        Said::Done { sha256, .. } => sha256.as_ref(),
        _ => None,
    });
    accepted.filter(|digest| counts.get(*digest) == Some(&1)).count() as u64
}

/// SHA-256 of every message in the guest's Maildir, asked of the guest over ssh with its root's `key`.
///
/// # Errors
/// ssh cannot be started, or the guest does not answer.
pub fn maildir(key: &Path) -> io::Result<Vec<String>> {
    // ssh refuses a key that others may read, and the build's folder may be anybody's.
    let copy = tempfile::NamedTempFile::new()?;
    std::fs::copy(key, copy.path())?;
    std::fs::set_permissions(copy.path(), std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let mut command = Command::new("ssh");
    command.arg("-i").arg(copy.path());
    for option in [
        "BatchMode=yes",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "LogLevel=ERROR",
        "ConnectTimeout=20",
    ] {
        command.args(["-o", option]);
    }
    command
        .arg(format!("root@{EXTERNAL}"))
        .arg(format!("cd {MAILDIR} && find . -type f -exec sha256sum {{}} +"));
    let listed = output("client", &mut command)?;
    if !listed.status.success() {
        let why = String::from_utf8_lossy(&listed.stderr);
        return Err(io::Error::other(format!("ssh to the guest: {}", why.trim())));
    }
    let lines = String::from_utf8_lossy(&listed.stdout);
    let digest = |line: &str| line.split_whitespace().next().map(str::to_owned);
    Ok(lines.lines().filter_map(digest).collect())
}
