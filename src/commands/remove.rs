//! `p2ptun remove`: takes a tunnel out of the file that holds it.

use clap::Args;

use super::{
    outcome::{Exit, Failure},
    save::conclude,
    tunnel::print_block,
};
use crate::{commands::global::Global, config};

const EXAMPLES: &str = "\
Examples:
  p2ptun remove ssh
      takes [listen.ssh], or whatever kind of tunnel ssh is, out of the file or of the one it includes
  p2ptun --config ./p2ptun.toml remove ssh
      out of another file

The comment directly above the tunnel goes with it, and those between its keys; all others stay. A running service \
lets open streams finish within its drain_timeout.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
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
