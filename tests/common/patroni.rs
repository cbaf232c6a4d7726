//! Three PostgreSQL servers for a test, of which Patroni makes one cluster: a commit is on two of them before it is
//! acknowledged, and when the primary is lost, one of the others takes its place. fsync is on; they are stopped and removed
//! when dropped.
//!
//! ```text
//!   network between the nodes --+-- db0: process 1 -+- etcd        who is the primary
//!                               +-- db1             +- patroni     makes it so
//!                               +-- db2             +- postgres
//! ```
//! Each server is a host of its own: a namespace of the topology, and in it a process namespace, whose process 1 the
//! kernel lets nobody survive. It ends with the thread that started it, so that no server outlives a test that is killed.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use quorate::demo::topology::{self, PEERS, Topology};
use tempfile::TempDir;

use super::postgres::{find_programs, give, signal};

/// With fewer there is no majority for etcd when one is lost.
const SERVERS: usize = 3;
/// Whom the servers' programs run as: PostgreSQL refuses to run as root.
const USER: &str = "postgres";
/// A new primary takes some ten seconds, a first start or a server that comes back about as long; more on a busy host.
const PATIENCE: Duration = Duration::from_secs(120);
/// Not $TMPDIR: the other user must get there, and a socket's path is at most 107 bytes long.
const FOLDERS: &str = "/tmp";
/// Of the folders' names, before the number of the test's process.
const FOLDER: &str = "quorate-patroni-";
/// How often the servers are asked while we wait for them.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Lines of each log shown when something went wrong.
const LOG_TAIL_LINES: usize = 15;

/// What process 1 of a server, a shell in the server's folder, runs. Its `wait` also reaps postmasters, which Patroni starts
/// as orphans.
const HOST: &str = "\
as_user='setpriv --reuid=postgres --regid=postgres --clear-groups'
$as_user etcd --config-file etcd.yml >>etcd.log 2>&1 &
$as_user patroni patroni.yml >>patroni.log 2>&1 &
wait";

/// The servers.
#[derive(Debug)]
pub struct Patroni {
    folder: TempDir,
    programs: PathBuf,
    /// Those that run.
    hosts: Vec<Option<Child>>,
}

impl Patroni {
    /// Start them on the network between the nodes, and wait until each commit is on two of them.
    pub fn start(topology: &Topology) -> Patroni {
        let programs = find_programs().expect("no PostgreSQL: run `tests/install soak`");
        for program in ["etcd", "patroni"] {
            let found = Command::new(program).arg("--version").output();
            found.unwrap_or_else(|error| panic!("{program}: {error}: run `tests/install soak`"));
        }
        remove_folders_left_behind();
        let prefix = format!("{FOLDER}{}-", std::process::id());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in(FOLDERS);
        let folder = folder.unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut patroni = Patroni {
            folder,
            programs,
            hosts: (0..SERVERS).map(|_| None).collect(),
        };
        for index in 0..SERVERS {
            topology.add_host(&name(index), address(index)).unwrap();
            patroni.configure(index);
            patroni.start_host(index);
        }
        patroni.wait_whole();
        patroni
    }

    fn configure(&self, index: usize) {
        let folder = self.host_folder(index);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("etcd.yml"), etcd_yml(index)).unwrap();
        fs::write(folder.join("patroni.yml"), self.patroni_yml(index)).unwrap();
        give(&folder, USER);
    }

    /// Switch a server on (again).
    pub fn start_host(&mut self, index: usize) {
        let folder = self.host_folder(index);
        let log = File::options().create(true).append(true).open(folder.join("host.log"));
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .args(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-c", HOST])
            .stdin(Stdio::null())
            .stderr(log.unwrap())
            .current_dir(&folder)
            .env("HOME", &folder)
            .env("LC_ALL", "C");
        self.hosts[index] = Some(topology::spawn(&name(index), &mut command).unwrap());
    }

    /// `kill -9` all that runs on a server, and wait until it is gone.
    pub fn kill_host(&mut self, index: usize) {
        let Some(mut host) = self.hosts[index].take() else {
            return;
        };
        match first_process(&host) {
            Some(process) => signal("-KILL", process),
            None => host.kill().unwrap(), // it had no time to make the namespace
        }
        host.wait().unwrap(); // unshare(1) ends when the kernel has reaped everything in the namespace
    }

    /// `kill -9` PostgreSQL's first process on a server; its other processes notice and end, Patroni and etcd stay.
    pub fn kill_postmaster(&self, index: usize) {
        let file = self.host_folder(index).join("data/postmaster.pid");
        let text = fs::read_to_string(&file).unwrap();
        let postmaster = text.lines().next().unwrap();
        let inside = first_process(self.hosts[index].as_ref().unwrap()).unwrap();
        let killed = Command::new("nsenter")
            .args(["--target", &inside.to_string(), "--pid"])
            .args(["kill", "-KILL", postmaster])
            .status();
        assert!(killed.unwrap().success(), "no process {postmaster} on {}", name(index));
    }

    /// How to reach whichever server takes writes.
    pub fn url(&self) -> String {
        url(0..SERVERS, "read-write")
    }

    /// Run SQL with psql on the server that takes writes; returns unaligned rows without headers.
    pub fn psql(&self, sql: &str) -> Result<String, String> {
        self.psql_at(&self.url(), sql)
    }

    fn psql_at(&self, url: &str, sql: &str) -> Result<String, String> {
        let mut command = Command::new(self.programs.join("psql"));
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql]);
        let done = topology::output(PEERS, &mut command).map_err(|error| error.to_string())?;
        if !done.status.success() {
            return Err(String::from_utf8_lossy(&done.stderr).into_owned());
        }
        Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
    }

    /// The server that takes writes; waits for one that is not `but`.
    pub fn primary(&self, but: Option<usize>) -> usize {
        let mut primary = None;
        self.wait_for(&format!("a primary that is not {but:?}"), || {
            let at = self.psql("SELECT host(inet_server_addr())").unwrap_or_default();
            primary = (0..SERVERS).find(|&index| address(index).to_string() == at && Some(index) != but);
            primary.is_some()
        });
        primary.unwrap()
    }

    /// Wait until both standbys follow the primary and count for its commits.
    pub fn wait_whole(&self) {
        self.wait_for("two standbys in the quorum", || self.whole().unwrap_or(false));
    }

    /// The primary counts a standby before it knows that the standby's own log is of another timeline and must be rewound:
    /// so the standbys are asked, too.
    fn whole(&self) -> Result<bool, String> {
        let timeline = self.psql("SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)")?;
        let counted = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'quorum'";
        let follows = "SELECT lpad(to_hex(received_tli), 8, '0') FROM pg_stat_wal_receiver WHERE status = 'streaming'";
        let following = (0..SERVERS).filter(|&index| {
            let answer = self.psql_at(&url(index..=index, "any"), follows);
            answer.is_ok_and(|followed| followed.eq_ignore_ascii_case(&timeline))
        });
        Ok(following.count() == SERVERS - 1 && self.psql(counted)? == (SERVERS - 1).to_string())
    }

    fn wait_for(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(
                start.elapsed() < PATIENCE,
                "waited {PATIENCE:?} for {what}\n{}",
                self.describe()
            );
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// The ends of the servers' logs: for error messages.
    fn describe(&self) -> String {
        let mut text = String::new();
        for index in 0..SERVERS {
            for log in ["host.log", "etcd.log", "patroni.log"] {
                text += &format!("--- {}: {log}\n", name(index));
                let log = fs::read_to_string(self.host_folder(index).join(log)).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                for line in &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..] {
                    text += &format!("    {line}\n");
                }
            }
        }
        text
    }

    fn host_folder(&self, index: usize) -> PathBuf {
        self.folder.path().join(name(index))
    }

    /// A commit needs one standby, any of them; that PostgreSQL itself is told so, and not Patroni's synchronous mode,
    /// keeps the quorum out of Patroni's hands. Limits are as short as they may be (`retry_timeout` of less than 2 s lets
    /// a busy host lose its primary for nothing).
    fn patroni_yml(&self, index: usize) -> String {
        let (name, own, folder) = (name(index), address(index), self.host_folder(index));
        let (folder, programs) = (folder.display(), self.programs.display());
        let etcd: Vec<String> = (0..SERVERS).map(|index| format!("'{}:2379'", address(index))).collect();
        let servers: Vec<String> = (0..SERVERS).map(self::name).collect();
        let (etcd, servers) = (etcd.join(", "), servers.join(","));
        format!(
            "\
scope: quorate
name: {name}
restapi: {{listen: '{own}:8008', connect_address: '{own}:8008'}}
etcd3: {{hosts: [{etcd}]}}
watchdog: {{mode: 'off'}}
bootstrap:
  dcs:
    ttl: 5
    loop_wait: 1
    retry_timeout: 2
    maximum_lag_on_failover: 1048576
    primary_start_timeout: 0
    synchronous_mode: false
    postgresql:
      use_pg_rewind: true
      use_slots: true
      parameters:
        synchronous_standby_names: 'ANY 1 ({servers})'
        synchronous_commit: 'on'
        fsync: 'on'
        wal_level: replica
        hot_standby: 'on'
        wal_log_hints: 'on'
        wal_keep_size: 256MB
        max_wal_size: 1GB
        max_wal_senders: 8
        max_replication_slots: 8
        max_connections: 100
        shared_buffers: 64MB
        wal_sender_timeout: 3s
        wal_receiver_timeout: 3s
        wal_receiver_status_interval: 1s
        wal_retrieve_retry_interval: 500ms
        tcp_keepalives_idle: 2
        tcp_keepalives_interval: 1
        tcp_keepalives_count: 3
        tcp_user_timeout: 3000
  initdb: [{{encoding: UTF8}}, {{locale: C}}, data-checksums]
  pg_hba:
    - local all all trust
    - host all all 10.9.0.0/24 trust
    - host replication all 10.9.0.0/24 trust
postgresql:
  listen: '{own}:5432'
  connect_address: '{own}:5432'
  data_dir: '{folder}/data'
  bin_dir: '{programs}'
  pgpass: '{folder}/pgpass'
  authentication:
    superuser: {{username: {USER}}}
    replication: {{username: replicator}}
    rewind: {{username: {USER}}}
  parameters: {{unix_socket_directories: '{folder}'}}
"
        )
    }
}

impl Drop for Patroni {
    fn drop(&mut self) {
        for index in 0..SERVERS {
            self.kill_host(index);
        }
    }
}

/// A test that was killed leaves no process, but its folder of a gigabyte.
fn remove_folders_left_behind() {
    for folder in fs::read_dir(FOLDERS).unwrap().filter_map(Result::ok) {
        let name = folder.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(FOLDER).and_then(|rest| rest.split_once('-'));
        if owner.is_some_and(|(process, _)| !Path::new("/proc").join(process).exists()) {
            fs::remove_dir_all(folder.path()).unwrap();
        }
    }
}

/// A server's name, which is also that of its namespace.
pub fn name(index: usize) -> String {
    format!("db{index}")
}

fn address(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, 0, 201 + u8::try_from(index).unwrap())
}

fn url(servers: impl Iterator<Item = usize>, session: &str) -> String {
    let hosts: Vec<String> = servers.map(|index| format!("{}:5432", address(index))).collect();
    format!(
        "postgresql://{USER}@{}/postgres?target_session_attrs={session}&connect_timeout=1&tcp_user_timeout=1000",
        hosts.join(",")
    )
}

/// Process 1 of a server, by its number outside: the child of the one that made the namespace.
fn first_process(host: &Child) -> Option<u32> {
    let id = host.id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Patroni speaks through the gateway, which is off in a file that does not name it.
fn etcd_yml(index: usize) -> String {
    let (name, own) = (name(index), address(index));
    let peers: Vec<String> = (0..SERVERS)
        .map(|index| format!("{}=http://{}:2380", self::name(index), address(index)))
        .collect();
    format!(
        "\
name: {name}
data-dir: etcd
listen-peer-urls: http://{own}:2380
initial-advertise-peer-urls: http://{own}:2380
listen-client-urls: http://{own}:2379
advertise-client-urls: http://{own}:2379
initial-cluster: {peers}
initial-cluster-state: new
initial-cluster-token: quorate
heartbeat-interval: 50
election-timeout: 500
enable-grpc-gateway: true
logger: zap
log-level: warn
",
        peers = peers.join(",")
    )
}
