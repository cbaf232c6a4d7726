//! Our changes to the engine: one patch a concern, applied in name order. diffy knows no fuzz: every context line must
//! match, so a patch that no longer fits ends the build instead of landing somewhere else.

use crate::fail;
use crate::source::Files;
use diffy::patch_set::{FileOperation, FilePatch, ParseOptions, PatchSet};
use std::fs;
use std::path::{Path, PathBuf};

pub fn apply_all(folder: &Path, files: &mut Files) {
    for path in patches_in(folder) {
        let name = path.file_name().expect("read_dir gives names").to_string_lossy();
        let text = fs::read_to_string(&path).unwrap_or_else(|error| fail(format_args!("{name}: {error}")));
        let mut changed = 0;
        for part in PatchSet::parse(&text, ParseOptions::gitdiff()) {
            part.map_err(|error| error.to_string())
                .and_then(|part| apply(&part, files))
                .unwrap_or_else(|error| fail(format_args!("{name}: {error}")));
            changed += 1;
        }
        if changed == 0 {
            fail(format_args!("{name}: changes no file"));
        }
    }
}

fn patches_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| fail(format_args!("{}: {error}", folder.display())));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "patch"));
    paths.sort();
    paths
}

fn apply(part: &FilePatch<'_, str>, files: &mut Files) -> Result<(), String> {
    let operation = part.operation().strip_prefix(1); // git's a/ and b/
    let (target, old) = match &operation {
        FileOperation::Modify { modified, .. } => {
            let old = files
                .get(modified.as_ref())
                .ok_or_else(|| format!("there is no file {modified}"))?;
            (
                modified.to_string(),
                std::str::from_utf8(old).map_err(|error| format!("{modified}: {error}"))?,
            )
        }
        FileOperation::Create(path) => (path.to_string(), ""),
        other => return Err(format!("{other:?} is not supported")),
    };
    let patch = part
        .patch()
        .as_text()
        .ok_or_else(|| format!("{target}: a binary patch"))?;
    let new = diffy::apply(old, patch).map_err(|error| format!("{target}: {error}"))?;
    files.insert(target, new.into_bytes());
    Ok(())
}
