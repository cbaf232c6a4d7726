//! Processes that end with the one that started them, whatever ends it: no demo and no test leaves a node behind.

use std::io;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};

/// Be killed when the thread of process `parent` that started this process ends (prctl(2), `PR_SET_PDEATHSIG`).
///
/// # Errors
/// The parent is gone already, or the kernel refuses.
pub fn end_with(parent: u32) -> io::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    // Asked after the signal was set: a parent that ended in between is noticed here, one that ends later by the kernel.
    if i32::try_from(parent).is_ok_and(|parent| getppid() == Pid::from_raw(parent)) {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "process {parent}, which started this one, is gone"
    )))
}
