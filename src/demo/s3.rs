//! An S3-compatible server in the client's namespace, for a guest that uploads: moto in server mode, from PyPI.

use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::topology::{inside, output, spawn};

/// Where the Debian guest uploads to by default: the client's host.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
/// The server's port.
pub const PORT: u16 = 9000;
/// The server's Python modules load in seconds.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// Prints every object of the bucket given as argument.
const LIST: &str = include_str!("clients/objects.py");

/// An object in a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Object {
    /// Its name.
    pub key: String,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 of its contents, in hexadecimal.
    pub sha256: String,
}

/// The running server; killed when dropped, and what it holds with it.
#[derive(Debug)]
pub struct S3 {
    child: Child,
}

impl S3 {
    /// Start it with `python` (one that has moto) and wait until it answers.
    ///
    /// # Errors
    /// It cannot be started, or does not answer.
    pub fn start(python: &Path) -> io::Result<S3> {
        let mut command = Command::new(python);
        command.args(["-m", "moto.server", "-H", &ADDRESS.to_string(), "-p", &PORT.to_string()]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = spawn("client", &mut command)?;
        let stderr = child.stderr.take().expect("stderr was piped");
        // It logs every request: somebody must read.
        std::thread::Builder::new()
            .name("s3".into())
            .spawn(move || BufReader::new(stderr).lines().map_while(Result::ok).for_each(drop))?;
        let mut server = S3 { child };
        let start = Instant::now();
        let address = SocketAddr::from((ADDRESS, PORT));
        while inside("client", || TcpStream::connect(address)).is_err() {
            if let Some(status) = server.child.try_wait()? {
                return Err(io::Error::other(format!("the S3 server ended with {status}")));
            }
            if start.elapsed() > START_PATIENCE {
                return Err(io::Error::other("the S3 server does not answer"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    /// Every object in `bucket`; none if there is no such bucket.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn objects(&self, python: &Path, bucket: &str) -> io::Result<Vec<Object>> {
        let url = format!("http://{ADDRESS}:{PORT}");
        let listed = output("client", Command::new(python).args(["-c", LIST, &url, bucket]))?;
        if !listed.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&listed.stderr).into_owned()));
        }
        Ok(serde_json::from_slice(&listed.stdout)?)
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.child.kill(); // gone already: the same
        let _ = self.child.wait();
    }
}
