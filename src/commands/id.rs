//! `p2ptun id`: the peer id of this node, and never one that the service doesn't have.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{ask::ask, terminal::print};
use crate::{
    commands::{
        global::Global,
        outcome::{Exit, Failure},
    },
    config,
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
        let client = Client::new(global.socket().as_deref());
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
        if let Some(file) = global.config().filter(|_| !global.is_socket_given()) {
            return self.of_key(&identity_path(&file)?);
        }
        match ask(async { Ok::<_, Failure>(client.status().await) })? {
            Ok(status) => Ok(status.peer_id),
            // The service that somebody named by its socket need not be the one with the default key.
            Err(ClientError::NoService(_)) if global.socket().is_none() => self.of_key(&identity::default_path()?),
            Err(error) => Err(error.into()),
        }
    }

    fn of_key(&self, path: &Path) -> Result<PeerId, Failure> {
        let id = if self.create { identity::create(path) } else { identity::read_peer_id(path) };
        Ok(id?)
    }
}

/// Where the node that `config` describes keeps its key.
fn identity_path(config: &Path) -> Result<PathBuf, Failure> {
    match config::identity_path(config) {
        Ok(Some(path)) => Ok(path),
        Ok(None) => Ok(identity::default_path()?),
        Err(refused) => Err(super::check::failure(&refused)),
    }
}
