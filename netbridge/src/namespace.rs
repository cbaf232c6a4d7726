//! Runs a closure inside another network namespace: for tests and for the demo.
//!
//! setns(2) moves one thread, so the closure gets a thread of its own, which ends with it. Descriptors opened inside
//! keep their namespace and may be used anywhere. /sys still shows the namespace it was mounted from: ask interfaces
//! through [`LinkWatch`](crate::LinkWatch).

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use crate::tap::enter_network_namespace;

/// Runs `work` in the namespace at `path` (/run/netns/NAME, /proc/PID/ns/net) and waits for it.
///
/// # Errors
/// The namespace cannot be opened, or entering it is not permitted (CAP_SYS_ADMIN over it).
///
/// # Panics
/// If `work` does.
pub fn run_in<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let namespace = File::open(path)?;
    let inside = || enter_network_namespace(namespace.as_fd()).map(|()| work());
    std::thread::scope(|scope| match scope.spawn(inside).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
