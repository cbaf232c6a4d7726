//! A what-if machine: a new one, with its own name, key, log and network, that goes on from a rebuilt moment.
//!
//! What it takes along is the machine: registers, memory, disks, devices. It starts at the moment's agreed time (its
//! sequencer then makes up for the first seconds of what has passed since, see `replica::clock`), with randomness of its
//! own. Flows of the translation stay behind, and so does an answer of the gateway that was under way: nobody the original
//! talked to can reach the fork, nor the other way round. Its external addresses are of a network that is for
//! documentation (RFC 5737), its TAP is its own, its only node listens on loopback.
//!
//! ```text
//! FOLDER/machine.quorate   the saved machine      FOLDER/cluster.toml   settings, one node "a"
//! FOLDER/cluster.key       a new key              FOLDER/node.toml      that node
//! FOLDER/state/            its admin socket
//! ```

use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Rebuilt, ReplayError};
use crate::config::{Boot, Cluster, ClusterNode, Config, Mode, create_key_file};
use crate::images::GuestFiles;
use crate::log::{self, Entry, Log, LogError, Missing};

/// TEST-NET-1 and TEST-NET-2 (RFC 5737): no router forwards to them.
const NOWHERE: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 0), Ipv4Addr::new(198, 51, 100, 0)];
/// Addresses of such a network that are used.
const NOWHERE_MAX: u8 = 254;
/// The one node.
const NODE: &str = "a";
/// Where it keeps its files, in the fork's folder.
const STATE: &str = "state";

/// What to make.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The new machine's name.
    pub name: String,
    /// The database its log is in, which may be the original's.
    pub store: String,
    /// A folder that does not exist.
    pub folder: PathBuf,
    /// How long a call to the database may take.
    pub patience: Duration,
}

/// A fork that is ready to be run.
#[derive(Debug)]
pub struct Forked {
    /// Its node's settings, as a node reads them.
    pub config: Config,
    /// Where they are.
    pub config_file: PathBuf,
    /// The first entry of its log.
    pub genesis: Entry,
}

/// Why there is no fork.
#[derive(Debug, thiserror::Error)]
pub enum ForkError {
    /// The database has a machine of that name.
    #[error("the database has a machine {0:?} already")]
    Taken(String),
    /// A file.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The settings cannot be written as TOML.
    #[error("the settings cannot be written: {0}")]
    Toml(#[from] toml::ser::Error),
    /// What a replay may meet too.
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

impl From<LogError> for ForkError {
    fn from(error: LogError) -> ForkError {
        ReplayError::from(error).into()
    }
}

/// Makes a fork of the machine of `cluster`, which was rebuilt. Writes nothing of the original's.
///
/// # Errors
/// The name is taken, the folder exists, or one of both cannot be written. Then there is no folder.
pub fn fork(rebuilt: &mut Rebuilt, cluster: &Cluster, plan: &Plan) -> Result<Forked, ForkError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ReplayError::io("the runtime cannot start"))?;
    let mut plan = plan.clone();
    plan.folder = std::path::absolute(&plan.folder).map_err(file_error(&plan.folder))?;
    if let Some(path) = plan.store.strip_prefix("sqlite:") {
        let path = std::path::absolute(path).map_err(file_error(Path::new(path)))?;
        plan.store = format!("sqlite:{}", path.display());
    }
    fs::create_dir(&plan.folder).map_err(file_error(&plan.folder))?;
    let made = make(rebuilt, cluster, &plan, &runtime);
    if made.is_err() {
        drop(fs::remove_dir_all(&plan.folder)); // ours, and half of it is of no use
    }
    made
}

fn make(
    rebuilt: &mut Rebuilt,
    cluster: &Cluster,
    plan: &Plan,
    runtime: &tokio::runtime::Runtime,
) -> Result<Forked, ForkError> {
    runtime.block_on(log::migrate(&plan.store, plan.patience))?;
    match runtime.block_on(log::open(&plan.store, &plan.name, plan.patience, Missing::Refuse)) {
        Ok(_) => return Err(ForkError::Taken(plan.name.clone())),
        Err(LogError::Schema(_)) => {} // the tables are there: it is the machine that is not
        Err(error) => return Err(error.into()),
    }
    let state = rebuilt.guest_mut().save_machine();
    let saved = plan.folder.join("machine.quorate");
    write(&saved, &state.0)?;
    let key_file = plan.folder.join("cluster.key");
    create_key_file(&key_file).map_err(file_error(&key_file))?;
    let settings = settings(cluster, plan, saved, key_file)?;
    write(
        &plan.folder.join("cluster.toml"),
        cluster_text(&settings, &plan.store)?.as_bytes(),
    )?;
    let config_file = plan.folder.join("node.toml");
    write(&config_file, node_text(&plan.name).as_bytes())?;
    let state_dir = plan.folder.join(STATE);
    fs::create_dir(&state_dir).map_err(file_error(&state_dir))?;

    let config = Config::load(&config_file).map_err(ReplayError::from)?;
    let files = GuestFiles::open(&config.cluster).map_err(ReplayError::from)?;
    let digest = config.cluster.digest(files.hashes(), machine::ENGINE_ID).digest;
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| ReplayError::io("read random bytes")(io::Error::other(error)))?;
    let genesis = Entry::begin(digest, rebuilt.guest().time(), u128::from_le_bytes(id));
    runtime.block_on(async {
        let log = log::open(&plan.store, &plan.name, plan.patience, Missing::Create).await?;
        match log.genesis(genesis.to_row()).await? {
            row if row == genesis.to_row() => Ok(()),
            _ => Err(ForkError::Taken(plan.name.clone())), // in this very moment
        }
    })?;
    Ok(Forked {
        config,
        config_file,
        genesis,
    })
}

/// The original's settings with another name, log and network. What the guest sees of the network stays: it remembers.
fn settings(cluster: &Cluster, plan: &Plan, saved: PathBuf, key_file: PathBuf) -> Result<Cluster, ForkError> {
    let mut settings = cluster.clone();
    settings.machine.clone_from(&plan.name);
    settings.key_file = key_file;
    let peer = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    settings.nodes = vec![ClusterNode {
        name: NODE.to_owned(),
        peer: peer.map_err(ReplayError::io("find a free port"))?,
        external: Vec::new(),
    }];
    if let Mode::Nat(nat) = &mut settings.network.mode {
        let count = u8::try_from(nat.external.len()).unwrap_or(NOWHERE_MAX).min(NOWHERE_MAX);
        let free = NOWHERE.into_iter().find(|network| !nat.guest.contains(*network));
        let [a, b, c, _] = free.unwrap_or(NOWHERE[0]).octets();
        nat.external = (1..=count).map(|host| Ipv4Addr::new(a, b, c, host)).collect();
    }
    let guest = &mut settings.guest;
    guest.saved = Some(saved);
    let mut paths: Vec<&mut PathBuf> = guest.disks.iter_mut().map(|disk| &mut disk.image).collect();
    match &mut guest.boot {
        Boot::Firmware { firmware } => paths.push(firmware),
        Boot::Linux { kernel, initramfs, .. } => paths.extend([kernel].into_iter().chain(initramfs)),
    }
    for path in paths {
        *path = std::path::absolute(&*path).map_err(file_error(path))?;
    }
    Ok(settings)
}

/// `store` may hold a password, which settings do not show.
fn cluster_text(settings: &Cluster, store: &str) -> Result<String, ForkError> {
    let mut table = toml::Table::try_from(settings)?;
    table.insert("store".to_owned(), store.into());
    let head = format!(
        "# A fork of another machine, made by `quorate replay --fork {}`.\n",
        settings.machine
    );
    Ok(head + &toml::to_string(&table)?)
}

fn node_text(name: &str) -> String {
    let tap = tap_name(name);
    format!(
        "node = \"{NODE}\"\nstate_dir = \"{STATE}\"\n\n[tap]\nname = \"{tap}\" # nothing is bridged or routed to it\n"
    )
}

/// At most 15 bytes, and nobody else's.
fn tap_name(name: &str) -> String {
    format!("fork{}", &blake3::hash(name.as_bytes()).to_hex()[..8])
}

/// A new file that only its owner reads: a guest's memory and a database's URL hold secrets.
fn write(path: &Path, bytes: &[u8]) -> Result<(), ForkError> {
    let options = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let written = options.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(file_error(path))
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> ForkError {
    let path = path.to_owned();
    move |error| ForkError::File { path, error }
}
