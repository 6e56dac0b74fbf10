//! No tunnel: what the load generators and the kernel can do.

use std::net::SocketAddr;

use anyhow::Result;

use super::{Pair, Peer};
use crate::place::Place;

pub struct Direct;

impl Peer for Direct {
    fn name(&self) -> &str {
        "direct"
    }

    fn description(&self) -> Result<String> {
        Ok("no tunnel, the client connects to the service".to_owned())
    }

    fn start(&self, _near: &Place, _far: &Place, targets: &[SocketAddr]) -> Result<Pair> {
        Ok(Pair { entrances: targets.to_vec(), daemons: Vec::new() })
    }
}
