//! What is done to a pair whose daemons are far from each other.

use std::{thread, time::Duration};

use anyhow::{Context, Result, bail};

use super::{Effort, Experiment, Stage, beside, median_of, repeated};
use crate::{
    line::{Line, ROUND_TRIP},
    load::{
        bulk::{Bulk, Direction, Flow},
        crowd::Idlers,
        latency,
    },
    measures::Measure,
    peers::Pair,
    wire::Condition,
};

/// Bits a second of the slow line, and what fits into its buffer: as much as is on its way in a round trip.
const SLOW: Condition = Condition { rate: Some(400_000_000), buffer: 2_000_000, loss: 0.0 };
const LOSSY: Condition = Condition { loss: 0.01, ..Condition::CALM };
/// How many others are open.
const CROWD: usize = 2000;

/// Takes a sample of each of its quantities.
pub fn sample(experiment: Experiment, stage: &Stage, pair: &Pair, effort: &Effort) -> Result<Vec<(Measure, f64)>> {
    let line = stage.line().context("no line has been laid")?;
    let entrance = pair.entrances[0];
    let megabits = |flow: Flow| flow.bits_per_second / 1e6;
    let with_cpu = |flow: Flow, of: [Measure; 2]| {
        let cpu = (!pair.daemons.is_empty()).then_some((of[1], flow.cpu_seconds_per_gib));
        [(of[0], megabits(flow))].into_iter().chain(cpu).collect()
    };
    let round_trips = |milliseconds: f64| milliseconds / (ROUND_TRIP.as_secs_f64() * 1e3);
    let bulk = |connections, condition| {
        under_load(line, pair, connections, condition, |bulk| {
            bulk.measure(effort.warm_up, effort.window, || pair.cpu_time())
        })
    };
    Ok(match experiment {
        Experiment::LineOne => with_cpu(bulk(1, Condition::CALM)?, [Measure::LineOne, Measure::Cpu1]),
        Experiment::LineCrowded => {
            let mut others = Idlers::new(entrance)?;
            others.grow(CROWD)?;
            pair.settle()?;
            vec![(Measure::LineCrowded, megabits(bulk(1, Condition::CALM)?))]
        }
        Experiment::LineSlow => with_cpu(bulk(8, SLOW)?, [Measure::LineSlow, Measure::LineSlowCpu]),
        Experiment::LineLossyOne => vec![(Measure::LineLossyOne, megabits(bulk(1, LOSSY)?))],
        Experiment::LineLossyEight => vec![(Measure::LineLossyEight, megabits(bulk(8, LOSSY)?))],
        Experiment::LineFresh => {
            vec![(Measure::LineFresh, round_trips(repeated(effort, || latency::fresh(entrance))?))]
        }
        Experiment::LineGreeting => {
            vec![(Measure::LineGreeting, round_trips(repeated(effort, || latency::greeting(pair.entrances[1]))?))]
        }
        Experiment::LinePingPong => {
            vec![(Measure::LinePingPong, round_trips(median_of(latency::ping_pong(entrance, effort.pings)?)))]
        }
        Experiment::LinePingPongBeside => {
            let pings = under_load(line, pair, 1, Condition::CALM, |download| beside(download, entrance, effort))?;
            vec![(Measure::LinePingPongBeside, round_trips(pings))]
        }
        _ => bail!("{} takes no line", experiment.name()),
    })
}

/// How often a sample is taken anew because something else on the machine has spoilt it.
const ATTEMPTS: usize = 3;

/// What `act` finds while that many connections download.
fn under_load<T>(
    line: &Line,
    pair: &Pair,
    connections: usize,
    condition: Condition,
    act: impl Fn(&Bulk) -> Result<T>,
) -> Result<T> {
    for _ in 0..ATTEMPTS {
        while line.is_short_of_memory()? {
            thread::sleep(Duration::from_secs(1));
        }
        let _spell = line.under(condition)?;
        let before = line.dropped()?;
        let bulk = Bulk::start(pair.entrances[0], connections, Direction::Down)?;
        let found = act(&bulk)?;
        let dropped = line.dropped()? - before;
        let may_drop = condition == SLOW;
        if (may_drop || dropped == 0) && !line.is_short_of_memory()? {
            return Ok(found);
        }
        eprintln!("once more: {dropped} packets were dropped, or something on this machine left TCP too little memory");
    }
    bail!("this machine is too busy with something else")
}
