//! Two machines far from each other: network namespaces with a wire between them.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    process::Command,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use tun_rs::{DeviceBuilder, SyncDevice};

use crate::{
    namespace::Namespace,
    place::{Place, output},
    procfs,
    wire::{Condition, Wire},
};

/// How long a packet takes there and back.
pub const ROUND_TRIP: Duration = Duration::from_millis(40);

/// Of the block that RFC 2544 sets aside for benchmarks.
const NEAR: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

/// The name of the device at either end.
const DEVICE: &str = "wire";
/// In packets. The kernel drops what the wire does not fetch in time, which no wire that is measured should suffer from.
const QUEUE: &str = "20000";

pub struct Line {
    pub near: Place,
    pub far: Place,
    congestion: String,
    /// From how many pages on TCP may keep windows small: the first limit of tcp_mem, see tcp(7).
    memory: u64,
    wire: Wire,
}

impl Line {
    /// `congestion` is the name of the congestion control at both ends. Needs root.
    pub fn lay(congestion: &str) -> Result<Self> {
        // Which only the namespace tells that the machine began with.
        let limits = fs::read_to_string("/proc/sys/net/ipv4/tcp_mem").context("tcp_mem")?;
        let memory = limits.split_whitespace().next().and_then(|limit| limit.parse().ok()).context("tcp_mem")?;
        let (near, near_end) = end(NEAR, FAR, congestion)?;
        let (far, far_end) = end(FAR, NEAR, congestion)?;
        let wire = Wire::between([near_end, far_end], ROUND_TRIP / 2)?;
        Ok(Self { near, far, congestion: congestion.to_owned(), memory, wire })
    }

    /// What somebody must know of it who reads the figures.
    pub fn description(&self) -> Result<String> {
        let read = |setting: &str| -> Result<String> {
            let file = format!("/proc/sys/net/ipv4/{setting}");
            let value = self.near.within(|| fs::read_to_string(&file).with_context(|| file.clone()))?;
            Ok(value.split_whitespace().collect::<Vec<_>>().join(" "))
        };
        Ok(format!(
            "the line: {} ms there and back, MTU 1500; congestion control {} at both ends, tcp_rmem {}, tcp_wmem {}",
            ROUND_TRIP.as_millis(),
            self.congestion,
            read("tcp_rmem")?,
            read("tcp_wmem")?,
        ))
    }

    /// Changes the wire until the answer is dropped.
    pub fn under(&self, condition: Condition) -> Result<Spell<'_>> {
        // Only where nothing is dropped may Linux hand over many segments as one, as it does to network cards: packets
        // are to be dropped one by one.
        self.segment(condition != Condition::CALM)?;
        self.wire.set(condition);
        Ok(Spell { line: self })
    }

    fn segment(&self, each: bool) -> Result<()> {
        let most = if each { "1" } else { "65535" };
        for place in [&self.near, &self.far] {
            ip(place, &["link", "set", "dev", DEVICE, "gso_max_segs", most])?;
        }
        Ok(())
    }

    /// Whether TCP has taken so much of the machine, for whomever, that windows may be kept small.
    pub fn is_short_of_memory(&self) -> Result<bool> {
        Ok(procfs::tcp_memory()? >= self.memory)
    }

    /// How many packets have been dropped so far because there was no room for them: by the wire, or before it.
    pub fn dropped(&self) -> Result<u64> {
        let mut dropped = self.wire.dropped();
        for place in [&self.near, &self.far] {
            let told = place.within(|| fs::read_to_string("/proc/thread-self/net/dev").context("/proc/net/dev"))?;
            dropped += parse_dropped(&told).with_context(|| format!("no {DEVICE} in {told}"))?;
        }
        Ok(dropped)
    }
}

/// A time during which a line is not as it is otherwise.
pub struct Spell<'a> {
    line: &'a Line,
}

impl Drop for Spell<'_> {
    fn drop(&mut self) {
        self.line.wire.set(Condition::CALM);
        if let Err(error) = self.line.segment(false) {
            eprintln!("{error:#}");
        }
    }
}

fn end(own: Ipv4Addr, other: Ipv4Addr, congestion: &str) -> Result<(Place, SyncDevice)> {
    let namespace = Namespace::new()?;
    let device = namespace.within(|| {
        let device = DeviceBuilder::new().name(DEVICE).offload(true).enable(false).build_sync();
        let device = device.context("no TUN device could be made")?;
        device.set_nonblocking(true)?;
        // What one connection has learnt of the path must not help or hinder the next one, which may be another peer's.
        fs::write("/proc/sys/net/ipv4/tcp_no_metrics_save", "1").context("tcp_no_metrics_save")?;
        Ok(device)
    })?;
    let place = Place { namespace: Some(Arc::new(namespace)), address: IpAddr::V4(own) };
    ip(&place, &["link", "set", "dev", "lo", "up"])?;
    ip(&place, &["address", "add", &own.to_string(), "dev", DEVICE])?;
    ip(&place, &["link", "set", "dev", DEVICE, "mtu", "1500", "txqueuelen", QUEUE, "up"])?;
    // Said of the route: a namespace takes as its default only what the whole machine allows everybody.
    ip(&place, &["route", "add", &other.to_string(), "dev", DEVICE, "src", &own.to_string(), "congctl", congestion])?;
    Ok((place, device))
}

fn ip(place: &Place, arguments: &[&str]) -> Result<()> {
    place.within(|| output(Command::new("ip").args(arguments)).map(drop))
}

/// Dropped on their way out: the twelfth number of the device's line in /proc/net/dev.
fn parse_dropped(told: &str) -> Option<u64> {
    let line = told.lines().find_map(|line| line.trim().strip_prefix(DEVICE)?.strip_prefix(':'))?;
    line.split_whitespace().nth(11)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_on_the_way_out_are_read_not_those_on_the_way_in() {
        let told = "Inter-|   Receive\n face |bytes\n    lo: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n  \
                    wire: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n";
        assert_eq!(parse_dropped(told), Some(12));
        assert_eq!(parse_dropped("  wires: 1 2 3\n"), None);
    }
}
