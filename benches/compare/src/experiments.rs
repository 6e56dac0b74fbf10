//! What is done to a pair, and how one sample of it is taken.

mod line;

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, anyhow, bail};

use crate::{
    line::{Line, ROUND_TRIP},
    load::{
        bulk::{Bulk, Direction},
        crowd::{self, Idlers},
        http::{Nginx, Wrk},
        latency, service,
    },
    measures::Measure,
    peers::{Pair, Peer},
    place::Place,
    procfs,
    service_manager::Manager,
    statistics,
};

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    pub warm_up: Duration,
    pub window: Duration,
    pub connections: usize,
    pub pings: usize,
    /// For what does almost nothing.
    pub idle: Duration,
}

impl Effort {
    pub fn full() -> Self {
        Self {
            warm_up: Duration::from_millis(300),
            window: Duration::from_millis(1500),
            connections: 60,
            pings: 3000,
            // Longer than the 15 s after which libp2p pings.
            idle: Duration::from_secs(16),
        }
    }

    /// For a path that one round trip takes 40 ms on. The first second is slow start's.
    pub fn far() -> Self {
        Self {
            warm_up: Duration::from_secs(1),
            window: Duration::from_secs(4),
            connections: 20,
            pings: 25,
            idle: Duration::ZERO,
        }
    }

    pub fn far_quick() -> Self {
        Self { window: Duration::from_secs(2), connections: 10, pings: 10, ..Self::far() }
    }

    pub fn quick() -> Self {
        Self {
            warm_up: Duration::from_millis(200),
            window: Duration::from_millis(700),
            connections: 20,
            pings: 1000,
            idle: Duration::from_secs(2),
        }
    }
}

/// The two machines, and what the far one serves.
pub struct Stage {
    pub near: Place,
    pub far: Place,
    service: SocketAddr,
    greeter: SocketAddr,
    /// Only if somebody asks it.
    web: Option<Result<(Nginx, Wrk), String>>,
    line: Option<Line>,
}

impl Stage {
    /// Starts the services that `experiments` need, at the far end of the line if there is one, and has this thread and
    /// all that it starts be at the near end.
    pub fn set(line: Option<Line>, experiments: &[Experiment]) -> Result<Self> {
        let places = line.as_ref().map(|line| (line.near.clone(), line.far.clone()));
        let (near, far) = places.unwrap_or((Place::loopback(), Place::loopback()));
        let (service, greeter) = service::start(&far)?;
        let asks_the_web = experiments.iter().any(|experiment| experiment.asks_the_web());
        let start_web = || Nginx::start(&far).and_then(|nginx| Ok((nginx, Wrk::find(&near)?)));
        let web = asks_the_web.then(|| start_web().map_err(|error| format!("{error:#}")));
        near.enter()?;
        Ok(Self { near, far, service, greeter, web, line })
    }

    /// Starts a pair with tunnels to all of the services, and waits until it works.
    pub fn start(&self, peer: &dyn Peer) -> Result<Pair> {
        let mut targets = vec![self.service, self.greeter];
        if let Some(Ok((nginx, _))) = &self.web {
            targets.push(nginx.address);
        }
        self.start_to(peer, &targets)
    }

    fn start_to(&self, peer: &dyn Peer, targets: &[SocketAddr]) -> Result<Pair> {
        let mut pair = peer.start(&self.near, &self.far, targets)?;
        pair.wait_until_it_echoes(0)?;
        Ok(pair)
    }

    /// Why there are no figures of HTTP, if that is so.
    pub fn no_web(&self) -> Option<&str> {
        self.web.as_ref()?.as_ref().err().map(String::as_str)
    }

    fn line(&self) -> Option<&Line> {
        self.line.as_ref()
    }
}

/// One way of putting load on a pair. May yield several quantities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Experiment {
    Bulk1,
    Bulk8,
    Duplex,
    Fresh,
    Greeting,
    PingPong,
    PingPongBeside,
    Http,
    HttpClose,
    Rate,
    Burst,
    BurstHalfClose,
    Memory1000,
    Memory4000,
    Idle,
    Start,
    Reload,
    LineOne,
    LineCrowded,
    LineSlow,
    LineLossyOne,
    LineLossyEight,
    LineFresh,
    LineGreeting,
    LinePingPong,
    LinePingPongBeside,
}

impl Experiment {
    /// Those for a client and a service on one machine.
    pub const LOOPBACK: [Self; 17] = [
        Self::Bulk1,
        Self::Bulk8,
        Self::Duplex,
        Self::Fresh,
        Self::Greeting,
        Self::PingPong,
        Self::PingPongBeside,
        Self::Http,
        Self::HttpClose,
        Self::Rate,
        Self::Burst,
        Self::BurstHalfClose,
        Self::Memory1000,
        Self::Memory4000,
        Self::Idle,
        Self::Start,
        Self::Reload,
    ];

    /// Those for two machines with a line between them.
    pub const WAN: [Self; 15] = [
        Self::LineOne,
        Self::LineCrowded,
        Self::LineSlow,
        Self::LineLossyOne,
        Self::LineLossyEight,
        Self::LineFresh,
        Self::LineGreeting,
        Self::LinePingPong,
        Self::LinePingPongBeside,
        Self::Duplex,
        Self::Http,
        Self::HttpClose,
        Self::Rate,
        Self::Burst,
        Self::BurstHalfClose,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Bulk1 => "bulk1",
            Self::Bulk8 => "bulk8",
            Self::Duplex => "duplex",
            Self::Fresh => "fresh",
            Self::Greeting => "greeting",
            Self::PingPong => "pingpong",
            Self::PingPongBeside => "beside",
            Self::Http => "http",
            Self::HttpClose => "httpclose",
            Self::Rate => "rate",
            Self::Burst => "burst",
            Self::BurstHalfClose => "bursthalfclose",
            Self::Memory1000 => "memory1000",
            Self::Memory4000 => "memory4000",
            Self::Idle => "idle",
            Self::Start => "start",
            Self::Reload => "reload",
            Self::LineOne => "bulk1",
            Self::LineCrowded => "crowded1",
            Self::LineSlow => "slow8",
            Self::LineLossyOne => "lossy1",
            Self::LineLossyEight => "lossy8",
            Self::LineFresh => "fresh",
            Self::LineGreeting => "greeting",
            Self::LinePingPong => "pingpong",
            Self::LinePingPongBeside => "beside",
        }
    }

    pub fn named(name: &str, among: &[Self]) -> Result<Self> {
        match among.iter().find(|experiment| experiment.name() == name) {
            Some(experiment) => Ok(*experiment),
            None => bail!("no measure is called {name}; there are {}", Self::names(among)),
        }
    }

    /// Whether each sample takes daemons that have done nothing yet, while no others run.
    pub fn starts_anew(self) -> bool {
        matches!(self, Self::Memory1000 | Self::Memory4000 | Self::Idle | Self::Start | Self::Reload)
    }

    /// As in a list that is told to people.
    pub fn names(of: &[Self]) -> String {
        of.iter().map(|experiment| experiment.name()).collect::<Vec<_>>().join(", ")
    }

    /// Whether it may leave a pair other than it was before: some peers lose a part of a burst, and a connection between
    /// daemons remembers for long that packets were lost.
    pub fn leaves_traces(self) -> bool {
        use Experiment::*;
        matches!(self, Burst | BurstHalfClose | LineCrowded | LineSlow | LineLossyOne | LineLossyEight)
    }

    fn asks_the_web(self) -> bool {
        matches!(self, Self::Http | Self::HttpClose)
    }

    /// Why it makes no sense for a peer, if it doesn't.
    pub fn excludes(self, peer: &dyn Peer) -> Option<&'static str> {
        match self {
            Self::Memory1000 | Self::Memory4000 | Self::Idle if peer.name() == "direct" => Some("needs a daemon"),
            Self::Start | Self::Reload if peer.as_p2ptun().is_none() => Some("needs one who tells when it is done"),
            _ => None,
        }
    }

    /// Takes a sample of each of its quantities from a pair of [`Stage::start`].
    pub fn sample(self, stage: &Stage, pair: &mut Pair, effort: &Effort) -> Result<Vec<(Measure, f64)>> {
        let (service, greeter) = (pair.entrances[0], pair.entrances[1]);
        pair.settle()?;
        if stage.line().is_some() {
            // What others have left on the wire arrives.
            std::thread::sleep(ROUND_TRIP * 5);
        }
        let samples = match self {
            Self::Bulk1 => {
                bulk(pair, effort, 1, Direction::Down, [Measure::Throughput1, Measure::Cpu1, Measure::Spare1])?
            }
            Self::Bulk8 => {
                bulk(pair, effort, 8, Direction::Down, [Measure::Throughput8, Measure::Cpu8, Measure::Spare8])?
            }
            Self::Duplex => {
                let of = [Measure::BothWays, Measure::CpuBothWays, Measure::SpareBothWays];
                bulk(pair, effort, 1, Direction::Both, of)?
            }
            Self::Fresh => vec![(Measure::Fresh, repeated(effort, || latency::fresh(service))?)],
            Self::Greeting => vec![(Measure::Greeting, repeated(effort, || latency::greeting(greeter))?)],
            Self::PingPong => vec![(Measure::PingPong, median_of(latency::ping_pong(service, effort.pings)?))],
            Self::PingPongBeside => {
                let download = Bulk::start(service, 1, Direction::Down)?;
                vec![(Measure::PingPongBeside, beside(&download, service, effort)?)]
            }
            Self::Http => http(stage, pair, effort, true, [Measure::HttpKeepAlive, Measure::HttpKeepAliveLost])?,
            Self::HttpClose => http(stage, pair, effort, false, [Measure::HttpClose, Measure::HttpCloseLost])?,
            Self::Rate => vec![(Measure::Rate, crowd::rate(service, 16, effort.window)?)],
            Self::Burst => burst(service, false, [Measure::Burst, Measure::BurstLost])?,
            Self::BurstHalfClose => burst(service, true, [Measure::BurstHalfClose, Measure::BurstHalfCloseLost])?,
            Self::Memory1000 | Self::Memory4000 | Self::Idle | Self::Start | Self::Reload => {
                bail!("{} takes daemons of its own", self.name())
            }
            _ => line::sample(self, stage, pair, effort)?,
        };
        pair.check()?;
        Ok(samples)
    }

    /// Takes a sample of each of its quantities from daemons that are started for it.
    pub fn sample_anew(self, stage: &Stage, peer: &dyn Peer, effort: &Effort) -> Result<Vec<(Measure, f64)>> {
        let p2ptun = || peer.as_p2ptun().with_context(|| format!("{} is not p2ptun", peer.name()));
        Ok(match self {
            Self::Memory1000 => vec![(Measure::Memory1000, memory(stage, peer, 1000)?)],
            Self::Memory4000 => vec![(Measure::Memory4000, memory(stage, peer, 4000)?)],
            Self::Idle => idle(stage, peer, effort)?,
            Self::Start => {
                let mut samples = Vec::new();
                for (number, measure) in [(1, Measure::Start1), (100, Measure::Start100), (1000, Measure::Start1000)] {
                    samples.push((measure, milliseconds(Manager::start(p2ptun()?, &stage.near, number)?.took)));
                }
                samples
            }
            Self::Reload => {
                let mut manager = Manager::start(p2ptun()?, &stage.near, 1000)?;
                let took: Vec<_> = (0..5).map(|_| manager.reload(&stage.near)).collect::<Result<_>>()?;
                vec![(Measure::Reload, median_of(took))]
            }
            _ => bail!("{} takes a pair that runs", self.name()),
        })
    }
}

fn bulk(
    pair: &Pair,
    effort: &Effort,
    connections: usize,
    direction: Direction,
    of: [Measure; 3],
) -> Result<Vec<(Measure, f64)>> {
    let bulk = Bulk::start(pair.entrances[0], connections, direction)?;
    let flow = bulk.measure(effort.warm_up, effort.window, || pair.cpu_time())?;
    let mut samples = vec![(of[0], flow.bits_per_second / 1e9), (of[2], flow.idle_percent)];
    if !pair.daemons.is_empty() {
        samples.push((of[1], flow.cpu_seconds_per_gib));
    }
    Ok(samples)
}

/// The median of ping-pongs while another connection downloads, in milliseconds.
fn beside(download: &Bulk, entrance: SocketAddr, effort: &Effort) -> Result<f64> {
    std::thread::sleep(effort.warm_up);
    let pings = download.while_it_flows(|| latency::ping_pong(entrance, effort.pings))?;
    Ok(median_of(pings))
}

fn http(
    stage: &Stage,
    pair: &Pair,
    effort: &Effort,
    keep_alive: bool,
    of: [Measure; 2],
) -> Result<Vec<(Measure, f64)>> {
    let web = stage.web.as_ref().context("there is no web server")?;
    let (_, wrk) = web.as_ref().map_err(|error| anyhow!("{error}"))?;
    let entrance = *pair.entrances.get(2).context("no tunnel leads to the web server")?;
    let answers = wrk.ask(&stage.near, entrance, keep_alive, effort.window)?;
    Ok(vec![(of[0], answers.per_second), (of[1], answers.lost as f64)])
}

fn burst(service: SocketAddr, half_close: bool, of: [Measure; 2]) -> Result<Vec<(Measure, f64)>> {
    let burst = crowd::burst(service, 1000, half_close)?;
    Ok(vec![(of[0], milliseconds(burst.took)), (of[1], burst.lost as f64)])
}

/// What each open connection adds, in KiB, to the daemon that grows more.
fn memory(stage: &Stage, peer: &dyn Peer, connections: usize) -> Result<f64> {
    let pair = stage.start(peer)?;
    pair.settle()?;
    let resident = || pair.daemons.iter().map(|daemon| procfs::resident(daemon.pid()));
    let before: Vec<_> = resident().collect();
    let mut idlers = Idlers::new(pair.entrances[0])?;
    idlers.grow(connections)?;
    pair.settle()?;
    let grown = resident().zip(before).map(|(after, before)| after.saturating_sub(before)).max();
    Ok(grown.unwrap_or(0) as f64 / connections as f64 / 1024.0)
}

/// Of the daemon that takes more.
fn idle(stage: &Stage, peer: &dyn Peer, effort: &Effort) -> Result<Vec<(Measure, f64)>> {
    let pair = stage.start_to(peer, &[stage.service; 100])?;
    pair.settle()?;
    std::thread::sleep(Duration::from_secs(1));
    let run_time = || pair.daemons.iter().map(|daemon| procfs::run_time(daemon.pid()));
    let before: Vec<_> = run_time().collect();
    std::thread::sleep(effort.idle);
    let busy = run_time().zip(before).map(|(after, before)| after.saturating_sub(before)).max().unwrap_or_default();
    Ok(vec![
        (Measure::IdleMemory, pair.resident() as f64 / f64::from(1 << 20)),
        (Measure::IdleCpu, 100.0 * busy.as_secs_f64() / effort.idle.as_secs_f64()),
    ])
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
    statistics::median(&took.into_iter().map(milliseconds).collect::<Vec<_>>()).unwrap_or(f64::NAN)
}

fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}
