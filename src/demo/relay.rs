//! A way to a PostgreSQL or CockroachDB of the host for nodes in network namespaces, which see none of the host's
//! network: a Unix socket in the demo's directory that passes everything on. Runs in the process that stays outside.
//!
//! Sockets in the file system cross namespaces, but not a `/run` that the demo had to hide (see
//! [`isolate`](super::topology::isolate)), so databases behind a Unix socket are reached through the relay, too.

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// A host that does not take the connection within this time is passed over for the URL's next one.
const CONNECT: Duration = Duration::from_secs(1);
/// The file name PostgreSQL clients look for in a socket directory.
const SOCKET: &str = ".s.PGSQL.5432";

/// Both ways of reaching a database.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl Stream for TcpStream {}
impl Stream for UnixStream {}

/// The relay; passes on while its future [`Relay::run`] is polled.
pub(super) struct Relay {
    directory: PathBuf,
    listener: UnixListener,
    config: Config,
}

impl Relay {
    /// Listen in `directory` (made here) for connections to the database at `url`. Needs a tokio runtime.
    pub(super) fn bind(directory: &Path, url: &str) -> io::Result<Relay> {
        let config = url.parse::<Config>().map_err(io::Error::other)?;
        std::fs::create_dir_all(directory)?;
        let listener = UnixListener::bind(directory.join(SOCKET))?;
        Ok(Relay {
            directory: directory.to_owned(),
            listener,
            config,
        })
    }

    /// The database's URL through the relay.
    pub(super) fn url(&self) -> String {
        let mut url = "postgresql:///".to_owned();
        encode(&mut url, self.config.get_dbname().unwrap_or_default().as_bytes());
        url += "?port=5432&sslmode=disable&host=";
        encode(&mut url, self.directory.as_os_str().as_encoded_bytes());
        // Inside its namespace an ordinary user is root: the default must be found out here.
        let me = || nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten();
        let user = self
            .config
            .get_user()
            .map(str::to_owned)
            .or_else(|| me().map(|user| user.name));
        for (key, value) in [
            ("user", user.as_deref().map(str::as_bytes)),
            ("password", self.config.get_password()),
            ("options", self.config.get_options().map(str::as_bytes)),
        ] {
            if let Some(value) = value {
                let _ = write!(url, "&{key}="); // a String takes everything
                encode(&mut url, value);
            }
        }
        url
    }

    /// Pass on until dropped.
    pub(super) async fn run(&self) {
        loop {
            let Ok((mut client, _)) = self.listener.accept().await else {
                tokio::time::sleep(CONNECT).await; // out of file descriptors: the client waits in the queue
                continue;
            };
            let config = self.config.clone();
            tokio::spawn(async move {
                // No host answers: the client sees its connection closed, as if the database had done it.
                if let Some(mut database) = connect(&config).await {
                    let _ = copy_bidirectional(&mut client, &mut database).await;
                }
            });
        }
    }
}

/// The first of the URL's hosts that takes a connection.
async fn connect(config: &Config) -> Option<Box<dyn Stream>> {
    let ports = config.get_ports();
    for (at, host) in config.get_hosts().iter().enumerate() {
        let port = *ports.get(at).or(ports.first()).unwrap_or(&5432);
        let attempt = async {
            Ok::<Box<dyn Stream>, io::Error>(match host {
                Host::Tcp(name) => {
                    let stream = TcpStream::connect((name.as_str(), port)).await?;
                    stream.set_nodelay(true)?;
                    Box::new(stream)
                }
                Host::Unix(path) => Box::new(UnixStream::connect(path.join(format!(".s.PGSQL.{port}"))).await?),
            })
        };
        if let Ok(Ok(stream)) = timeout(CONNECT, attempt).await {
            return Some(stream);
        }
    }
    None
}

/// Appends `value` percent-encoded (RFC 3986 2.1).
fn encode(url: &mut String, value: &[u8]) {
    for &byte in value {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}"); // a String takes everything
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[tokio::test]
    async fn the_url_through_the_relay_keeps_who_and_what_but_not_where() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = "postgresql://us%40er:p%26%2Fw@db1:26257,db2:26257/my%20data?options=-cx%3D1";
        let relay = Relay::bind(&folder.path().join("db"), url).expect("bound");
        let config = relay.url().parse::<Config>().expect("a URL");
        assert_eq!(config.get_user(), Some("us@er"));
        assert_eq!(config.get_password(), Some(&b"p&/w"[..]));
        assert_eq!(config.get_dbname(), Some("my data"));
        assert_eq!(config.get_options(), Some("-cx=1"));
        assert_eq!(config.get_hosts(), [Host::Unix(folder.path().join("db"))]);
    }

    #[tokio::test]
    async fn bytes_go_both_ways_to_the_first_host_that_answers() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let folder = tempfile::tempdir().expect("a folder");
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = server.local_addr().expect("bound").port();
        let url = format!("postgresql://u@%2Fnowhere:5432,127.0.0.1:{port}/d");
        let relay = Relay::bind(&folder.path().join("db"), &url).expect("bound");
        let talk = async {
            let mut client = UnixStream::connect(folder.path().join("db").join(SOCKET))
                .await
                .expect("taken");
            let (mut database, _) = server.accept().await.expect("passed on");
            let mut buffer = [0; 4];
            client.write_all(b"ping").await.expect("sent");
            database.read_exact(&mut buffer).await.expect("received");
            assert_eq!(&buffer, b"ping");
            database.write_all(b"pong").await.expect("sent");
            drop(database);
            client.read_exact(&mut buffer).await.expect("received");
            assert_eq!(&buffer, b"pong");
            assert_eq!(client.read(&mut buffer).await.expect("closed"), 0);
        };
        let talk = timeout(Duration::from_secs(20), talk);
        tokio::select! { () = relay.run() => {}, talked = talk => talked.expect("nobody waits for ever") }
    }
}
