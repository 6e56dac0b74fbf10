//! What the kernel says about a process, and the limits of our own.

use std::{collections::BTreeSet, fs, io};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Lets this process open as many files as it may.
pub fn raise_file_limit() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

/// How many files a process has open.
pub fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Resident memory of a process, in KiB.
pub fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

/// What the kernel holds in the TCP sockets of a process that has been written and not yet been received, in KiB.
pub fn unsent_kib(pid: u32) -> u64 {
    let queue = |line: String| {
        let queues = line.split_whitespace().nth(4).unwrap().to_owned();
        u64::from_str_radix(queues.split(':').next().unwrap(), 16).unwrap()
    };
    network_sockets(pid).into_iter().map(queue).sum::<u64>() / 1024
}

/// The TCP and UDP sockets of a process, listening or connected, as the kernel's tables show them.
pub fn network_sockets(pid: u32) -> Vec<String> {
    let own: BTreeSet<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let table = |name: &str| match fs::read_to_string(format!("/proc/{pid}/net/{name}")) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => panic!("/proc/{pid}/net/{name}: {error}"),
    };
    let of_this_process = |line: &&str| line.split_whitespace().nth(9).is_some_and(|inode| own.contains(inode));
    ["tcp", "tcp6", "udp", "udp6"]
        .into_iter()
        .flat_map(|name| table(name).lines().filter(of_this_process).map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// The TCP connections of a process that stand to this port, wherever that is.
pub fn connections_to(pid: u32, port: u16) -> usize {
    let to_it = |line: &&String| {
        let mut fields = line.split_whitespace().skip(2);
        let far_end = fields.next().unwrap().ends_with(&format!(":{port:04X}"));
        far_end && fields.next() == Some("01")
    };
    network_sockets(pid).iter().filter(to_it).count()
}
