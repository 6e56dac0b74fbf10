//! What Linux tells of a process and of all that came of it, in /proc.

use std::{fs, time::Duration};

use anyhow::{Context, Result};

/// The unit of times in /proc/PID/stat: USER_HZ, which is 100 on every architecture that p2ptun is built for.
const TICK: Duration = Duration::from_millis(10);

/// The CPU time that a process and its descendants have taken, those that have ended included.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let mut total = Duration::ZERO;
    for member in family(pid) {
        // One that has just ended is in its parent's figures at the next look.
        if let Ok(line) = fs::read_to_string(format!("/proc/{member}/stat")) {
            total += parse_cpu_time(&line).with_context(|| format!("/proc/{member}/stat: {line}"))?;
        }
    }
    Ok(total)
}

/// The same to the nanosecond, but without threads that have ended: for what does almost nothing.
pub fn run_time(pid: u32) -> Duration {
    let threads = family(pid).into_iter().filter_map(|member| fs::read_dir(format!("/proc/{member}/task")).ok());
    threads
        .flatten()
        .flatten()
        .filter_map(|thread| parse_run_time(&fs::read_to_string(thread.path().join("schedstat")).ok()?))
        .sum()
}

/// The bytes of memory that are resident for a process and its descendants, shared pages counted for each.
pub fn resident(pid: u32) -> u64 {
    family(pid)
        .into_iter()
        .filter_map(|member| parse_resident(&fs::read_to_string(format!("/proc/{member}/status")).ok()?))
        .sum()
}

/// How much time all processors of this machine together have had since it started, and where it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processors {
    total: u64,
    idle: u64,
    stolen: u64,
}

impl Processors {
    pub fn now() -> Result<Self> {
        let told = fs::read_to_string("/proc/stat")?;
        Self::parse(&told).context("/proc/stat has no line of all processors")
    }

    /// The first line: user, nice, system, idle, iowait, irq, softirq, steal; what follows is in user and nice already.
    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks = line.split_whitespace().take(8).map(|field| field.parse().ok()).collect::<Option<Vec<u64>>>()?;
        Some(Self { total: ticks.iter().sum(), idle: ticks.get(3)? + ticks.get(4)?, stolen: *ticks.get(7)? })
    }

    /// The share of the time since then in which they had nothing to do, in per cent.
    pub fn idle_since(self, then: Self) -> f64 {
        self.share(then, self.idle.saturating_sub(then.idle))
    }

    /// The share of the time since then that the host of a virtual machine gave to others, in per cent.
    pub fn stolen_since(self, then: Self) -> f64 {
        self.share(then, self.stolen.saturating_sub(then.stolen))
    }

    fn share(self, then: Self, part: u64) -> f64 {
        100.0 * part as f64 / self.total.saturating_sub(then.total).max(1) as f64
    }
}

/// The pages that TCP has taken of this machine's memory, in all namespaces together.
pub fn tcp_memory() -> Result<u64> {
    let told = fs::read_to_string("/proc/net/sockstat")?;
    parse_tcp_memory(&told).with_context(|| format!("/proc/net/sockstat: {told}"))
}

fn parse_tcp_memory(sockstat: &str) -> Option<u64> {
    let line = sockstat.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    line.split_whitespace().skip_while(|word| *word != "mem").nth(1)?.parse().ok()
}

/// A process and all that came of it and still lives.
pub fn family(pid: u32) -> Vec<u32> {
    let mut members = vec![pid];
    let mut next = 0;
    while let Some(member) = members.get(next).copied() {
        next += 1;
        let Ok(threads) = fs::read_dir(format!("/proc/{member}/task")) else { continue };
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            members.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    members
}

/// utime + stime + cutime + cstime: proc_pid_stat(5), fields 14 to 17.
fn parse_cpu_time(stat: &str) -> Option<Duration> {
    // The second field is the program's name in parentheses, and may hold spaces and parentheses itself.
    let (_, after_name) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().map(|field| field.parse::<u32>().ok()).sum::<Option<u32>>()?;
    Some(TICK * ticks)
}

/// The first field of schedstat: nanoseconds on a CPU.
fn parse_run_time(schedstat: &str) -> Option<Duration> {
    schedstat.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_counts_ended_children_and_survives_odd_names() {
        let stat = "7 (a) b( c) S 1 7 7 0 -1 4194560 10 20 30 40 100 20 3 4 20 0 5 0 999 1 2";
        assert_eq!(parse_cpu_time(stat), Some(Duration::from_millis(1270)));
        assert_eq!(parse_cpu_time("7 (short) S 1"), None);
    }

    #[test]
    fn resident_memory_is_told_in_bytes() {
        assert_eq!(parse_resident("Name:\tx\nVmRSS:\t    12 kB\nThreads:\t1\n"), Some(12 * 1024));
        assert_eq!(parse_resident("Name:\tx\n"), None);
    }

    #[test]
    fn run_time_is_the_first_field() {
        assert_eq!(parse_run_time("1500 7 3\n"), Some(Duration::from_nanos(1500)));
    }

    #[test]
    fn idle_and_stolen_time_are_shares_of_all_time() {
        let processors = |line: &str| Processors::parse(&format!("{line}\ncpu0 9 9 9 9 9 9 9 9 9 9\n")).unwrap();
        let (then, now) =
            (processors("cpu  10 10 10 10 10 10 10 10 7 7"), processors("cpu  50 10 10 30 15 10 10 45 9 9"));
        assert_eq!(now.idle_since(then), 25.0);
        assert_eq!(now.stolen_since(then), 35.0);
        assert_eq!(then.idle_since(then), 0.0);
        assert_eq!(Processors::parse("cpu0 1 2 3 4 5 6 7 8\n"), None);
        assert_eq!(Processors::parse("cpu  1 2 3 4\n"), None);
    }

    #[test]
    fn the_memory_of_tcp_is_not_that_of_udp() {
        let told = "sockets: used 20\nTCP: inuse 1 orphan 1 tw 28 alloc 2 mem 261\nUDP: inuse 0 mem 32\n";
        assert_eq!(parse_tcp_memory(told), Some(261));
        assert_eq!(parse_tcp_memory("UDP: inuse 0 mem 32\n"), None);
    }

    #[test]
    fn a_process_knows_its_children() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let family = family(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(family.contains(&child.id()), "{family:?}");
    }
}
