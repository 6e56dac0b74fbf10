//! `benches/compare.sh` builds and finds what this is given, and starts it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, iter,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use p2ptun_compare::{
    experiments::{Effort, Experiment, Stage},
    machine::{self, Machine},
    peers::{Direct, Haproxy, Kubo, P2ptun, Pair, Peer, Rathole, Ssh, Stunnel},
    place::Place,
    plot,
    report::{self, Circumstances},
    results::Results,
};

/// Measures p2ptun and its peers on loopback, by turns, in one run.
#[derive(Parser)]
#[command(name = "benches/compare.sh")]
struct Arguments {
    /// A p2ptun to measure; may be given several times, to compare builds. The first is the one that targets apply to.
    #[arg(long, value_name = "[NAME=]PATH", required = true)]
    p2ptun: Vec<String>,
    /// The path of Kubo's `ipfs`.
    #[arg(long, value_name = "PATH", hide = true)]
    kubo: Option<PathBuf>,
    /// The path of rathole.
    #[arg(long, value_name = "PATH", hide = true)]
    rathole: Option<PathBuf>,
    /// Which peers to measure beside p2ptun; all by default.
    #[arg(
        long,
        value_name = "PEER,…",
        value_delimiter = ',',
        default_value = "stunnel,kubo,ssh,rathole,haproxy,direct"
    )]
    peers: Vec<String>,
    /// What to measure; all by default.
    #[arg(long, value_name = "MEASURE,…", value_delimiter = ',')]
    only: Vec<String>,
    /// How often each is measured.
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Shorter and less often: for a look.
    #[arg(long)]
    quick: bool,
    /// Writes NAME.md and NAME.svg. A full run writes benches/results/loopback by default; what is less than that goes to
    /// standard output.
    #[arg(long, value_name = "NAME")]
    write: Option<PathBuf>,
}

const COMMAND: &str = "benches/compare.sh";

/// How often at most what starts daemons of its own is measured: that is slow, and steady.
const ANEW: usize = 3;

/// After how many failures something is no longer tried. Each may take as long as the longest timeout.
const GIVE_UP: usize = 2;

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let experiments = match arguments.only.as_slice() {
        [] => Experiment::ALL.to_vec(),
        names => names.iter().map(|name| Experiment::named(name)).collect::<Result<_>>()?,
    };
    let (effort, rounds) = if arguments.quick { (Effort::quick(), 1) } else { (Effort::full(), 5) };
    let rounds = arguments.rounds.unwrap_or(rounds);
    ensure!(rounds > 0, "no rounds, no figures");
    let candidates = peers(&arguments);
    let mut names = BTreeSet::new();
    for (name, _) in &candidates {
        ensure!(
            names.insert(name),
            "two peers are called {name}: give builds names of their own, as in --p2ptun old=PATH"
        );
    }

    let mut run = Run { stage: Stage::set(Place::loopback(), Place::loopback())?, effort, results: Results::default() };
    if let Some(error) = run.stage.no_web() {
        run.results.failures.push(told(format!("HTTP: {error}")));
    }
    let peers = run.found(candidates);
    let (anew, mut steady): (Vec<_>, Vec<_>) = experiments.into_iter().partition(|experiment| experiment.starts_anew());
    // Pairs of their own for these: some peers are not the same after a burst that they lost part of.
    let bursts: Vec<_> = steady.extract_if(.., |experiment| experiment.is_burst()).collect();
    let mut peers = peers;
    for phase in iter::once(steady.as_slice()).chain(bursts.chunks(1)).filter(|phase| !phase.is_empty()) {
        peers = run.by_turns(peers, phase, rounds);
    }
    run.anew(&peers, &anew, rounds.min(ANEW));

    let mut columns = Vec::new();
    for peer in &peers {
        columns.push((peer.name().to_owned(), peer.description()?));
    }
    let own = peers.iter().take_while(|peer| peer.as_p2ptun().is_some()).count();
    let circumstances = Circumstances {
        machine: Machine::here(),
        date: machine::date(),
        commit: machine::commit(Path::new(env!("CARGO_MANIFEST_DIR"))),
        command: command(&arguments),
        rounds,
        peers: columns,
    };
    write(&arguments, &run.results, &circumstances, own)?;
    eprintln!("{}", report::summary(&run.results, &circumstances));
    for failure in &run.results.failures {
        eprintln!("NOT MEASURED: {failure}");
    }
    Ok(if run.results.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn names(experiments: &[Experiment]) -> String {
    experiments.iter().map(|experiment| experiment.name()).collect::<Vec<_>>().join(", ")
}

/// Says at once what is missing, and returns it to be kept.
fn told(failure: String) -> String {
    eprintln!("NOT MEASURED: {failure}");
    failure
}

struct Run {
    stage: Stage,
    effort: Effort,
    results: Results,
}

impl Run {
    /// Keeps the peers that are there.
    fn found(&mut self, peers: Vec<(String, Result<Box<dyn Peer>>)>) -> Vec<Box<dyn Peer>> {
        let mut found = Vec::new();
        for (name, peer) in peers {
            match peer {
                Ok(peer) => found.push(peer),
                Err(error) => self.results.failures.push(told(format!("{name}: {error:#}"))),
            }
        }
        found
    }

    /// Measures pairs that all run at once, one at a time. Returns the peers that could be started.
    fn by_turns(&mut self, peers: Vec<Box<dyn Peer>>, experiments: &[Experiment], rounds: usize) -> Vec<Box<dyn Peer>> {
        let order: Vec<_> = peers.iter().map(|peer| peer.name().to_owned()).collect();
        let mut running: Vec<(Box<dyn Peer>, Pair)> = Vec::new();
        for peer in peers {
            match self.stage.start(&*peer) {
                Ok(pair) => running.push((peer, pair)),
                Err(error) => self.results.failures.push(told(format!("{}: {error:#}", peer.name()))),
            }
        }
        let mut failed: BTreeMap<(Experiment, String), usize> = BTreeMap::new();
        // The first round only warms up.
        for round in 0..=rounds {
            for experiment in experiments {
                // Whoever comes first follows another experiment, not another peer: each in turn.
                running.rotate_left(1);
                for (peer, pair) in &mut running {
                    let failures = failed.entry((*experiment, peer.name().to_owned())).or_default();
                    if self.excluded(*experiment, &**peer) || *failures >= GIVE_UP {
                        continue;
                    }
                    let samples = experiment.sample(&self.stage, pair, &self.effort);
                    *failures += usize::from(samples.is_err());
                    self.keep(*experiment, &**peer, samples, round > 0);
                }
            }
            eprintln!("round {round} of {rounds}: {}", names(experiments));
        }
        let mut peers: Vec<_> = running.into_iter().map(|(peer, _)| peer).collect();
        peers.sort_by_key(|peer| order.iter().position(|name| name == peer.name()));
        peers
    }

    /// Measures what takes daemons of its own, while no others run.
    fn anew(&mut self, peers: &[Box<dyn Peer>], experiments: &[Experiment], rounds: usize) {
        for experiment in experiments {
            eprintln!("{}", experiment.name());
            let mut left: Vec<_> = peers.iter().collect();
            left.retain(|peer| !self.excluded(*experiment, &***peer));
            for _ in 0..rounds {
                left.retain(|peer| {
                    let samples = experiment.sample_anew(&self.stage, &***peer, &self.effort);
                    let is_ok = samples.is_ok();
                    self.keep(*experiment, &***peer, samples, true);
                    is_ok
                });
            }
        }
    }

    fn excluded(&mut self, experiment: Experiment, peer: &dyn Peer) -> bool {
        let Some(reason) = experiment.excludes(peer) else { return false };
        let peers = self.results.exclusions.entry(format!("{} {reason}", experiment.name())).or_default();
        if !peers.iter().any(|excluded| excluded == peer.name()) {
            peers.push(peer.name().to_owned());
        }
        true
    }

    fn keep(
        &mut self,
        experiment: Experiment,
        peer: &dyn Peer,
        samples: Result<Vec<(p2ptun_compare::measures::Measure, f64)>>,
        counts: bool,
    ) {
        match samples {
            Ok(samples) if counts => {
                for (measure, sample) in samples {
                    self.results.add(measure, peer.name(), sample);
                }
            }
            Ok(_) => {}
            Err(error) => {
                let failure = told(format!("{} of {}: {error:#}", experiment.name(), peer.name()));
                let is_own = peer.as_p2ptun().is_some();
                if is_own { &mut self.results.failures } else { &mut self.results.inabilities }.push(failure);
            }
        }
    }
}

fn write(arguments: &Arguments, results: &Results, of: &Circumstances, own: usize) -> Result<()> {
    let is_full = command(arguments) == COMMAND;
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results/loopback");
    let Some(name) = arguments.write.as_ref().or(is_full.then_some(&usual)) else {
        println!("{}", report::markdown(results, of, None));
        return Ok(());
    };
    let (text, picture) = (name.with_extension("md"), name.with_extension("svg"));
    if let Some(folder) = name.parent() {
        fs::create_dir_all(folder)?;
    }
    let plot = picture.file_name().context("--write names a folder")?.to_string_lossy().into_owned();
    fs::write(&text, report::markdown(results, of, Some(&plot)))?;
    let names: Vec<_> = of.peers.iter().map(|(name, _)| name.clone()).collect();
    let caption = format!("{}, {} cores; {}; commit {}", of.machine.cpu, of.machine.cores, of.date, of.commit);
    plot::svg(&picture, results, &names, own, &caption)?;
    eprintln!("wrote {} and {}", text.display(), picture.display());
    Ok(())
}

/// The command line, without the paths that only mean something here.
fn command(arguments: &Arguments) -> String {
    let mut words = vec![COMMAND.to_owned()];
    words.extend(arguments.quick.then(|| "--quick".to_owned()));
    words.extend(arguments.rounds.map(|rounds| format!("--rounds {rounds}")));
    if !arguments.only.is_empty() {
        words.push(format!("--only {}", arguments.only.join(",")));
    }
    let builds: Vec<_> = arguments.p2ptun.iter().map(|given| build(given).0).collect();
    if builds != ["p2ptun"] {
        words.extend(builds.iter().map(|name| format!("--p2ptun {name}=…")));
    }
    let peers = arguments.peers.join(",");
    if peers != "stunnel,kubo,ssh,rathole,haproxy,direct" {
        words.push(format!("--peers {peers}"));
    }
    words.join(" ")
}

/// Name and path of a p2ptun.
fn build(given: &str) -> (&str, &Path) {
    let (name, path) = given.split_once('=').unwrap_or(("p2ptun", given));
    (name, path.as_ref())
}

/// All that are to be measured, or why one can't be.
fn peers(arguments: &Arguments) -> Vec<(String, Result<Box<dyn Peer>>)> {
    let mut peers: Vec<(String, Result<Box<dyn Peer>>)> = Vec::new();
    for given in &arguments.p2ptun {
        let (name, path) = build(given);
        peers.push((name.to_owned(), boxed(P2ptun::at(name, path))));
    }
    let built = |path: &Option<PathBuf>| path.clone().context("it could not be built");
    for name in arguments.peers.iter().filter(|name| *name != "p2ptun") {
        let found = match name.as_str() {
            "stunnel" => boxed(Stunnel::find()),
            "kubo" => boxed(built(&arguments.kubo).and_then(|path| Kubo::at(&path))),
            "ssh" => boxed(Ssh::find()),
            "rathole" => boxed(built(&arguments.rathole).and_then(|path| Rathole::at(&path))),
            "haproxy" => boxed(Haproxy::find()),
            "direct" => boxed(Ok(Direct)),
            _ => Err(anyhow!("there is no such peer")),
        };
        peers.push((name.clone(), found));
    }
    peers
}

fn boxed<P: Peer + 'static>(peer: Result<P>) -> Result<Box<dyn Peer>> {
    peer.map(|peer| Box::new(peer) as _)
}
