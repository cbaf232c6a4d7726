//! How much of the host others use during a measurement: figures of a busy host are not worth comparing.

use std::time::Instant;

/// The state at the start.
pub struct Noise {
    started: Instant,
    host_s: f64,
    ours_s: f64,
}

impl Noise {
    /// Start watching.
    pub fn start() -> Noise {
        Noise {
            started: Instant::now(),
            host_s: host_busy_s(),
            ours_s: ours_s(),
        }
    }

    /// Share of all processors that was used by processes that are not ours, in percent. Processes of ours count when
    /// they have ended, so this is to be asked after a group's clusters are gone.
    pub fn percent(&self) -> f64 {
        let processors = std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64);
        let others_s = (host_busy_s() - self.host_s) - (ours_s() - self.ours_s);
        (others_s / processors / self.started.elapsed().as_secs_f64() * 100.0).max(0.0)
    }
}

/// Seconds all processors together were busy (proc(5), the first line of /proc/stat): all but idle and iowait.
fn host_busy_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").expect("every Linux has it");
    let line = stat.lines().next().expect("it has a first line");
    let spent = line.split_whitespace().skip(1).take(8).enumerate();
    let busy = spent.filter(|(field, _)| *field != 3 && *field != 4);
    let ticks: f64 = busy.filter_map(|(_, ticks)| ticks.parse::<f64>().ok()).sum();
    ticks / ticks_per_s()
}

/// Seconds used by this process and by those it started that have ended.
fn ours_s() -> f64 {
    process_times("self").iter().sum()
}

/// Seconds a process used, all threads: itself in user and system mode, then its children that ended and were waited
/// for (proc(5), fields 14 to 17 of stat).
pub fn process_times(pid: &str) -> [f64; 4] {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let fields = stat.rsplit(')').next().expect("rsplit gives at least one");
    let mut fields = fields.split_whitespace().skip(11);
    [(); 4].map(|()| {
        let ticks = fields.next().and_then(|field| field.parse::<f64>().ok());
        ticks.expect("proc(5)") / ticks_per_s()
    })
}

/// Unit of times in /proc.
fn ticks_per_s() -> f64 {
    let known = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK);
    known.ok().flatten().unwrap_or(100) as f64
}
