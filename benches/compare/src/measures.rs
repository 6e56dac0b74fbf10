//! The quantities that the table has rows for.

/// What somebody wants of a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    More,
    Less,
    /// It explains others.
    Neither,
}

/// A quantity that a row of the table shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Measure {
    Throughput1,
    Cpu1,
    Spare1,
    Throughput8,
    Cpu8,
    Spare8,
    BothWays,
    CpuBothWays,
    SpareBothWays,
    Fresh,
    Greeting,
    PingPong,
    PingPongBeside,
    HttpKeepAlive,
    HttpKeepAliveLost,
    HttpClose,
    HttpCloseLost,
    Rate,
    Burst,
    BurstLost,
    BurstHalfClose,
    BurstHalfCloseLost,
    Memory1000,
    Memory4000,
    IdleMemory,
    IdleCpu,
    Start1,
    Start100,
    Start1000,
    Reload,
    LineOne,
    LineCrowded,
    LineSlow,
    LineSlowCpu,
    LineLossyOne,
    LineLossyEight,
    LineFresh,
    LineGreeting,
    LinePingPong,
    LinePingPongBeside,
}

impl Measure {
    pub const ALL: [Self; 40] = [
        Self::Throughput1,
        Self::Cpu1,
        Self::Spare1,
        Self::Throughput8,
        Self::Cpu8,
        Self::Spare8,
        Self::BothWays,
        Self::CpuBothWays,
        Self::SpareBothWays,
        Self::Fresh,
        Self::Greeting,
        Self::PingPong,
        Self::PingPongBeside,
        Self::HttpKeepAlive,
        Self::HttpKeepAliveLost,
        Self::HttpClose,
        Self::HttpCloseLost,
        Self::Rate,
        Self::Burst,
        Self::BurstLost,
        Self::BurstHalfClose,
        Self::BurstHalfCloseLost,
        Self::Memory1000,
        Self::Memory4000,
        Self::IdleMemory,
        Self::IdleCpu,
        Self::Start1,
        Self::Start100,
        Self::Start1000,
        Self::Reload,
        Self::LineOne,
        Self::LineCrowded,
        Self::LineSlow,
        Self::LineSlowCpu,
        Self::LineLossyOne,
        Self::LineLossyEight,
        Self::LineFresh,
        Self::LineGreeting,
        Self::LinePingPong,
        Self::LinePingPongBeside,
    ];

    pub fn title(self) -> &'static str {
        self.row().0
    }

    pub fn unit(self) -> &'static str {
        self.row().1
    }

    /// How many digits after the point mean something.
    pub fn digits(self) -> usize {
        self.row().2
    }

    /// Whether more of it is better, or less.
    pub fn better(self) -> Better {
        use Measure::*;
        match self {
            Throughput1 | Throughput8 | BothWays | HttpKeepAlive | HttpClose | Rate => Better::More,
            LineOne | LineCrowded | LineSlow | LineLossyOne | LineLossyEight => Better::More,
            Spare1 | Spare8 | SpareBothWays => Better::Neither,
            _ => Better::Less,
        }
    }

    fn row(self) -> (&'static str, &'static str, usize) {
        match self {
            Self::Throughput1 => ("throughput, 1 connection", "Gbit/s", 2),
            Self::Cpu1 => ("CPU, 1 connection", "s/GiB", 2),
            Self::Spare1 => ("processors idle, 1 connection", "%", 0),
            Self::Throughput8 => ("throughput, 8 connections", "Gbit/s", 2),
            Self::Cpu8 => ("CPU, 8 connections", "s/GiB", 2),
            Self::Spare8 => ("processors idle, 8 connections", "%", 0),
            Self::BothWays => ("both directions at once, summed", "Gbit/s", 2),
            Self::CpuBothWays => ("CPU, both directions at once", "s/GiB", 2),
            Self::SpareBothWays => ("processors idle, both directions at once", "%", 0),
            Self::Fresh => ("fresh connection, client speaks first", "ms", 3),
            Self::Greeting => ("fresh connection, server speaks first", "ms", 3),
            Self::PingPong => ("ping-pong of 64 bytes", "ms", 3),
            Self::PingPongBeside => ("the same beside a download", "ms", 3),
            Self::HttpKeepAlive => ("HTTP with keep-alive", "requests/s", 0),
            Self::HttpKeepAliveLost => ("HTTP requests lost with keep-alive", "requests", 0),
            Self::HttpCloseLost => ("HTTP requests lost without keep-alive", "requests", 0),
            Self::HttpClose => ("HTTP without keep-alive", "requests/s", 0),
            Self::Rate => ("new connections", "1/s", 0),
            Self::Burst => ("burst of 1,000", "ms", 0),
            Self::BurstLost => ("lost of a burst of 1,000", "connections", 0),
            Self::BurstHalfClose => ("burst of 1,000 that half-close", "ms", 0),
            Self::BurstHalfCloseLost => ("lost of a burst of 1,000 that half-close", "connections", 0),
            Self::Memory1000 => ("memory per idle connection, of 1,000", "KiB", 1),
            Self::Memory4000 => ("memory per idle connection, of 4,000", "KiB", 1),
            Self::IdleMemory => ("idle daemon, 100 tunnels: memory", "MiB", 1),
            Self::IdleCpu => ("idle daemon, 100 tunnels: CPU", "% of a core", 3),
            Self::Start1 => ("start to READY, 1 tunnel", "ms", 1),
            Self::Start100 => ("start to READY, 100 tunnels", "ms", 1),
            Self::Start1000 => ("start to READY, 1,000 tunnels", "ms", 1),
            Self::Reload => ("reload of one tunnel among 1,000", "ms", 1),
            Self::LineOne => ("throughput, 1 connection", "Mbit/s", 0),
            Self::LineCrowded => ("the same beside 2,000 idle connections", "Mbit/s", 0),
            Self::LineSlow => ("throughput, 8 connections, at 400 Mbit/s", "Mbit/s", 0),
            Self::LineSlowCpu => ("CPU, 8 connections, at 400 Mbit/s", "s/GiB", 2),
            Self::LineLossyOne => ("throughput, 1 connection, 1 % loss", "Mbit/s", 1),
            Self::LineLossyEight => ("throughput, 8 connections, 1 % loss", "Mbit/s", 1),
            Self::LineFresh => ("fresh connection, client speaks first", "round trips", 2),
            Self::LineGreeting => ("fresh connection, server speaks first", "round trips", 2),
            Self::LinePingPong => ("ping-pong of 64 bytes", "round trips", 2),
            Self::LinePingPongBeside => ("the same beside a download", "round trips", 2),
        }
    }
}
