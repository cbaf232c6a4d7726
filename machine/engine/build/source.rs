//! The registry package's files: where they are, whether they are the right ones, and how they get into `OUT_DIR`.

use crate::fail;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Contents by path inside the package.
pub type Files = BTreeMap<String, Vec<u8>>;

const NAME: &str = "unicorn-engine-sys";
const VERSION: &str = "2.1.5";
/// [`digest`] of the pristine files. Cargo checks a package when it downloads it, but not the unpacked copy it keeps.
const PRISTINE: &str = "a0143de95f05a6d09f7ff14f42e9d6f4c9ab36dd0768345a0cfa65f9e9323343";
/// What of the package is needed to compile it.
const PARTS: [&str; 9] = [
    "CMakeLists.txt",
    "uc.c",
    "list.c",
    "symbols.sh",
    "cmake",
    "glib_compat",
    "include",
    "qemu",
    "bindings/rust/sys/src",
];

/// Reads the unpacked registry package that `manifest` (never compiled) pins by its lock file.
pub fn pristine(manifest: &Path) -> Files {
    let root = unpacked(manifest);
    let mut files = Files::new();
    for part in PARTS {
        read_tree(&root, part, &mut files);
    }
    let found = digest(&files);
    if found != PRISTINE {
        fail(format_args!(
            "{} is not the published {NAME} {VERSION} (digest {found}, expected {PRISTINE}); remove it from cargo's \
             registry/src and registry/cache so that cargo fetches it again",
            root.display()
        ));
    }
    files
}

/// SHA-256 over names and contents, each preceded by its length.
pub fn digest(files: &Files) -> String {
    let mut hash = Sha256::new();
    for (name, contents) in files {
        for part in [name.as_bytes(), contents] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    hex(&hash.finalize())
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Rewrites only what differs, so that the engine's build recompiles only what a changed patch touches.
pub fn write_changed(root: &Path, files: &Files) {
    for (name, contents) in files {
        let path = root.join(name);
        if fs::read(&path).ok().as_ref() == Some(contents) {
            continue;
        }
        let folder = path.parent().expect("every file is below root");
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, contents))
            .unwrap_or_else(|error| fail(format_args!("{}: {error}", path.display())));
    }
}

/// Folder of the unpacked, checksum-verified package. Offline first: once the package is in cargo's cache, nothing
/// touches the network.
fn unpacked(manifest: &Path) -> PathBuf {
    let json = metadata(manifest, true)
        .or_else(|_| metadata(manifest, false))
        .unwrap_or_else(|error| fail(format_args!("cargo metadata for {}: {error}", manifest.display())));
    let json: serde_json::Value = serde_json::from_slice(&json).expect("cargo metadata prints JSON");
    let packages = json["packages"].as_array().expect("cargo metadata lists packages");
    let package = packages.iter().find(|package| {
        let from_registry = package["source"]
            .as_str()
            .is_some_and(|source| source.starts_with("registry+"));
        package["name"] == NAME && package["version"] == VERSION && from_registry
    });
    let Some(package) = package else {
        fail(format_args!(
            "{NAME} {VERSION} is not in the lock file beside {}",
            manifest.display()
        ));
    };
    let path = Path::new(package["manifest_path"].as_str().expect("cargo metadata gives paths"));
    path.parent().expect("a manifest is in a folder").to_owned()
}

fn metadata(manifest: &Path, offline: bool) -> Result<Vec<u8>, String> {
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets it"));
    cargo
        .args(["metadata", "--format-version", "1", "--locked", "--manifest-path"])
        .arg(manifest);
    if offline {
        cargo.arg("--offline");
    }
    let output = cargo.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn read_tree(root: &Path, part: &str, files: &mut Files) {
    let path = root.join(part);
    let complain = |error| -> ! { fail(format_args!("{}: {error}", path.display())) };
    if !path.is_dir() {
        files.insert(part.to_owned(), fs::read(&path).unwrap_or_else(|error| complain(error)));
        return;
    }
    for entry in fs::read_dir(&path).unwrap_or_else(|error| complain(error)) {
        let name = entry.unwrap_or_else(|error| complain(error)).file_name();
        read_tree(
            root,
            &format!("{part}/{}", name.to_str().expect("the package's names are ASCII")),
            files,
        );
    }
}
