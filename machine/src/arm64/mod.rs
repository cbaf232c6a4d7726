//! What surrounds an arm64 core: its interrupt controller.

pub mod gic;
