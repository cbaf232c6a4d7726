//! The Debian guest as its build describes it (`tests/guests/debian`, guest.json), and the machine that was booted from it
//! once and saved.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::cluster::Spec;
use crate::config::{Cluster, ConfigError};
use crate::images::GuestFiles;
use crate::log::AgreedTime;
use crate::replica::Activity;
use crate::solo::{STEP_NS, Solo, SoloError};

/// Version of guest.json.
const FORMAT: u32 = 1;
/// Station addresses are given: a saved guest knows its own and its gateway's.
const MAC: &str = "02:51:75:6f:72:01";
const GATEWAY_MAC: &str = "02:51:75:6f:72:02";
/// Guest time a boot may take, and how long a booted guest is left alone before it is saved, in steps of a [`Solo`].
const BOOT_STEPS_MAX: u64 = 600_000_000_000 / STEP_NS;
const REST_STEPS: u64 = 5_000_000_000 / STEP_NS;

/// Why the guest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DebianError {
    /// Its description.
    #[error("{}: {what}; build the guest again with `make guest-debian`", file.display())]
    Description {
        /// Which file.
        file: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Its settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It cannot be made.
    #[error(transparent)]
    Solo(#[from] SoloError),
    /// It stopped, or was not done in time.
    #[error("the guest did not boot: {why}; its console ended with:\n{console}")]
    Boot {
        /// Why.
        why: &'static str,
        /// The end of its console.
        console: String,
    },
    /// A file.
    #[error("{}: {error}", file.display())]
    Io {
        /// Which.
        file: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

/// A built guest.
#[derive(Debug, Clone)]
pub struct Debian {
    folder: PathBuf,
    description: Description,
}

/// What is used of guest.json.
#[derive(Debug, Clone, Deserialize)]
struct Description {
    format: u32,
    key: String,
    board: String,
    ram_bytes: u64,
    kernel: Artifact,
    initramfs: Artifact,
    root: Artifact,
    ssh_key: Artifact,
    command_line: String,
    command_line_shell: String,
    phases: Vec<String>,
    directory: Directory,
}

/// What the guest is to do when it is switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boot {
    /// Mount its root file system and start all services.
    Services,
    /// Stop at a shell of its initramfs, which needs no disk.
    Shell,
}

/// What a machine needs to boot it.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Size of the memory, MiB.
    pub ram_mb: u64,
    /// The kernel, an arm64 `Image`.
    pub kernel: PathBuf,
    /// Its first file system.
    pub initramfs: PathBuf,
    /// The disk with its root file system, where it needs one.
    pub disk: Option<PathBuf>,
    /// The kernel's command line.
    pub command_line: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Artifact {
    file: String,
}

/// How the guest's directory is used.
#[derive(Debug, Clone, Deserialize)]
pub struct Directory {
    /// Everything is below it.
    pub suffix: String,
    /// Who may write.
    pub admin: String,
    /// With this password.
    pub password: String,
    /// Where new entries may be made.
    pub writable: String,
}

impl Debian {
    /// Read the description at `path` (a guest.json).
    ///
    /// # Errors
    /// It cannot be read, or is another version's.
    pub fn load(path: &Path) -> Result<Debian, DebianError> {
        let wrong = |what: String| DebianError::Description {
            file: path.to_owned(),
            what,
        };
        let text = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let description: Description = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        if description.format != FORMAT {
            return Err(wrong(format!(
                "format {}, this program reads {FORMAT}",
                description.format
            )));
        }
        let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
        Ok(Debian { folder, description })
    }

    /// What it says on its console, in this order, while it boots.
    #[must_use]
    pub fn phases(&self) -> &[String] {
        &self.description.phases
    }

    /// How its directory is used.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.description.directory
    }

    /// The key its root logs in with over ssh.
    #[must_use]
    pub fn ssh_key(&self) -> PathBuf {
        self.path(&self.description.ssh_key)
    }

    fn path(&self, artifact: &Artifact) -> PathBuf {
        self.folder.join(&artifact.file)
    }

    /// Its files and command line, for another machine to boot it.
    #[must_use]
    pub fn parts(&self, boot: Boot) -> Parts {
        let Description {
            ram_bytes,
            kernel,
            initramfs,
            root,
            command_line,
            command_line_shell,
            ..
        } = &self.description;
        Parts {
            ram_mb: ram_bytes >> 20,
            kernel: self.path(kernel),
            initramfs: self.path(initramfs),
            disk: (boot == Boot::Services).then(|| self.path(root)),
            command_line: match boot {
                Boot::Services => command_line.clone(),
                Boot::Shell => command_line_shell.clone(),
            },
        }
    }

    /// `[guest]` of a cluster's settings; its machine goes on from `saved`, or is switched on.
    #[must_use]
    pub fn settings(&self, boot: Boot, saved: Option<&Path>) -> String {
        let parts = self.parts(boot);
        let mut text = format!(
            "board = {:?}\nkernel = {:?}\ninitramfs = {:?}\ncommand_line = {:?}\nram_mb = {}\nmac = {MAC:?}\n",
            self.description.board, parts.kernel, parts.initramfs, parts.command_line, parts.ram_mb,
        );
        if let Some(saved) = saved {
            text += &format!("saved = {saved:?}\n");
        }
        if let Some(disk) = parts.disk {
            text += &format!("[[guest.disk]]\nimage = {disk:?}\n");
        }
        text
    }

    /// Further lines of `[network]`.
    #[must_use]
    pub fn network_settings() -> String {
        format!("gateway_mac = {GATEWAY_MAC:?}\n")
    }

    /// The machine that was booted once on this host and saved; boots it the first time. `progress` is called with the
    /// number of phases reached and the last line of the console.
    ///
    /// # Errors
    /// It does not boot, or cannot be saved.
    pub fn booted(&self, progress: &mut dyn FnMut(usize, &str)) -> Result<PathBuf, DebianError> {
        let cluster = self.solo_cluster()?;
        let files = GuestFiles::open(&cluster)?;
        let file = self
            .folder
            .join(format!("booted-{}.quorate", self.saved_key(&cluster, &files)));
        if file.exists() {
            return Ok(file);
        }
        // Mail needs a clock that is about right; the machine that goes on from here has the log's.
        let start = AgreedTime(crate::clock::wall_ns());
        let mut solo = Solo::new(&cluster, &files, start)?;
        self.boot(&mut solo, progress)?;
        let state = solo.guest().save_machine();
        // Whole or not at all: another one may be doing the same.
        let failed = |error| DebianError::Io {
            file: file.clone(),
            error,
        };
        let mut temporary = tempfile::NamedTempFile::new_in(&self.folder).map_err(failed)?;
        std::io::Write::write_all(&mut temporary, &state.0).map_err(failed)?;
        temporary.persist(&file).map_err(|error| failed(error.error))?;
        Ok(file)
    }

    fn boot(&self, solo: &mut Solo, progress: &mut dyn FnMut(usize, &str)) -> Result<(), DebianError> {
        let mut console = Console::new(self.phases());
        for _ in 0..BOOT_STEPS_MAX {
            let outcome = solo.step(b"");
            for output in outcome.serial.iter().filter(|output| output.port == 0) {
                console.take_in(&output.bytes);
            }
            progress(console.reached(), console.last_line());
            if console.done() {
                (0..REST_STEPS).for_each(|_| drop(solo.step(b"")));
                return Ok(());
            }
            if outcome.activity == Activity::Stopped {
                return Err(console.gave_up("it stopped"));
            }
        }
        Err(console.gave_up("it was not done after ten minutes of its own time"))
    }

    /// What a saved machine depends on besides the files in this folder.
    fn saved_key(&self, cluster: &Cluster, files: &GuestFiles) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("quorate booted guest 1");
        hasher.update(self.description.key.as_bytes());
        hasher.update(&cluster.digest(files.hashes(), machine::ENGINE_ID).digest);
        hasher.update(&machine::state::STATE_VERSION.to_le_bytes());
        hex::encode(&hasher.finalize().as_bytes()[..8])
    }

    /// Settings of a cluster of one, for the boot.
    fn solo_cluster(&self) -> Result<Cluster, DebianError> {
        let file = tempfile::Builder::new().suffix(".toml").tempfile();
        let failed = |error| DebianError::Io {
            file: std::env::temp_dir(),
            error,
        };
        let mut file = file.map_err(failed)?;
        let text = Spec::settings_of_one(&self.settings(Boot::Services, None), &Debian::network_settings());
        std::io::Write::write_all(&mut file, text.as_bytes()).map_err(failed)?;
        Ok(Cluster::load(file.path())?)
    }
}

/// A guest's console while it boots: which phases it has reached.
#[derive(Debug)]
pub struct Console<'a> {
    phases: &'a [String],
    reached: usize,
    text: String,
    line_start: usize,
}

impl<'a> Console<'a> {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(phases: &'a [String]) -> Console<'a> {
        Console {
            phases,
            reached: 0,
            text: String::new(),
            line_start: 0,
        }
    }

    /// The guest printed this.
    pub fn take_in(&mut self, bytes: &[u8]) {
        self.text.push_str(&String::from_utf8_lossy(bytes));
        while let Some(length) = self.text[self.line_start..].find('\n') {
            let line = &self.text[self.line_start..self.line_start + length];
            let said = |phase: &String| line.contains(phase.as_str());
            if let Some(phase) = self.phases.iter().rposition(said) {
                self.reached = self.reached.max(phase + 1);
            }
            self.line_start += length + 1;
        }
    }

    /// Phases reached.
    #[must_use]
    pub fn reached(&self) -> usize {
        self.reached
    }

    /// Whether it has booted.
    #[must_use]
    pub fn done(&self) -> bool {
        self.reached == self.phases.len()
    }

    /// The last whole line.
    #[must_use]
    pub fn last_line(&self) -> &str {
        self.text[..self.line_start]
            .trim_end()
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .trim()
    }

    fn gave_up(&self, why: &'static str) -> DebianError {
        let lines: Vec<&str> = self.text.lines().collect();
        let console = lines[lines.len().saturating_sub(15)..].join("\n");
        DebianError::Boot { why, console }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_counted_by_whole_lines() {
        let phases = ["quorate: initramfs", "quorate: services", "quorate: boot complete"].map(String::from);
        let mut console = Console::new(&phases);
        console.take_in(b"[    0.0] Linux\r\nquorate: init");
        assert_eq!(console.reached(), 0);
        console.take_in(b"ramfs\r\n");
        assert_eq!((console.reached(), console.last_line()), (1, "quorate: initramfs"));
        console.take_in(b"quorate: services\r\nx\r\nquorate: boot complete\r\n");
        assert!(console.done());
    }
}
