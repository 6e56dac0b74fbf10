//! A real web server at the far end, and wrk before the tunnel.

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::{
    peers::find,
    place::{Daemon, Place, output},
};

/// nginx with one short page.
pub struct Nginx {
    pub address: SocketAddr,
    _daemon: Daemon,
}

impl Nginx {
    pub fn start(place: &Place) -> Result<Self> {
        let (program, folder, address) = (find("nginx")?, place.folder()?, place.free_port()?);
        let path = folder.path().display().to_string();
        let text = format!(
            "worker_processes 1;\npid {path}/pid;\nerror_log stderr warn;\nevents {{ worker_connections 8192; }}\n\
             http {{\n  access_log off;\n  keepalive_requests 1000000000;\n  client_body_temp_path {path}/a;\n  \
             proxy_temp_path {path}/b;\n  fastcgi_temp_path {path}/c;\n  uwsgi_temp_path {path}/d;\n  scgi_temp_path {path}/e;\n  \
             server {{ listen {address} backlog=4096; location / {{ return 200 \"{}\"; }} }}\n}}\n",
            "x".repeat(600)
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, text)?;
        let mut command = place.command(&program, folder.path());
        command.args(["-g", "daemon off;", "-e", "stderr", "-c"]).arg(&file);
        let mut daemon = Daemon::spawn(command, folder)?;
        daemon.wait_until("nginx has its workers", |daemon| crate::procfs::family(daemon.pid()).len() > 1)?;
        Ok(Self { address, _daemon: daemon })
    }

    pub fn version() -> Result<String> {
        let told = std::process::Command::new(find("nginx")?).arg("-v").output()?;
        Ok(String::from_utf8_lossy(&told.stderr).trim().rsplit('/').next().unwrap_or_default().to_owned())
    }
}

/// Clients that ask for the page again and again.
pub struct Wrk {
    program: PathBuf,
    folder: TempDir,
}

impl Wrk {
    pub fn find(place: &Place) -> Result<Self> {
        Ok(Self { program: find("wrk")?, folder: place.folder()? })
    }

    /// Asks by 32 clients for `window`, rounded up to seconds. Without keep-alive each request is a connection.
    pub fn ask(&self, place: &Place, entrance: SocketAddr, keep_alive: bool, window: Duration) -> Result<Answers> {
        let mut command = place.command(&self.program, self.folder.path());
        command.args(["-t1", "-c32", "--timeout", "5s"]).arg(format!("-d{}s", window.as_secs_f64().ceil()));
        if !keep_alive {
            command.args(["-H", "Connection: close"]);
        }
        let told = output(command.arg(format!("http://{entrance}/")))?;
        answers(&told).with_context(|| told.clone())
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answers {
    pub per_second: f64,
    /// Requests that were answered by an error, or not at all.
    pub lost: u64,
}

fn answers(told: &str) -> Result<Answers> {
    let value = |name: &str| told.lines().find_map(|line| line.trim().strip_prefix(name));
    let per_second = value("Requests/sec:").context("wrk tells no rate")?.trim().parse()?;
    ensure!(per_second > 0.0, "nothing was answered");
    let mut lost = 0;
    for counted in [value("Socket errors:"), value("Non-2xx or 3xx responses:")].into_iter().flatten() {
        let numbers = counted.split([' ', ',']).filter_map(|word| word.parse::<u64>().ok());
        lost += numbers.sum::<u64>();
    }
    Ok(Answers { per_second, lost })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_read_from_what_wrk_prints() {
        let told = "  1542 requests in 1.00s, 1.2MB read\nRequests/sec:   1541.25\nTransfer/sec:  1.2MB\n";
        assert_eq!(answers(told).unwrap(), Answers { per_second: 1541.25, lost: 0 });
    }

    #[test]
    fn what_is_lost_is_counted_and_nothing_at_all_is_no_rate() {
        let told = "  Socket errors: connect 1, read 30, write 0, timeout 4\n  Non-2xx or 3xx responses: 100\n\
                    Requests/sec:   1541.25\n";
        assert_eq!(answers(told).unwrap(), Answers { per_second: 1541.25, lost: 135 });
        assert!(answers("Requests/sec:   0.00\n").is_err());
        assert!(answers("unable to connect\n").is_err());
    }
}
