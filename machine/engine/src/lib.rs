//! The registry's `unicorn-engine-sys` 2.1.5 with the patches in `patches/` applied.
//!
//! Nothing of upstream is kept here: `build/main.rs` asks cargo for the registry package, checks it, patches it and
//! compiles it; the Rust side below is upstream's own `lib.rs` over freshly generated bindings.
#![allow(
    non_camel_case_types,
    non_snake_case,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::pedantic,
    clippy::nursery
)]

include!(concat!(env!("OUT_DIR"), "/upstream_lib.rs"));

/// SHA-256 of the engine's patched source, in hexadecimal. Two machines with the same entries are equal only on the
/// same engine: nodes, and whoever restores a saved machine, compare it.
pub const ENGINE_ID: &str = env!("ENGINE_ID");
