//! Where a guest's accepted mail must be in the end: in its Maildir, and in the bucket it uploads to; each exactly once.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::ssh;
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
    let lines = ssh::run(key, &format!("cd {MAILDIR} && find . -type f -exec sha256sum {{}} +"))?;
    let digest = |line: &str| line.split_whitespace().next().map(str::to_owned);
    Ok(lines.lines().filter_map(digest).collect())
}
