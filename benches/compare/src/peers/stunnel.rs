//! stunnel at both ends: TLS 1.3, either end knows the other's certificate.

use std::{
    fmt::Write,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use super::{Pair, Peer, find};
use crate::place::{Daemon, Place, output};

/// Said, not left to either library's preference, so that the figures mean the same everywhere.
const CIPHER: &str = "TLS_AES_128_GCM_SHA256";

pub struct Stunnel {
    program: PathBuf,
    openssl: PathBuf,
}

impl Stunnel {
    pub fn find() -> Result<Self> {
        Ok(Self { program: find("stunnel")?, openssl: find("openssl")? })
    }

    /// A certificate and its key, ECDSA on P-256, in one file.
    fn certificate(&self, folder: &Path) -> Result<String> {
        let (key, certificate) = (folder.join("key.pem"), folder.join("certificate.pem"));
        let mut command = Command::new(&self.openssl);
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
        command.args(["-subj", "/CN=stunnel", "-keyout"]).arg(&key).arg("-out").arg(&certificate);
        output(&mut command)?;
        let certificate = fs::read_to_string(certificate)?;
        fs::write(folder.join("own.pem"), format!("{}{certificate}", fs::read_to_string(key)?))?;
        Ok(certificate)
    }

    fn spawn(&self, place: &Place, folder: tempfile::TempDir, services: &str) -> Result<Daemon> {
        let file = folder.path().join("stunnel.conf");
        let text = format!(
            "foreground = yes\npid =\nsyslog = no\ndebug = 3\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n\
             sslVersion = TLSv1.3\nciphersuites = {CIPHER}\ncert = {0}/own.pem\nCAfile = {0}/other.pem\nverifyPeer = yes\n\
             {services}",
            folder.path().display()
        );
        fs::write(&file, text)?;
        let mut command = place.command(&self.program, folder.path());
        command.arg(&file);
        Daemon::spawn(command, folder)
    }
}

impl Peer for Stunnel {
    fn name(&self) -> &str {
        "stunnel"
    }

    fn description(&self) -> Result<String> {
        let version = Command::new(&self.program).arg("-version").output()?;
        let told = String::from_utf8_lossy(&version.stderr).into_owned();
        let word = |after: &str| {
            let rest = told.split_once(after).map(|(_, rest)| rest).unwrap_or_default();
            rest.split_whitespace().next().unwrap_or("?").to_owned()
        };
        Ok(format!(
            "stunnel {} with OpenSSL {}: TLS 1.3, {CIPHER}, ECDSA P-256 certificates checked at both ends",
            word("stunnel "),
            word("OpenSSL ")
        ))
    }

    fn start(&self, near: &Place, far: &Place, targets: &[SocketAddr]) -> Result<Pair> {
        let (near_folder, far_folder) = (near.folder()?, far.folder()?);
        fs::write(far_folder.path().join("other.pem"), self.certificate(near_folder.path())?)?;
        fs::write(near_folder.path().join("other.pem"), self.certificate(far_folder.path())?)?;
        let (mut servers, mut clients, mut entrances) = (String::new(), String::new(), Vec::new());
        for (nth, target) in targets.iter().enumerate() {
            let (entrance, between) = (near.free_port()?, far.free_port()?);
            writeln!(servers, "[t{nth}]\naccept = {between}\nconnect = {target}")?;
            writeln!(clients, "[t{nth}]\nclient = yes\naccept = {entrance}\nconnect = {between}")?;
            entrances.push(entrance);
        }
        let far = self.spawn(far, far_folder, &servers)?;
        Ok(Pair { entrances, daemons: vec![self.spawn(near, near_folder, &clients)?, far] })
    }
}
