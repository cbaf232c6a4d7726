//! A private PostgreSQL for a test: own folder, own port or Unix socket, fsync on; stopped and removed when dropped.
//!
//! PostgreSQL refuses to run as root: then it runs as the user `postgres`, who comes with the package.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A start on a loaded machine takes a few seconds; longer means that something is wrong.
const READY: Duration = Duration::from_secs(60);

/// How to start it.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Addresses to listen on, e.g. `10.0.0.1`; none: only the Unix socket. Whoever reaches them is trusted.
    pub listen: Vec<String>,
    /// Port; `None`: a free one.
    pub port: Option<u16>,
    /// Put in front of the server's command, e.g. `ip netns exec NAME`. It must become the server (exec), not fork.
    pub prefix: Vec<String>,
    /// More lines for postgresql.conf.
    pub settings: Vec<String>,
}

/// The running server.
#[derive(Debug)]
pub struct Postgres {
    folder: TempDir,
    port: u16,
    options: Options,
    programs: PathBuf,
    user: Option<String>,
    server: Option<Child>,
}

impl Postgres {
    /// Start one; if that is impossible here, say so (see [`super::skip`]) and return nothing.
    pub fn start_or_skip(options: Options) -> Option<Postgres> {
        match Postgres::prepare(options) {
            Ok(mut postgres) => {
                postgres.initialise();
                postgres.start();
                Some(postgres)
            }
            Err(reason) => {
                super::skip(&reason);
                None
            }
        }
    }

    fn prepare(options: Options) -> Result<Postgres, String> {
        let programs = find_programs().ok_or("no PostgreSQL server programs (initdb, postgres) found")?;
        let user = if output("id", ["-u"])? == "0" {
            output("id", ["-u", "postgres"]).map_err(|_| "root cannot run PostgreSQL and there is no user postgres")?;
            Some("postgres".to_owned())
        } else {
            None
        };
        let port = match options.port {
            Some(port) => port,
            None => TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port(),
        };
        // Not $TMPDIR: the other user must get there, and a socket's path is at most 107 bytes long.
        let folder = tempfile::Builder::new()
            .prefix("quorate-pg-")
            .tempdir_in("/tmp")
            .unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for part in ["data", "socket"] {
            let part = folder.path().join(part);
            fs::create_dir(&part).unwrap();
            if let Some(user) = &user {
                give(&part, user);
            }
        }
        Ok(Postgres {
            folder,
            port,
            options,
            programs,
            user,
            server: None,
        })
    }

    fn initialise(&self) {
        let mut initdb = self.command("initdb", &[]);
        // --no-sync is about initdb's own files only; the server syncs.
        initdb.args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "-D",
        ]);
        let done = initdb.arg(self.data()).output().unwrap();
        assert!(
            done.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        let mut config = fs::OpenOptions::new()
            .append(true)
            .open(self.data().join("postgresql.conf"))
            .unwrap();
        writeln!(config, "listen_addresses = '{}'", self.options.listen.join(",")).unwrap();
        writeln!(config, "port = {}", self.port).unwrap();
        writeln!(config, "unix_socket_directories = '{}'", self.socket_folder().display()).unwrap();
        writeln!(config, "fsync = on\nsynchronous_commit = on\nshared_buffers = 32MB").unwrap();
        for line in &self.options.settings {
            writeln!(config, "{line}").unwrap();
        }
        if !self.options.listen.is_empty() {
            let mut access = fs::OpenOptions::new()
                .append(true)
                .open(self.data().join("pg_hba.conf"))
                .unwrap();
            writeln!(access, "host all all 0.0.0.0/0 trust\nhost all all ::/0 trust").unwrap();
        }
    }

    /// Start the server (again) and wait until it lets us in.
    pub fn start(&mut self) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .unwrap();
        let mut command = self.command("postgres", &self.options.prefix);
        command.arg("-D").arg(self.data()).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.server = Some(command.spawn().unwrap());
        let until = Instant::now() + READY;
        while !self.psql("SELECT 1").is_ok_and(|answer| answer == "1") {
            let ended = self.server.as_mut().unwrap().try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < until,
                "PostgreSQL does not start ({ended:?}):\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// End it at once, as a crash would: no farewell to its clients, recovery at the next start.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            signal("-QUIT", server.id());
            let until = Instant::now() + Duration::from_secs(10);
            while server.try_wait().unwrap().is_none() {
                if Instant::now() > until {
                    server.kill().unwrap();
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// The process that is the server. (Each connection has one of its own below it.)
    pub fn pid(&self) -> u32 {
        self.server.as_ref().unwrap().id()
    }

    /// How to reach it through the Unix socket.
    pub fn url(&self) -> String {
        format!(
            "postgresql:///postgres?host={}&port={}&user=postgres",
            self.socket_folder().display(),
            self.port
        )
    }

    /// How to reach it over TCP at one of the addresses it listens on.
    pub fn tcp_url(&self, address: &str) -> String {
        format!("postgresql://postgres@{address}:{}/postgres", self.port)
    }

    /// The Unix socket itself.
    pub fn socket(&self) -> PathBuf {
        self.socket_folder().join(format!(".s.PGSQL.{}", self.port))
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Run SQL with psql; returns unaligned rows without headers.
    pub fn psql(&self, sql: &str) -> Result<String, String> {
        let psql = self.programs.join("psql");
        let (folder, port) = (self.socket_folder(), self.port.to_string());
        let flags = [
            "-X",
            "-A",
            "-t",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "postgres",
            "-d",
            "postgres",
            "-p",
            &port,
        ];
        let arguments = flags
            .iter()
            .map(OsStr::new)
            .chain([OsStr::new("-h"), folder.as_os_str()]);
        output(&psql, arguments.chain([OsStr::new("-c"), OsStr::new(sql)]))
    }

    /// What the server wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn socket_folder(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    fn command(&self, program: &str, prefix: &[String]) -> Command {
        let program = self.programs.join(program).into_os_string();
        let mut words = prefix.iter().map(Into::into).collect::<Vec<_>>();
        if let Some(user) = &self.user {
            // setpriv becomes the program, so that the PID is the server's; su and runuser stay in between.
            let arguments = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups"];
            words.extend(arguments.map(Into::into));
        }
        words.push(program);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir("/").env("LC_ALL", "C");
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Make `user` the owner of a file or folder.
pub fn give(path: &Path, user: &str) {
    let number = |which: &str| output("id", [which, user]).unwrap().parse::<u32>().unwrap();
    chown(path, Some(number("-u")), Some(number("-g"))).unwrap();
}

/// Send a signal to one process.
pub fn signal(which: &str, pid: u32) {
    let _ = Command::new("kill").args([which, &pid.to_string()]).status();
}

/// Debian's folders, newest version first, then $PATH.
pub fn find_programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    let mut found = versions.map(|version| version.path().join("bin")).collect::<Vec<_>>();
    found.sort_by_key(|path| std::cmp::Reverse(version_of(path)));
    found.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    let complete = |folder: &PathBuf| {
        ["initdb", "postgres", "psql"]
            .iter()
            .all(|name| folder.join(name).exists())
    };
    found.into_iter().find(complete)
}

fn version_of(programs: &Path) -> u32 {
    let version = programs.parent().and_then(Path::file_name).and_then(OsStr::to_str);
    version.and_then(|version| version.parse().ok()).unwrap_or(0)
}

fn output<A: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = A>,
) -> Result<String, String> {
    let done = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| error.to_string())?;
    if !done.status.success() {
        return Err(String::from_utf8_lossy(&done.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}
