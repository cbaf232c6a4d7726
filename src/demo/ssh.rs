//! A command in the guest, from the client's host, by ssh: for looking at what the guest holds.

use std::io;
use std::path::Path;
use std::process::Command;

use super::topology::{EXTERNAL, output};

/// What `command` prints in the guest, run there as root by the stock client with root's `key`.
///
/// # Errors
/// ssh cannot be started, the guest does not answer, or the command fails.
pub fn run(key: &Path, command: &str) -> io::Result<String> {
    // ssh refuses a key that others may read, and the build's folder may be anybody's.
    let copy = tempfile::NamedTempFile::new()?;
    std::fs::copy(key, copy.path())?;
    std::fs::set_permissions(copy.path(), std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let mut ssh = Command::new("ssh");
    ssh.arg("-i").arg(copy.path());
    for option in [
        "BatchMode=yes",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "LogLevel=ERROR",
        "ConnectTimeout=20",
    ] {
        ssh.args(["-o", option]);
    }
    ssh.arg(format!("root@{EXTERNAL}")).arg(command);
    let printed = output("client", &mut ssh)?;
    if !printed.status.success() {
        let why = String::from_utf8_lossy(&printed.stderr);
        return Err(io::Error::other(format!("ssh to the guest: {}", why.trim())));
    }
    Ok(String::from_utf8_lossy(&printed.stdout).into_owned())
}
