//! What happens at Ctrl-C.

use std::{fs, io, thread, time::Duration};

use anyhow::Result;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use tempfile::TempDir;

use crate::procfs;

/// Has all temporary files of this process made in one folder, which is gone after a signal to end as well, together with
/// the daemons.
pub fn leave_nothing_behind() -> Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("p2ptun-compare-").tempdir()?;
    let path = folder.path().to_owned();
    // Nothing has made a temporary file before.
    let _ = tempfile::env::override_temp_dir(&path);
    // Caught, not blocked: what is blocked stays so in the daemons that this process starts.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let Some(signal) = signals.forever().next() else { return };
        for member in procfs::family(std::process::id()).into_iter().skip(1) {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(member as i32), Signal::SIGKILL);
        }
        // A daemon that is just being killed may still write a file.
        for _ in 0..20 {
            match fs::remove_dir_all(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => thread::sleep(Duration::from_millis(50)),
                _ => break,
            }
        }
        std::process::exit(128 + signal);
    })?;
    Ok(folder)
}
