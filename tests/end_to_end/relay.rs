//! A wire between one node and the database that a test can cut: a Unix socket that passes everything on to another.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// The relay; refuses new connections and closes the old ones while it is cut.
#[derive(Debug)]
pub struct Relay {
    directory: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    cut: AtomicBool,
    open: Mutex<Vec<UnixStream>>,
    to: PathBuf,
}

/// The file name PostgreSQL clients look for in a socket directory.
const SOCKET: &str = ".s.PGSQL.5432";

impl Relay {
    /// Listen in `directory` (made here) and pass on to the socket file `to`.
    pub fn start(directory: &Path, to: &Path) -> io::Result<Relay> {
        std::fs::create_dir_all(directory)?;
        let listener = UnixListener::bind(directory.join(SOCKET))?;
        let shared = Arc::new(Shared {
            cut: AtomicBool::new(false),
            open: Mutex::default(),
            to: to.to_owned(),
        });
        let relay = Relay {
            directory: directory.to_owned(),
            shared: Arc::clone(&shared),
        };
        thread::Builder::new().name("relay".into()).spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let _ = shared.pass_on(client); // refused: the client sees its connection closed
            }
        })?;
        Ok(relay)
    }

    /// The socket's directory, as `host` of a database URL.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Cut the wire, or mend it.
    pub fn set_cut(&self, cut: bool) {
        self.shared.cut.store(cut, Ordering::SeqCst);
        if cut {
            for stream in self.shared.open.lock().unwrap().drain(..) {
                let _ = stream.shutdown(std::net::Shutdown::Both); // closed already: as wanted
            }
        }
    }
}

impl Shared {
    fn pass_on(self: &Arc<Self>, client: UnixStream) -> io::Result<()> {
        let server = UnixStream::connect(&self.to)?;
        let mut open = self.open.lock().unwrap();
        if self.cut.load(Ordering::SeqCst) {
            return Ok(());
        }
        for (mut from, mut to) in [
            (client.try_clone()?, server.try_clone()?),
            (server.try_clone()?, client.try_clone()?),
        ] {
            thread::spawn(move || {
                let _ = io::copy(&mut from, &mut to); // either end closed: close the other
                let _ = to.shutdown(std::net::Shutdown::Both);
            });
        }
        open.extend([client, server]);
        Ok(())
    }
}
