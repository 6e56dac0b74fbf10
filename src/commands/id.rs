//! `p2ptun id`: the peer id of this node, and never one that the service doesn't have.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{ask, terminal::print};
use crate::{
    cli::{Exit, Failure, Global},
    control::{Client, ClientError},
    node::identity,
    spec::PeerId,
};

#[derive(Debug, Args)]
pub struct Id {
    /// Make the key if there is none, owned as its directory is
    #[arg(long)]
    create: bool,
    /// Ask the service for the addresses at which this node can be reached
    #[arg(long)]
    addresses: bool,
}

impl Id {
    pub fn run(self, global: &Global) -> Result<Exit, Failure> {
        let client = Client::new(global.socket.as_deref());
        if !self.addresses || self.create {
            let id = self.peer_id(global, &client)?;
            if !self.addresses {
                print(&format!("{id}\n"))?;
            }
        }
        if self.addresses {
            let status = ask(client.status())?;
            print(&status.addresses.iter().map(|address| format!("{address}\n")).collect::<String>())?;
        }
        Ok(Exit::Ok)
    }

    fn peer_id(&self, global: &Global, client: &Client) -> Result<PeerId, Failure> {
        match (&global.config, &global.socket) {
            (Some(config), None) => self.of_key(&identity_path(config)?),
            (_, socket) => match ask(async { Ok::<_, Failure>(client.status().await) })? {
                Ok(status) => Ok(status.peer_id),
                // The service that somebody named by its socket need not be the one with the default key.
                Err(ClientError::NoService(_)) if socket.is_none() => self.of_key(&identity::default_path()?),
                Err(error) => Err(error.into()),
            },
        }
    }

    fn of_key(&self, path: &Path) -> Result<PeerId, Failure> {
        let id = if self.create { identity::create(path) } else { identity::read_peer_id(path) };
        Ok(id?)
    }
}

/// Where the node that `config` describes keeps its key.
// SEAM: stands in for `config::load(config)?.desired.node.identity` until that is there. It finds the key all the same,
// but says less about a file that is wrong.
fn identity_path(config: &Path) -> Result<PathBuf, Failure> {
    let wrong = |exit, why: String| Failure::new(exit, format!("{}: {why}", config.display()));
    let text = fs::read_to_string(config).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => wrong(Exit::Permission, error.to_string()),
        _ => wrong(Exit::NoInput, error.to_string()),
    })?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| wrong(Exit::Config, error.to_string()))?;
    match table.get("node").and_then(|node| node.get("identity")).map(toml::Value::as_str) {
        Some(Some(path)) => Ok(config.parent().unwrap_or(Path::new("")).join(path)),
        Some(None) => Err(wrong(Exit::Config, "node.identity is not a path".into())),
        None => Ok(identity::default_path()?),
    }
}
