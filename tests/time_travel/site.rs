//! A machine's settings in a folder, and its recorded log in a database.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use quorate::config::Config;
use quorate::guest::Guest;
use quorate::images::GuestFiles;
use quorate::log::{AgreedTime, Entry, Grant, Log, Missing, PATIENCE, Term, migrate, open};
use quorate::replay::Source;
use quorate::solo::network;
use tempfile::TempDir;

use crate::common;
use crate::common::postgres::{Options, Postgres};
use crate::conversation::{emitted, firmware, record};

/// 2026-11-28T07:00:00Z.
pub const START: AgreedTime = AgreedTime(1_795_849_200_000_000_000);
/// Where the recorded log's entry `index` ends.
pub const ENTRY_MS: u64 = 2;

/// What the original had after an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub digest: [u8; 32],
    pub registers: Vec<(&'static str, u128)>,
    /// Bytes of the console so far.
    pub console: usize,
    /// Packets that left so far.
    pub packets: usize,
}

/// The folder, the log, and what there was when it was recorded.
pub struct Site {
    pub folder: TempDir,
    pub config: Config,
    pub entries: Vec<Entry>,
    /// `seen[index]`.
    pub seen: Vec<Seen>,
    pub console: Vec<u8>,
    pub packets: Vec<Vec<u8>>,
    _postgres: Option<Postgres>,
}

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    Sqlite,
    Postgres,
}

impl Site {
    /// The conversation with the FreeRTOS guest, or `None` where it cannot run.
    pub fn conversation(store: Store) -> Option<Site> {
        let firmware = firmware().map_err(|reason| common::skip(&reason)).ok()?;
        let guest = format!("board = \"mps2-an385\"\nfirmware = \"{}\"", firmware.display());
        let mut site = Site::new(store, &guest)?;
        let (genesis, mut original) = site.switched_on();
        let (mut seen, mut console, mut packets) = (vec![look(&original, 0, 0)], Vec::new(), Vec::new());
        let entries = record(&mut original, genesis, &mut |guest, outcome| {
            let serial = outcome.serial.iter().filter(|output| output.port == 0);
            console.extend(serial.flat_map(|output| output.bytes.clone()));
            packets.extend(emitted(&outcome.effects));
            seen.push(look(guest, console.len(), packets.len()));
        });
        site.write(&entries);
        (site.entries, site.seen, site.console, site.packets) = (entries, seen, console, packets);
        Some(site)
    }

    /// An arm64 program (an Image) and a disk, with `count` entries in which nothing but time happens.
    pub fn arm64(image: &Path, disk: &Path, count: u64) -> Option<Site> {
        let guest = format!(
            "board = \"virt-arm64\"\nram_mb = 32\nkernel = \"{}\"\n[[guest.disk]]\nimage = \"{}\"",
            image.display(),
            disk.display()
        );
        let mut site = Site::new(Store::Sqlite, &guest)?;
        let (genesis, mut original) = site.switched_on();
        let mut entries = vec![genesis];
        site.seen.push(look(&original, 0, 0));
        for id in 1..=count {
            let grant = Grant {
                ticks: 20_000,
                until: AgreedTime(START.0 + id * ENTRY_MS * 1_000_000),
            };
            let entry = Entry::after(&entries[entries.len() - 1], Term(1), u128::from(id), vec![], grant);
            let outcome = original.apply(&entry);
            site.console
                .extend(outcome.serial.iter().flat_map(|output| output.bytes.clone()));
            site.seen.push(look(&original, site.console.len(), 0));
            entries.push(entry);
        }
        site.write(&entries);
        site.entries = entries;
        Some(site)
    }

    fn new(store: Store, guest: &str) -> Option<Site> {
        let folder = tempfile::tempdir().unwrap();
        let postgres = match store {
            Store::Sqlite => None,
            Store::Postgres => Some(Postgres::start_or_skip(Options::default())?),
        };
        let url = postgres.as_ref().map_or("sqlite:door.db".to_owned(), Postgres::url);
        let cluster = format!(
            "machine = \"door\"\nstore = \"{url}\"\nkey_file = \"cluster.key\"\n\
             [[node]]\nname = \"a\"\npeer = \"192.0.2.1:7100\"\n\
             [guest]\nmac = \"02:00:00:00:00:01\"\n{guest}\n\
             [network]\nguest = \"10.77.0.2/24\"\ngateway = \"10.77.0.1\"\n\
             external = [\"203.0.113.10\"]\nforward = [\"tcp/1-65535\", \"icmp\"]\n"
        );
        let node = "node = \"a\"\nstate_dir = \"state\"\n[tap]\nname = \"tap0\"\n";
        fs::write(folder.path().join("cluster.toml"), cluster).unwrap();
        fs::write(folder.path().join("node.toml"), node).unwrap();
        let config = Config::load(&folder.path().join("node.toml")).unwrap();
        Some(Site {
            folder,
            config,
            entries: Vec::new(),
            seen: Vec::new(),
            console: Vec::new(),
            packets: Vec::new(),
            _postgres: postgres,
        })
    }

    pub fn files(&self) -> GuestFiles {
        GuestFiles::open(&self.config.cluster).unwrap()
    }

    pub fn url(&self) -> String {
        self.config.cluster.store.url()
    }

    pub fn source(&self) -> Source {
        Source::open(&self.url(), "door", PATIENCE).unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn switched_on(&self) -> (Entry, Guest) {
        let (cluster, files) = (&self.config.cluster, self.files());
        let digest = cluster.digest(files.hashes(), machine::ENGINE_ID).digest;
        let genesis = Entry::begin(digest, START, 7);
        let definition = files.definition(cluster, &genesis);
        let guest = Guest::new(&definition, &network(cluster), None, &genesis).unwrap();
        (genesis, guest)
    }

    fn write(&self, entries: &[Entry]) {
        let url = self.url();
        runtime().block_on(async {
            migrate(&url, PATIENCE).await.unwrap();
            let log = open(&url, "door", PATIENCE, Missing::Create).await.unwrap();
            log.genesis(entries[0].to_row()).await.unwrap();
            log.barrier(entries[1].to_row()).await.unwrap();
            for entry in &entries[2..] {
                log.append(entry.to_row()).await.unwrap();
            }
        });
    }

    /// All rows, as they are in the database.
    pub fn rows(&self) -> Vec<quorate::log::Row> {
        rows(&self.url(), "door")
    }

    /// Runs the program in the folder.
    pub fn quorate(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        command
            .args(arguments)
            .args(["--config", "node.toml"])
            .current_dir(self.folder.path())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null());
        command
    }

    /// Runs `quorate replay` and expects success; returns what it printed.
    pub fn replay(&self, arguments: &[&str]) -> String {
        let output = self.quorate(&[&["replay"], arguments].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs `quorate replay` and expects an exit code, and words on standard error.
    pub fn fails(&self, arguments: &[&str], code: i32, words: &[&str]) {
        let output = self.quorate(&[&["replay"], arguments].concat());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        for word in words {
            assert!(stderr.contains(word), "{arguments:?}: {stderr:?} holds {word:?}");
        }
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

pub fn look(guest: &Guest, console: usize, packets: usize) -> Seen {
    Seen {
        digest: guest.digest().digest,
        registers: guest.machine().registers(),
        console,
        packets,
    }
}

pub fn rows(url: &str, machine: &str) -> Vec<quorate::log::Row> {
    runtime().block_on(async {
        let log = open(url, machine, PATIENCE, Missing::Refuse).await.unwrap();
        let (mut rows, mut from) = (Vec::new(), 0);
        loop {
            let page = log.read_range(quorate::log::Index(from), 1000).await.unwrap();
            let Some(last) = page.last() else { return rows };
            from = last.index.0 + 1;
            rows.extend(page);
        }
    })
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}
