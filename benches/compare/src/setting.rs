//! Where peers are compared, and what is to be said of it.

use crate::{
    experiments::Experiment,
    targets::{self, Target},
};

/// The rounds of what pairs are started for, as long as nobody asks for another number.
pub const ROUNDS: usize = 5;

/// One command with a table of its own.
pub struct Setting {
    pub command: &'static str,
    /// Ends the sentence "p2ptun and its peers …".
    pub place: &'static str,
    /// What has to share one machine.
    pub sharing: &'static str,
    /// The name of its files in benches/results.
    pub results: &'static str,
    pub experiments: &'static [Experiment],
    /// Those that are measured beside p2ptun unless others are asked for.
    pub peers: &'static [&'static str],
    pub targets: &'static [Target],
    /// The rounds of what pairs do that are running anyway. All else takes [`ROUNDS`].
    pub turns: usize,
    /// Whether the two places are apart, with a line between them.
    pub has_line: bool,
    /// How the figures come about.
    pub method: &'static str,
}

impl Setting {
    pub const LOOPBACK: Self = Self {
        command: "benches/compare.sh",
        place: "on loopback",
        sharing: "Client, both daemons and service share the machine",
        results: "loopback",
        experiments: &Experiment::LOOPBACK,
        peers: &["stunnel", "kubo", "ssh", "rathole", "haproxy", "direct"],
        targets: &targets::LOOPBACK,
        // Figures of one round spread by a third where two processors are shared by all.
        turns: 11,
        has_line: false,
        method: "\
Throughput is a download: the service sends, 256 KiB at a time, and
the client reads. Processors idle where client, daemons and service wait for each other. CPU is user and system time of both daemons and of
all processes that come of them, ended ones included, over the bytes that moved meanwhile. A fresh connection is timed from
before the connect until the first byte from the service is there, 64-byte ping-pongs on a connection that is open, by itself and
while another connection downloads. HTTP is wrk with 32
connections and nginx with a page of 600 bytes. New connections are made by 16 clients that take turns, a byte back and forth on each. In a burst, each
client sends 1 KiB and wants it back. Memory is resident memory (RSS), of the daemon of each pair that takes more.
",
    };

    pub const WAN: Self = Self {
        command: "benches/wan.sh",
        place: "over 40 ms of round trip",
        sharing: "Client, both daemons, service and the wire share the machine",
        results: "wan",
        experiments: &Experiment::WAN,
        peers: &["stunnel", "kubo", "ssh", "rathole", "direct"],
        targets: &targets::WAN,
        turns: ROUNDS,
        has_line: true,
        method: "\
Near and far are network namespaces, each with a TUN device; a thread moves packets from one to the other and holds each for 20 ms, in
order. Throughput is a download: the service sends, 256 KiB at a time, and the client reads; the first second does not count. Where
nothing is to be lost, the kernel hands over many segments as one, as it does to network cards, and a sample during which a packet was
dropped is taken anew. The line of 400 Mbit/s counts IP packets, takes segments one by one, and has a buffer of 2 MB, one round trip;
what comes beyond is dropped. At 1 % loss, each segment either way vanishes with that probability, by the same dice for
everyone. What goes over a line that loses packets or drops them, and what opens 2,000 connections, has pairs of daemons of its own. A
fresh connection is timed from before the connect until the first byte from the service is there, and given in round trips of 40 ms; a
connection without a tunnel takes two if the client speaks first. TCP keeps no metrics of earlier connections. CPU, ping-pongs, HTTP,
new connections and bursts are what they are on loopback.
",
    };
}
