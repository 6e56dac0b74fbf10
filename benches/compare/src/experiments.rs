//! What is measured, and how one sample of it is taken.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::{
    load::{
        bulk::{Bulk, Direction},
        latency,
    },
    peers::Pair,
    statistics,
};

/// A quantity that a row of the table shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Measure {
    Throughput1,
    Cpu1,
    Throughput8,
    Cpu8,
    BothWays,
    CpuBothWays,
    Fresh,
    Greeting,
    PingPong,
}

impl Measure {
    pub const ALL: [Self; 9] = [
        Self::Throughput1,
        Self::Cpu1,
        Self::Throughput8,
        Self::Cpu8,
        Self::BothWays,
        Self::CpuBothWays,
        Self::Fresh,
        Self::Greeting,
        Self::PingPong,
    ];

    /// What it is, with its unit.
    pub fn title(self) -> &'static str {
        match self {
            Self::Throughput1 => "throughput, 1 connection (Gbit/s)",
            Self::Cpu1 => "CPU, 1 connection (s/GiB)",
            Self::Throughput8 => "throughput, 8 connections (Gbit/s)",
            Self::Cpu8 => "CPU, 8 connections (s/GiB)",
            Self::BothWays => "both directions at once, summed (Gbit/s)",
            Self::CpuBothWays => "CPU, both directions at once (s/GiB)",
            Self::Fresh => "fresh connection, client speaks first (ms)",
            Self::Greeting => "fresh connection, server speaks first (ms)",
            Self::PingPong => "ping-pong of 64 bytes (ms)",
        }
    }

    pub fn digits(self) -> usize {
        match self {
            Self::PingPong | Self::Fresh | Self::Greeting => 3,
            _ => 2,
        }
    }
}

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    pub warm_up: Duration,
    pub window: Duration,
    pub connections: usize,
    pub pings: usize,
}

impl Effort {
    pub fn full() -> Self {
        Self { warm_up: Duration::from_millis(300), window: Duration::from_millis(1500), connections: 60, pings: 3000 }
    }

    pub fn quick() -> Self {
        Self { warm_up: Duration::from_millis(200), window: Duration::from_millis(700), connections: 20, pings: 1000 }
    }
}

/// One way of putting load on a pair. May yield several quantities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Experiment {
    Bulk1,
    Bulk8,
    Duplex,
    Fresh,
    Greeting,
    PingPong,
}

impl Experiment {
    pub const ALL: [Self; 6] = [Self::Bulk1, Self::Bulk8, Self::Duplex, Self::Fresh, Self::Greeting, Self::PingPong];

    pub fn name(self) -> &'static str {
        match self {
            Self::Bulk1 => "bulk1",
            Self::Bulk8 => "bulk8",
            Self::Duplex => "duplex",
            Self::Fresh => "fresh",
            Self::Greeting => "greeting",
            Self::PingPong => "pingpong",
        }
    }

    pub fn named(name: &str) -> Result<Self> {
        let names = Self::ALL.map(Self::name).join(", ");
        match Self::ALL.into_iter().find(|experiment| experiment.name() == name) {
            Some(experiment) => Ok(experiment),
            None => bail!("no measure is called {name}; there are {names}"),
        }
    }

    /// Takes one sample of each of its quantities.
    pub fn sample(self, pair: &mut Pair, effort: &Effort) -> Result<Vec<(Measure, f64)>> {
        let (service, greeter) = (pair.entrances[0], pair.entrances[1]);
        pair.settle()?;
        let samples = match self {
            Self::Bulk1 => bulk(pair, effort, 1, Direction::Down, [Measure::Throughput1, Measure::Cpu1])?,
            Self::Bulk8 => bulk(pair, effort, 8, Direction::Down, [Measure::Throughput8, Measure::Cpu8])?,
            Self::Duplex => bulk(pair, effort, 1, Direction::Both, [Measure::BothWays, Measure::CpuBothWays])?,
            Self::Fresh => vec![(Measure::Fresh, repeated(effort, || latency::fresh(service))?)],
            Self::Greeting => vec![(Measure::Greeting, repeated(effort, || latency::greeting(greeter))?)],
            Self::PingPong => {
                let took = latency::ping_pong(service, effort.pings)?;
                vec![(Measure::PingPong, median_of(took))]
            }
        };
        pair.check()?;
        Ok(samples)
    }
}

fn bulk(
    pair: &Pair,
    effort: &Effort,
    connections: usize,
    direction: Direction,
    of: [Measure; 2],
) -> Result<Vec<(Measure, f64)>> {
    let bulk = Bulk::start(pair.entrances[0], connections, direction)?;
    let (rate, cpu) = bulk.measure(effort.warm_up, effort.window, || pair.cpu_time())?;
    let mut samples = vec![(of[0], rate * 8.0 / 1e9)];
    if !pair.daemons.is_empty() {
        samples.push((of[1], cpu));
    }
    Ok(samples)
}

/// The median of connections that are made one after another, each when the one before has been cleared away.
fn repeated(effort: &Effort, mut one: impl FnMut() -> Result<Duration>) -> Result<f64> {
    let mut took = Vec::with_capacity(effort.connections);
    for _ in 0..effort.connections {
        took.push(one()?);
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(median_of(took))
}

/// In milliseconds.
fn median_of(took: Vec<Duration>) -> f64 {
    let took: Vec<f64> = took.iter().map(|took| took.as_secs_f64() * 1e3).collect();
    statistics::median(&took).unwrap_or(f64::NAN)
}
