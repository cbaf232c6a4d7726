//! The files a guest is made from, opened and hashed: firmware or kernel, disk images, a saved machine.
//!
//! A disk image is read where it lies, whenever the guest reads; it must not change while a node runs (what the guest
//! writes goes into the machine's state, never into the image). Its hash is taken at the start, and all nodes must have
//! the same.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use machine::disk::{Disk, Image};
use machine::{Boot, Definition, State};

use crate::config::{self, Cluster, ConfigError};
use crate::log::{Entry, Index};

/// Bytes hashed at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// What seeds of guests are derived in.
const SEED_CONTEXT: &str = "quorate guest seed 1";

/// What a guest is made from, besides its settings.
pub struct GuestFiles {
    boot: Boot,
    disks: Vec<Disk>,
    saved: Option<State>,
    hashes: Vec<(&'static str, [u8; 32])>,
}

/// A disk image on this host.
#[derive(Debug)]
struct FileImage {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Image for FileImage {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    /// # Panics
    /// The host's disk fails, or somebody shortened the image: this node cannot go on, the others can.
    fn read(&self, offset: u64, buffer: &mut [u8]) {
        if let Err(error) = self.file.read_exact_at(buffer, offset) {
            let (path, length) = (self.path.display(), buffer.len());
            panic!("{path}: {length} bytes at {offset} cannot be read: {error}");
        }
    }
}

impl GuestFiles {
    /// Open and hash what `cluster` names. Takes about a second for a GiB of disk images.
    ///
    /// # Errors
    /// A file cannot be read, or is another one than the settings say.
    pub fn open(cluster: &Cluster) -> Result<GuestFiles, ConfigError> {
        let guest = &cluster.guest;
        let mut hashes = Vec::new();
        let boot = match &guest.boot {
            config::Boot::Firmware { firmware } => {
                let firmware = read(firmware, "name a readable ELF file as guest.firmware")?;
                hashes.push(("firmware", *blake3::hash(&firmware).as_bytes()));
                Boot::Firmware(firmware)
            }
            config::Boot::Linux {
                kernel,
                initramfs,
                command_line,
            } => {
                let kernel = read(kernel, "name a readable arm64 Image as guest.kernel")?;
                let initramfs = match initramfs {
                    Some(path) => read(path, "name a readable archive as guest.initramfs")?,
                    None => Vec::new(),
                };
                hashes.push(("kernel", *blake3::hash(&kernel).as_bytes()));
                hashes.push(("initramfs", *blake3::hash(&initramfs).as_bytes()));
                Boot::Linux {
                    kernel,
                    initramfs,
                    command_line: command_line.clone(),
                }
            }
        };
        let disks = guest.disks.iter().map(open_disk).collect::<Result<Vec<_>, _>>()?;
        hashes.extend(disks.iter().map(|disk| ("disk", disk.digest)));
        let saved = match &guest.saved {
            Some(path) => Some(read(path, "name a readable saved machine as guest.saved")?),
            None => None,
        };
        hashes.extend(saved.iter().map(|saved| ("saved", *blake3::hash(saved).as_bytes())));
        Ok(GuestFiles {
            boot,
            disks,
            saved: saved.map(State),
            hashes,
        })
    }

    /// Name and BLAKE3 of each file, in the settings' order.
    #[must_use]
    pub fn hashes(&self) -> &[(&'static str, [u8; 32])] {
        &self.hashes
    }

    /// The machine to go on from, if the settings name one.
    #[must_use]
    pub fn saved(&self) -> Option<&State> {
        self.saved.as_ref()
    }

    /// The machine before the first entry after `genesis`.
    #[must_use]
    pub fn definition(&self, cluster: &Cluster, genesis: &Entry) -> Definition {
        assert_eq!(genesis.index, Index(0), "the caller read the first entry");
        Definition {
            board: cluster.guest.board.clone(),
            boot: self.boot.clone(),
            ram_bytes: cluster.ram_bytes(),
            macs: vec![cluster.guest.mac.0],
            disks: self.disks.clone(),
            seed: blake3::derive_key(SEED_CONTEXT, &genesis.chain.0),
            start: machine::AgreedTime(genesis.grant.until.0),
        }
    }
}

fn read(path: &Path, fix: &'static str) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|error| unreadable(path, error, fix))
}

fn open_disk(disk: &config::Disk) -> Result<Disk, ConfigError> {
    let fix = "name a readable raw image as guest.disk.image";
    let path = &disk.image;
    let open = || -> io::Result<(FileImage, [u8; 32])> {
        let mut file = File::open(path)?;
        let digest = hash(&mut file)?;
        let (path, bytes) = (path.clone(), file.metadata()?.len());
        Ok((FileImage { path, file, bytes }, digest))
    };
    let (image, digest) = open().map_err(|error| unreadable(path, error, fix))?;
    if let Some(expected) = disk.blake3.filter(|expected| expected.0 != digest) {
        return Err(ConfigError::OtherFile {
            file: path.clone(),
            expected: expected.to_string(),
            found: hex::encode(digest),
        });
    }
    let read_only = disk.read_only;
    let image = Arc::new(image);
    let disk = Disk {
        image,
        digest,
        read_only,
    };
    disk.check().map_err(|error| ConfigError::Unusable {
        file: path.clone(),
        what: error.to_string(),
        fix: "give a raw disk image as guest.disk.image",
    })?;
    Ok(disk)
}

fn hash(file: &mut File) -> io::Result<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(*hasher.finalize().as_bytes()),
            length => hasher.update(&chunk[..length]),
        };
    }
}

fn unreadable(path: &Path, error: io::Error, fix: &'static str) -> ConfigError {
    ConfigError::Read {
        file: path.to_owned(),
        error,
        fix,
    }
}
