//! `p2ptun streams`: the live streams, and cutting some.

use std::{collections::HashMap, io::Write as _};

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::Value;

use super::{
    ask::ask,
    layout::{Column, Row, Section, table},
    palette::{CAUTION, GOOD, NAME, PLAIN, of_number},
    quantities::{age, bytes},
    status::not_understood,
    terminal::{clean, clean_json, print, width},
};
use crate::{
    commands::{
        global::Global,
        outcome::{Exit, Failure},
    },
    control::{Client, ClientError},
    spec::PeerId,
    status::{Path, Time, streams::StreamStatus},
};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Streams {
    /// Print what the service says, as JSON
    #[arg(long)]
    json: bool,
    /// Only those of this tunnel
    #[arg(long, value_name = "NAME")]
    tunnel: Option<String>,
    /// Only those with this peer, a name or an id
    #[arg(long, value_name = "PEER")]
    peer: Option<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Cut streams: both ends see a reset
    Close {
        /// As `p2ptun streams` shows them
        #[arg(required = true, value_name = "ID")]
        ids: Vec<u64>,
    },
}

impl Streams {
    pub fn run(self, global: &Global) -> Result<Exit, Failure> {
        let client = Client::new(global.socket().as_deref());
        match &self.command {
            Some(Command::Close { ids }) => ask(close(&client, ids)),
            None => self.show(&client),
        }
    }

    fn show(&self, client: &Client) -> Result<Exit, Failure> {
        let (streams, peers) = ask(async {
            let streams = client.streams_json().await?;
            let needs_names = !self.json || self.peer.is_some();
            let peers = if needs_names { Peers::of(client).await? } else { Peers::default() };
            Ok::<_, ClientError>((streams, peers))
        })?;
        let streams: Vec<Value> = streams.into_iter().filter(|stream| self.is_meant(stream, &peers)).collect();
        if self.json {
            print(&clean_json(&format!("{:#}\n", Value::Array(streams))))?;
        } else {
            print(&render(&understand(streams)?, &peers, Time::now(), width()))?;
        }
        Ok(Exit::Ok)
    }

    fn is_meant(&self, stream: &Value, peers: &Peers) -> bool {
        let is = |key: &str, wanted: &str| stream[key].as_str() == Some(wanted);
        self.tunnel.as_ref().is_none_or(|tunnel| is("tunnel", tunnel))
            && self.peer.as_ref().is_none_or(|peer| is("peer", &peers.id(peer).unwrap_or_else(|| peer.clone())))
    }
}

fn understand(streams: Vec<Value>) -> Result<Vec<StreamStatus>, Failure> {
    streams
        .into_iter()
        .map(|stream| StreamStatus::deserialize(stream).map_err(|error| not_understood(&error)))
        .collect()
}

/// The names that the service's file gives to peers.
#[derive(Default)]
struct Peers(HashMap<PeerId, String>);

impl Peers {
    async fn of(client: &Client) -> Result<Self, ClientError> {
        let peers = client.status().await?.peers.into_iter();
        Ok(Self(peers.filter_map(|peer| Some((peer.id, peer.name?))).collect()))
    }

    fn name(&self, id: &PeerId) -> String {
        self.0.get(id).map_or_else(|| id.to_string(), |name| clean(name))
    }

    fn id(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(_, other)| *other == name).map(|(id, _)| id.to_string())
    }
}

fn render(streams: &[StreamStatus], peers: &Peers, now: Time, width: usize) -> String {
    if streams.is_empty() {
        return "no live streams\n".into();
    }
    let size = |number| (of_number(number), bytes(number));
    let rows = streams.iter().map(|stream| {
        let (style, path) = match stream.path {
            Path::Direct => (GOOD, "direct"),
            Path::Relayed => (CAUTION, "relayed"),
            Path::None | Path::Unknown => (PLAIN, "unknown"),
        };
        Row {
            cells: [
                (PLAIN, stream.id.to_string()),
                (NAME, clean(stream.tunnel.as_str())),
                (style, path.into()),
                (PLAIN, age(stream.opened_at, now)),
                size(stream.bytes.inbound.get()),
                size(stream.bytes.outbound.get()),
            ],
            tail: peers.name(&stream.peer),
            notes: Vec::new(),
        }
    });
    let section =
        Section { titles: ["ID", "TUNNEL", "PATH", "AGE", "IN", "OUT"], tail_title: "PEER", rows: rows.collect() };
    let columns = [
        Column::numbers(2),
        Column::words((width / 3).max(12)),
        Column::words(9),
        Column::numbers(4),
        Column::numbers(8),
        Column::numbers(8),
    ];
    table(columns, &[section], width)
}

/// Cuts each of `ids`, and says which there were and which not.
async fn close(client: &Client, ids: &[u64]) -> Result<Exit, Failure> {
    let live: HashMap<u64, StreamStatus> = client.streams().await?.into_iter().map(|each| (each.id, each)).collect();
    let peers = Peers::of(client).await?;
    let mut exit = Exit::Ok;
    let mut tried = Vec::new();
    for &id in ids {
        if tried.contains(&id) {
            continue;
        }
        tried.push(id);
        match client.cut(id).await {
            Ok(()) => {
                // One that has just begun is not in the list.
                let whose = live.get(&id).map(|stream| format!(": {}, {}", stream.tunnel, peers.name(&stream.peer)));
                print(&format!("closed {id}{}\n", whose.unwrap_or_default()))?;
            }
            Err(error @ ClientError::NoSuchStream(_)) => {
                // The others are still to be tried. Where nobody listens, the exit code still tells.
                let _ = writeln!(anstream::stderr(), "p2ptun: {error}");
                exit = Exit::NoInput;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::status::streams::Bytes;

    const STRANGER: &str = "12D3KooWGC6TvWhfajpgX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5";

    fn at() -> Time {
        "2026-11-20T10:00:00Z".parse().unwrap()
    }

    fn stream(id: u64, tunnel: &str, peer: PeerId, path: Path, age: u64, inbound: u64, outbound: u64) -> StreamStatus {
        let bytes = Bytes::default();
        bytes.inbound.add(inbound);
        bytes.outbound.add(outbound);
        let opened_at = at() + Duration::from_secs(1_000_000 - age);
        StreamStatus { id, tunnel: tunnel.try_into().unwrap(), peer, path, opened_at, bytes: bytes.into() }
    }

    #[test]
    fn streams_are_listed_with_names_for_peers_that_have_one() {
        let laptop = PeerId::random();
        let now = at() + Duration::from_secs(1_000_000);
        let peers = Peers([(laptop, "laptop".to_owned())].into());
        let streams = [
            stream(7, "ssh", laptop, Path::Direct, 3, 0, 1_234_567),
            stream(12, "home-ssh", laptop, Path::Relayed, 100_000, 5_000_000_000, 23),
            stream(
                4711,
                "web-of-the-office-upstairs-and-downstairs",
                STRANGER.parse().unwrap(),
                Path::Direct,
                600,
                1,
                u64::MAX,
            ),
        ];
        let shown = |width| anstream::adapter::strip_str(&render(&streams, &peers, now, width)).to_string();
        insta::assert_snapshot!(shown(80), @r"
          ID  TUNNEL    PATH      AGE        IN       OUT  PEER
           7  ssh       direct     3s       0 B  1.18 MiB  laptop
          12  home-ssh  relayed   27h  4.66 GiB      23 B  laptop
        4711  web-of-the-office-upstairs-and-downstairs
                        direct    10m       1 B  16.0 EiB
          12D3KooWGC6TvWhfajpgX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5
        ");
        insta::assert_snapshot!(shown(130), @r"
          ID  TUNNEL                                     PATH      AGE        IN       OUT  PEER
           7  ssh                                        direct     3s       0 B  1.18 MiB  laptop
          12  home-ssh                                   relayed   27h  4.66 GiB      23 B  laptop
        4711  web-of-the-office-upstairs-and-downstairs  direct    10m       1 B  16.0 EiB
          12D3KooWGC6TvWhfajpgX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5
        ");
        assert!(shown(80).lines().all(|line| line.chars().count() <= 80));
        assert!(render(&streams, &peers, now, 80).contains("\x1b[32mdirect"));
        assert_eq!(render(&[], &peers, now, 80), "no live streams\n");
    }
}
