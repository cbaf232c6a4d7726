//! The quorate node: the only async code, the only SQL and the only host clock of the project.

pub mod admin;
pub mod cli;
pub mod config;
pub mod log;
pub mod peers;
pub mod replica;
