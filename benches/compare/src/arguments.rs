//! The command line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use clap::{CommandFactory, FromArgMatches, Parser};

use crate::{
    peers::{Direct, Haproxy, Kubo, P2ptun, Peer, Rathole, Ssh, Stunnel},
    setting::Setting,
};

/// Measures p2ptun and its peers by turns, in one run.
#[derive(Parser)]
pub struct Arguments {
    /// A p2ptun to measure; may be given several times, to compare builds. The first is the one that targets apply to.
    #[arg(long, value_name = "[NAME=]PATH", required = true)]
    pub p2ptun: Vec<String>,
    /// The path of Kubo's `ipfs`.
    #[arg(long, value_name = "PATH", hide = true)]
    pub kubo: Option<PathBuf>,
    /// The path of rathole.
    #[arg(long, value_name = "PATH", hide = true)]
    pub rathole: Option<PathBuf>,
    /// Which peers to measure beside p2ptun; all by default.
    #[arg(long, value_name = "PEER,…", value_delimiter = ',')]
    pub peers: Vec<String>,
    /// What to measure; all by default.
    #[arg(long, value_name = "MEASURE,…", value_delimiter = ',')]
    pub only: Vec<String>,
    /// How often each is measured.
    #[arg(long, value_name = "N")]
    pub rounds: Option<usize>,
    /// Shorter and less often: for a look.
    #[arg(long)]
    pub quick: bool,
    /// The congestion control of TCP at both ends of the line.
    #[arg(long, value_name = "NAME", default_value = CONGESTION)]
    pub congestion: String,
    /// Writes NAME.md and NAME.svg. A full run writes into benches/results by default; what is less than that goes to
    /// standard output.
    #[arg(long, value_name = "NAME")]
    pub write: Option<PathBuf>,
}

/// What clap fills in where nothing was asked for.
const CONGESTION: &str = "cubic";

impl Arguments {
    /// Those of this process. A wrong one ends it, with a message.
    pub fn of(setting: &Setting) -> Result<Self> {
        let command = <Self as CommandFactory>::command().name(setting.command).bin_name(setting.command);
        let command = command.mut_arg("congestion", |argument| argument.hide(!setting.has_line));
        let arguments = Self::from_arg_matches(&command.get_matches())?;
        ensure!(
            setting.has_line || arguments.congestion == CONGESTION,
            "--congestion needs a line, as of benches/wan.sh"
        );
        Ok(arguments)
    }

    /// The command line, without the paths that only mean something here.
    pub fn command_line(&self, setting: &Setting) -> String {
        let mut words = vec![setting.command.to_owned()];
        words.extend(self.quick.then(|| "--quick".to_owned()));
        words.extend(self.rounds.map(|rounds| format!("--rounds {rounds}")));
        if !self.only.is_empty() {
            words.push(format!("--only {}", self.only.join(",")));
        }
        let builds: Vec<_> = self.p2ptun.iter().map(|given| build(given).0).collect();
        if builds != ["p2ptun"] {
            words.extend(builds.iter().map(|name| format!("--p2ptun {name}=…")));
        }
        if !self.peers.is_empty() && self.peers != setting.peers {
            words.push(format!("--peers {}", self.peers.join(",")));
        }
        if self.congestion != CONGESTION {
            words.push(format!("--congestion {}", self.congestion));
        }
        words.join(" ")
    }

    /// All that are to be measured, or why one can't be.
    pub fn peers(&self, setting: &Setting) -> Vec<(String, Result<Box<dyn Peer>>)> {
        let mut peers: Vec<(String, Result<Box<dyn Peer>>)> = Vec::new();
        for given in &self.p2ptun {
            let (name, path) = build(given);
            peers.push((name.to_owned(), boxed(P2ptun::at(name, path))));
        }
        let built = |path: &Option<PathBuf>| path.clone().context("it could not be built");
        let asked: Vec<_> = self.peers.iter().map(String::as_str).collect();
        let names = if asked.is_empty() { setting.peers } else { &asked };
        for name in names.iter().filter(|name| **name != "p2ptun") {
            let found = match *name {
                "stunnel" => boxed(Stunnel::find()),
                "kubo" => boxed(built(&self.kubo).and_then(|path| Kubo::at(&path))),
                "ssh" => boxed(Ssh::find()),
                "rathole" => boxed(built(&self.rathole).and_then(|path| Rathole::at(&path))),
                "haproxy" => boxed(Haproxy::find()),
                "direct" => boxed(Ok(Direct)),
                _ => Err(anyhow!("there is no such peer")),
            };
            peers.push(((*name).to_owned(), found));
        }
        peers
    }
}

/// Name and path of a p2ptun.
fn build(given: &str) -> (&str, &Path) {
    let (name, path) = given.split_once('=').unwrap_or(("p2ptun", given));
    (name, path.as_ref())
}

fn boxed<P: Peer + 'static>(peer: Result<P>) -> Result<Box<dyn Peer>> {
    peer.map(|peer| Box::new(peer) as _)
}
