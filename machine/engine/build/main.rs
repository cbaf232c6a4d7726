//! Builds the patched engine.
//!
//! 1. `source`: ask cargo for the registry's package, read what is needed and check its digest;
//! 2. `patch`: apply `patches/*.patch`, in name order, without fuzz;
//! 3. `compile`: write the result to `OUT_DIR/source` and run its CMake build, or take the libraries from `cache`;
//! 4. `bindings`: generate the Rust bindings under the names the safe crate `unicorn-engine` expects.

mod bindings;
mod cache;
mod compile;
mod patch;
mod source;

use std::env;
use std::path::PathBuf;

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    for watched in ["build", "patches", "upstream/Cargo.toml", "upstream/Cargo.lock"] {
        println!("cargo:rerun-if-changed={}", here.join(watched).display());
    }
    for watched in ["CC", "CFLAGS"] {
        println!("cargo:rerun-if-env-changed={watched}");
    }
    bindings::require_libclang();
    let mut files = source::pristine(&here.join("upstream/Cargo.toml"));
    patch::apply_all(&here.join("patches"), &mut files);
    let engine_id = source::digest(&files);
    println!("cargo:rustc-env=ENGINE_ID={engine_id}");

    let tree = out.join("source");
    source::write_changed(&tree, &files);
    compile::libraries(&tree, &engine_id, &out);
    bindings::generate(&tree.join("include/unicorn/unicorn.h"), &out.join("bindings.rs"));
    bindings::rust_side(&files, &out.join("upstream_lib.rs"));
}

/// Ends the build with a message for whoever runs it. Cargo shows a build script's standard error only when it fails.
fn fail(message: impl std::fmt::Display) -> ! {
    eprintln!("\nerror: {message}\n");
    std::process::exit(1);
}
