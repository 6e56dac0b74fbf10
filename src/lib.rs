//! p2ptun keeps libp2p tunnels exactly as a TOML file declares them.

pub mod cli;
mod commands;
pub mod config;
pub mod control;
pub mod node;
pub mod spec;
pub mod status;
pub mod triggers;
