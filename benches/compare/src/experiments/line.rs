//! What is done to a pair whose daemons are far from each other.

use std::{thread, time::Duration};

use anyhow::{Context, Result, bail};

use super::{Effort, Experiment, Stage, median_of, repeated};
use crate::{
    line::{Line, ROUND_TRIP},
    load::{
        bulk::{Bulk, Direction},
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

/// Takes one sample.
pub fn sample(experiment: Experiment, stage: &Stage, pair: &Pair, effort: &Effort) -> Result<(Measure, f64)> {
    let line = stage.line().context("no line has been laid")?;
    // What others have left on the wire arrives.
    thread::sleep(ROUND_TRIP * 5);
    let entrance = pair.entrances[0];
    let round_trips = |milliseconds: f64| milliseconds / (ROUND_TRIP.as_secs_f64() * 1e3);
    Ok(match experiment {
        Experiment::LineOne => (Measure::LineOne, bulk(line, pair, effort, 1, Condition::CALM)?),
        Experiment::LineCrowded => {
            let mut others = Idlers::new(entrance)?;
            others.grow(CROWD)?;
            pair.settle()?;
            (Measure::LineCrowded, bulk(line, pair, effort, 1, Condition::CALM)?)
        }
        Experiment::LineSlow => (Measure::LineSlow, bulk(line, pair, effort, 8, SLOW)?),
        Experiment::LineLossyOne => (Measure::LineLossyOne, bulk(line, pair, effort, 1, LOSSY)?),
        Experiment::LineLossyEight => (Measure::LineLossyEight, bulk(line, pair, effort, 8, LOSSY)?),
        Experiment::LineFresh => (Measure::LineFresh, round_trips(repeated(effort, || latency::fresh(entrance))?)),
        Experiment::LineGreeting => {
            (Measure::LineGreeting, round_trips(repeated(effort, || latency::greeting(pair.entrances[1]))?))
        }
        Experiment::LinePingPong => {
            (Measure::LinePingPong, round_trips(median_of(latency::ping_pong(entrance, effort.pings)?)))
        }
        _ => bail!("{} takes no line", experiment.name()),
    })
}

/// How often a sample is taken anew because something else on the machine has spoilt it.
const ATTEMPTS: usize = 3;

/// In Mbit/s.
fn bulk(line: &Line, pair: &Pair, effort: &Effort, connections: usize, condition: Condition) -> Result<f64> {
    for _ in 0..ATTEMPTS {
        while line.is_short_of_memory()? {
            thread::sleep(Duration::from_secs(1));
        }
        let _spell = line.under(condition)?;
        let before = line.dropped()?;
        let bulk = Bulk::start(pair.entrances[0], connections, Direction::Down)?;
        let (rate, _) = bulk.measure(effort.warm_up, effort.window, || pair.cpu_time())?;
        let dropped = line.dropped()? - before;
        let may_drop = condition == SLOW;
        if (may_drop || dropped == 0) && !line.is_short_of_memory()? {
            return Ok(rate * 8.0 / 1e6);
        }
        eprintln!("once more: {dropped} packets were dropped, or something on this machine left TCP too little memory");
    }
    bail!("this machine is too busy with something else")
}
