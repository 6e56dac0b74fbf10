//! What every command can be told.

use std::path::PathBuf;

use clap::Args;

/// Options that every command understands.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// The configuration file [default: /etc/p2ptun.toml]
    #[arg(short, long, global = true, env = "P2PTUN_CONFIG", value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// The control socket of the service [default: see p2ptun(1)]
    #[arg(long, global = true, env = "P2PTUN_SOCKET", value_name = "PATH")]
    pub socket: Option<PathBuf>,
}
