//! The quorate node: the only async code, the only SQL and the only host clock of the project.

pub mod admin;
pub mod capture;
pub mod checkpoint;
pub mod cli;
pub mod clock;
pub mod config;
pub mod courtesy;
pub mod demo;
pub mod edge;
pub mod egress;
pub mod evidence;
pub mod executor;
pub mod explain;
pub mod guest;
pub mod health;
pub mod images;
pub mod log;
pub mod node;
pub mod peers;
pub mod replay;
pub mod replica;
pub mod roll;
pub mod solo;
pub mod strict;
