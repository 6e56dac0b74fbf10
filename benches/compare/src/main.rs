//! `benches/compare.sh` builds and finds what this is given, and starts it.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use p2ptun_compare::{
    experiments::{Effort, Experiment},
    load::service,
    peers::{Direct, Haproxy, Kubo, P2ptun, Pair, Peer, Rathole, Ssh, Stunnel},
    place::Place,
    results::Results,
};

/// Measures p2ptun and its peers on loopback, by turns, in one run.
#[derive(Parser)]
struct Arguments {
    /// A p2ptun to measure; may be given several times, to compare builds. The first is the one that targets apply to.
    #[arg(long, value_name = "[NAME=]PATH", required = true)]
    p2ptun: Vec<String>,
    /// The path of Kubo's `ipfs`.
    #[arg(long, value_name = "PATH")]
    kubo: Option<PathBuf>,
    /// The path of rathole.
    #[arg(long, value_name = "PATH")]
    rathole: Option<PathBuf>,
    /// Which peers to measure beside p2ptun; all by default.
    #[arg(long, value_delimiter = ',', default_value = "stunnel,kubo,ssh,rathole,haproxy,direct")]
    peers: Vec<String>,
    /// What to measure; all by default.
    #[arg(long, value_name = "MEASURE,…", value_delimiter = ',')]
    only: Vec<String>,
    /// How often each is measured.
    #[arg(long)]
    rounds: Option<usize>,
    /// Shorter and less often: for a look.
    #[arg(long)]
    quick: bool,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let experiments = match arguments.only.as_slice() {
        [] => Experiment::ALL.to_vec(),
        names => names.iter().map(|name| Experiment::named(name)).collect::<Result<_>>()?,
    };
    let (effort, rounds) = if arguments.quick { (Effort::quick(), 3) } else { (Effort::full(), 7) };
    let rounds = arguments.rounds.unwrap_or(rounds);
    ensure!(rounds > 0, "no rounds, no figures");

    let mut results = Results::default();
    let (service, greeter) = service::start(Place::loopback().address)?;
    let mut running: Vec<(Box<dyn Peer>, Pair)> = Vec::new();
    for (name, found) in peers(&arguments) {
        let started = found.and_then(|peer| {
            eprintln!("starting {name}");
            let here = Place::loopback();
            let mut pair = peer.start(&here, &here, &[service, greeter])?;
            pair.wait_until_it_echoes(0)?;
            Ok((peer, pair))
        });
        match started {
            Ok(started) => running.push(started),
            Err(error) => {
                eprintln!("NOT MEASURED {name}: {error:#}");
                results.failures.push(format!("{name} is not measured: {error:#}"));
            }
        }
    }
    for round in 0..=rounds {
        for experiment in &experiments {
            for (peer, pair) in &mut running {
                let name = peer.name().to_owned();
                match experiment.sample(pair, &effort) {
                    // The first round only warms up.
                    Ok(_) if round == 0 => {}
                    Ok(samples) => samples.iter().for_each(|(measure, sample)| results.add(*measure, &name, *sample)),
                    Err(error) => {
                        eprintln!("FAILED {} through {name}: {error:#}", experiment.name());
                        results
                            .failures
                            .push(format!("{} through {name}, round {round}: {error:#}", experiment.name()));
                    }
                }
            }
        }
        eprintln!("round {round} of {rounds}");
    }
    let names: Vec<_> = running.iter().map(|(peer, _)| peer.name().to_owned()).collect();
    println!("{}", results.table(&names));
    for (peer, _) in &running {
        println!("- {}: {}", peer.name(), peer.description()?);
    }
    for failure in &results.failures {
        println!("- **{failure}**");
    }
    Ok(if results.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// All that are to be measured, or why one can't be.
fn peers(arguments: &Arguments) -> Vec<(String, Result<Box<dyn Peer>>)> {
    let boxed = |peer: Result<Box<dyn Peer>>| peer;
    let mut peers: Vec<(String, Result<Box<dyn Peer>>)> = Vec::new();
    for given in &arguments.p2ptun {
        let (name, path) = given.split_once('=').unwrap_or(("p2ptun", given));
        peers.push((name.to_owned(), P2ptun::at(name, path.as_ref()).map(|peer| Box::new(peer) as _)));
    }
    for name in &arguments.peers {
        let found = match name.as_str() {
            "p2ptun" => continue,
            "stunnel" => Stunnel::find().map(|peer| Box::new(peer) as _),
            "ssh" => Ssh::find().map(|peer| Box::new(peer) as _),
            "haproxy" => Haproxy::find().map(|peer| Box::new(peer) as _),
            "direct" => Ok(Box::new(Direct) as _),
            "kubo" => arguments
                .kubo
                .as_ref()
                .context("no --kubo")
                .and_then(|path| Kubo::at(path))
                .map(|peer| Box::new(peer) as _),
            "rathole" => arguments
                .rathole
                .as_ref()
                .context("no --rathole")
                .and_then(|path| Rathole::at(path))
                .map(|peer| Box::new(peer) as _),
            other => Err(anyhow::anyhow!("no peer is called {other}")),
        };
        peers.push((name.clone(), boxed(found)));
    }
    peers
}
