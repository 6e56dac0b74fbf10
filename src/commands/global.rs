//! What every command can be told.

use std::path::PathBuf;

use clap::{Args, ValueHint};

/// Options that every command understands.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// The configuration file [env: P2PTUN_CONFIG] [default: /etc/p2ptun.toml]
    ///
    /// For users other than root, ~/.config/p2ptun.toml is the default if it exists. p2ptun.toml(5) tells what may stand
    /// in the file.
    #[arg(short, long, global = true, value_name = "PATH", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,
    /// The control socket of the service [env: P2PTUN_SOCKET] [default: see p2ptun(1)]
    ///
    /// By default the service has it in /run/p2ptun where it runs as root, else under $XDG_RUNTIME_DIR, and commands
    /// look for it there. One that is named is the only one that is asked.
    #[arg(long, global = true, value_name = "PATH", value_hint = ValueHint::FilePath)]
    socket: Option<PathBuf>,
}

impl Global {
    /// The configuration file, if one is named.
    pub fn config(&self) -> Option<PathBuf> {
        self.config.clone().or_else(|| variable("P2PTUN_CONFIG"))
    }

    /// The control socket, if one is named.
    pub fn socket(&self) -> Option<PathBuf> {
        self.socket.clone().or_else(|| variable("P2PTUN_SOCKET"))
    }

    /// Whether the command line itself names the control socket.
    pub fn is_socket_given(&self) -> bool {
        self.socket.is_some()
    }
}

/// The path in the variable `name`. An empty one, as an environment file may hold it, names nothing.
fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
