//! A run: who is measured, how often, and in what order.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, iter,
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{
    arguments::Arguments,
    experiments::{Effort, Experiment, Stage},
    interrupt,
    line::Line,
    machine::{self, Machine},
    measures::Measure,
    peers::{Pair, Peer},
    plot,
    procfs::Processors,
    report::{self, Circumstances, Rounds},
    results::Results,
    setting::{ROUNDS, Setting},
};

/// After how many failures something is no longer tried. Each may take as long as the longest timeout.
const GIVE_UP: usize = 2;

/// Does what the command line asks for.
pub fn run(setting: &'static Setting) -> Result<ExitCode> {
    let arguments = Arguments::of(setting)?;
    let folder = interrupt::leave_nothing_behind()?;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let experiments = match arguments.only.as_slice() {
        [] => setting.experiments.to_vec(),
        names => names.iter().map(|name| Experiment::named(name, setting.experiments)).collect::<Result<_>>()?,
    };
    let effort = match (setting.has_line, arguments.quick) {
        (false, false) => Effort::full(),
        (false, true) => Effort::quick(),
        (true, false) => Effort::far(),
        (true, true) => Effort::far_quick(),
    };
    let rounds = match arguments.rounds.or(arguments.quick.then_some(1)) {
        Some(rounds) => Rounds { running: rounds, anew: rounds },
        None => Rounds { running: setting.turns, anew: ROUNDS },
    };
    ensure!(rounds.running > 0, "no rounds, no figures");
    let candidates = arguments.peers(setting);
    let mut names = BTreeSet::new();
    for (name, _) in &candidates {
        ensure!(
            names.insert(name),
            "two peers are called {name}: give builds names of their own, as in --p2ptun old=PATH"
        );
    }

    // Now: somebody may go on working meanwhile.
    let commit = machine::commit(Path::new(env!("CARGO_MANIFEST_DIR")));
    let line = setting.has_line.then(|| Line::lay(&arguments.congestion)).transpose()?;
    let mut notes = line.iter().map(|line| line.description()).collect::<Result<Vec<_>>>()?;
    let processors = Processors::now()?;
    let mut run = Run { stage: Stage::set(line, &experiments)?, effort, results: Results::default() };
    if let Some(error) = run.stage.no_web() {
        run.results.failures.push(told(format!("HTTP: {error}")));
    }
    let peers = run.found(candidates);
    let (anew, mut steady): (Vec<_>, Vec<_>) = experiments.into_iter().partition(|experiment| experiment.starts_anew());
    // Pairs of their own for these.
    let apart: Vec<_> = steady.extract_if(.., |experiment| experiment.leaves_traces()).collect();
    let mut peers = peers;
    let phases = iter::once((steady.as_slice(), rounds.running)).chain(apart.chunks(1).map(|one| (one, rounds.anew)));
    for (phase, rounds) in phases.filter(|(phase, _)| !phase.is_empty()) {
        peers = run.by_turns(peers, phase, rounds);
    }
    run.anew(&peers, &anew, rounds.anew);
    let stolen = Processors::now()?.stolen_since(processors);
    notes.push(format!("of the processors' time in this run, the machine's host took {stolen:.1} % for others"));

    let mut columns = Vec::new();
    for peer in &peers {
        columns.push((peer.name().to_owned(), peer.description()?));
    }
    let own = peers.iter().take_while(|peer| peer.as_p2ptun().is_some()).count();
    let circumstances = Circumstances {
        setting,
        machine: Machine::here(),
        date: machine::date(),
        commit,
        command: arguments.command_line(setting),
        rounds,
        peers: columns,
        notes,
    };
    write(&arguments, &run.results, &circumstances, own)?;
    eprintln!("{}", report::summary(&run.results, &circumstances));
    for failure in &run.results.failures {
        eprintln!("NOT MEASURED: {failure}");
    }
    drop(run.stage);
    folder.close()?;
    Ok(if run.results.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
            for (nth, experiment) in experiments.iter().enumerate() {
                // Whoever comes first follows another experiment, not another peer: each in turn.
                let first = (round + nth) % running.len().max(1);
                let (last, next) = running.split_at_mut(first);
                for (peer, pair) in next.iter_mut().chain(last) {
                    let failures = failed.entry((*experiment, peer.name().to_owned())).or_default();
                    if self.excluded(*experiment, &**peer) || *failures >= GIVE_UP {
                        continue;
                    }
                    let samples = experiment.sample(&self.stage, pair, &self.effort);
                    *failures += usize::from(samples.is_err());
                    self.keep(*experiment, &**peer, samples, round > 0);
                }
            }
            eprintln!("round {round} of {rounds}: {}", Experiment::names(experiments));
        }
        running.into_iter().map(|(peer, _)| peer).collect()
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

    fn keep(&mut self, experiment: Experiment, peer: &dyn Peer, samples: Result<Vec<(Measure, f64)>>, counts: bool) {
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
    let is_full = of.command == of.setting.command;
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results").join(of.setting.results);
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
