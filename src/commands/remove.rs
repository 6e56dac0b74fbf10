//! `p2ptun remove`: takes a tunnel out of the file that holds it.

use clap::Args;

use super::{
    outcome::{Exit, Failure},
    save::conclude,
    tunnel::print_block,
};
use crate::{commands::global::Global, config};

#[derive(Debug, Args)]
pub struct Remove {
    /// The name of the tunnel
    #[arg(value_name = "NAME")]
    name: String,
}

impl Remove {
    pub fn run(self, global: &Global) -> Result<Exit, Failure> {
        let path = config::default_path(global.config().as_deref());
        let edited = config::remove(&path, &self.name)?;
        print_block(&format!("removed {} from {}", self.name, config::printable_path(&edited.file)))?;
        conclude(global, &path, &edited)
    }
}
