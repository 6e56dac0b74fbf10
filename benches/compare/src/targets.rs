//! What p2ptun is to reach. The only place that says so.

use crate::{
    measures::{Better, Measure},
    results::Results,
};

/// What a figure of p2ptun is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Yardstick {
    /// The same measure of a peer, in the same run.
    Peer(&'static str),
    /// The same, where the CPU has AVX-512: without it, encryption alone takes too long.
    PeerWithAvx512(&'static str),
    /// Another measure of p2ptun.
    Own(Measure),
    /// A number of units.
    Units,
}

/// `measure` of p2ptun is to be at least (or at most) `factor` times the yardstick.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    pub measure: Measure,
    pub factor: f64,
    pub yardstick: Yardstick,
}

const fn peer(measure: Measure, factor: f64, peer: &'static str) -> Target {
    Target { measure, factor, yardstick: Yardstick::Peer(peer) }
}

const fn units(measure: Measure, factor: f64) -> Target {
    Target { measure, factor, yardstick: Yardstick::Units }
}

/// Over a path of 40 ms there and back, raw TCP is the limit.
pub const WAN: [Target; 5] = [
    peer(Measure::LineOne, 0.95, "direct"),
    peer(Measure::LineCrowded, 0.95, "direct"),
    peer(Measure::LineSlow, 0.95, "direct"),
    units(Measure::LineFresh, 1.2),
    units(Measure::LineGreeting, 1.2),
];

pub const LOOPBACK: [Target; 38] = [
    peer(Measure::Throughput1, 1.2, "stunnel"),
    peer(Measure::Throughput1, 1.3, "kubo"),
    peer(Measure::Throughput1, 1.4, "ssh"),
    peer(Measure::Throughput1, 1.6, "rathole"),
    Target { measure: Measure::Throughput1, factor: 0.9, yardstick: Yardstick::PeerWithAvx512("haproxy") },
    peer(Measure::Throughput8, 1.0, "stunnel"),
    peer(Measure::Throughput8, 1.2, "kubo"),
    peer(Measure::Cpu1, 1.0, "stunnel"),
    peer(Measure::Cpu1, 0.85, "kubo"),
    peer(Measure::Cpu8, 1.0, "stunnel"),
    peer(Measure::Cpu8, 0.85, "kubo"),
    Target { measure: Measure::BothWays, factor: 0.9, yardstick: Yardstick::Own(Measure::Throughput1) },
    peer(Measure::Fresh, 1.0, "ssh"),
    peer(Measure::Fresh, 1.1, "stunnel"),
    peer(Measure::Greeting, 1.0, "ssh"),
    peer(Measure::Greeting, 1.1, "stunnel"),
    peer(Measure::PingPong, 1.0, "ssh"),
    peer(Measure::PingPong, 1.1, "stunnel"),
    peer(Measure::HttpKeepAlive, 1.0, "ssh"),
    peer(Measure::HttpKeepAlive, 1.0, "rathole"),
    peer(Measure::HttpKeepAlive, 1.0, "kubo"),
    peer(Measure::HttpClose, 1.0, "ssh"),
    peer(Measure::HttpClose, 1.0, "rathole"),
    peer(Measure::HttpClose, 1.0, "kubo"),
    units(Measure::HttpKeepAliveLost, 0.0),
    units(Measure::HttpCloseLost, 0.0),
    peer(Measure::Burst, 1.0, "kubo"),
    units(Measure::BurstLost, 0.0),
    peer(Measure::BurstHalfClose, 1.0, "kubo"),
    units(Measure::BurstHalfCloseLost, 0.0),
    units(Measure::Memory1000, 12.0),
    units(Measure::Memory4000, 12.0),
    units(Measure::IdleMemory, 20.0),
    units(Measure::IdleCpu, 0.2),
    units(Measure::Start1, 1000.0),
    units(Measure::Start100, 1000.0),
    units(Measure::Start1000, 1000.0),
    units(Measure::Reload, 50.0),
];

/// Whether a target is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Reached,
    Missed,
    /// One of the two figures was not measured in this run, or the target is not for this machine.
    NotTried,
}

impl Verdict {
    pub fn word(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Missed => "**missed**",
            Self::NotTried => "not tried",
        }
    }
}

impl Target {
    /// p2ptun's figure in terms of the yardstick: what `factor` is the bound of.
    pub fn figure(&self, results: &Results, p2ptun: &str, has_avx512: bool) -> Option<f64> {
        let own = results.median(self.measure, p2ptun)?;
        let yardstick = match self.yardstick {
            Yardstick::Units => return Some(own),
            Yardstick::PeerWithAvx512(_) if !has_avx512 => return None,
            Yardstick::Peer(peer) | Yardstick::PeerWithAvx512(peer) => results.median(self.measure, peer)?,
            Yardstick::Own(measure) => results.median(measure, p2ptun)?,
        };
        Some(own / yardstick)
    }

    pub fn verdict(&self, results: &Results, p2ptun: &str, has_avx512: bool) -> Verdict {
        match self.figure(results, p2ptun, has_avx512) {
            None => Verdict::NotTried,
            Some(figure) if self.wants_more() && figure >= self.factor => Verdict::Reached,
            Some(figure) if !self.wants_more() && figure <= self.factor => Verdict::Reached,
            Some(_) => Verdict::Missed,
        }
    }

    fn wants_more(&self) -> bool {
        self.measure.better() == Better::More
    }

    /// As in "≥ 1.2 × stunnel".
    pub fn bound(&self) -> String {
        let (sign, factor) = (if self.wants_more() { '≥' } else { '≤' }, self.factor);
        match self.yardstick {
            Yardstick::Peer(peer) => format!("{sign} {factor} × {peer}"),
            Yardstick::PeerWithAvx512(peer) => format!("{sign} {factor} × {peer} (with AVX-512)"),
            Yardstick::Own(measure) => format!("{sign} {factor} × its {}", measure.title()),
            Yardstick::Units => format!("{sign} {factor} {}", self.measure.unit()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(own: f64, other: f64, measure: Measure) -> Results {
        let mut results = Results::default();
        results.add(measure, "p2ptun", own);
        results.add(measure, "kubo", other);
        results
    }

    #[test]
    fn more_is_better_of_a_gain_and_less_of_a_cost() {
        let gain = peer(Measure::Throughput1, 1.3, "kubo");
        let cost = peer(Measure::Cpu1, 0.85, "kubo");
        let verdict = |target: Target, own| target.verdict(&results(own, 10.0, target.measure), "p2ptun", true);
        assert_eq!([verdict(gain, 13.0), verdict(gain, 12.9)], [Verdict::Reached, Verdict::Missed]);
        assert_eq!([verdict(cost, 8.5), verdict(cost, 8.6)], [Verdict::Reached, Verdict::Missed]);
    }

    #[test]
    fn without_one_of_the_figures_nothing_is_claimed() {
        let target = peer(Measure::Throughput1, 1.3, "ssh");
        assert_eq!(target.verdict(&results(1.0, 1.0, Measure::Throughput1), "p2ptun", true), Verdict::NotTried);
        let spliced = Target { yardstick: Yardstick::PeerWithAvx512("kubo"), ..target };
        let figures = results(1.0, 2.0, Measure::Throughput1);
        assert_eq!(spliced.verdict(&figures, "p2ptun", false), Verdict::NotTried);
        assert_eq!(spliced.verdict(&figures, "p2ptun", true), Verdict::Missed);
    }

    #[test]
    fn nothing_lost_reaches_a_bound_of_nothing() {
        let target = units(Measure::BurstLost, 0.0);
        assert_eq!(target.verdict(&results(0.0, 0.0, Measure::BurstLost), "p2ptun", true), Verdict::Reached);
        assert_eq!(target.verdict(&results(1.0, 0.0, Measure::BurstLost), "p2ptun", true), Verdict::Missed);
    }
}
