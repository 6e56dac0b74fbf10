//! A folder of configuration files to try things on.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use assert_cmd::Command;
use p2ptun::config::{self, Loaded, Refused};
use tempfile::TempDir;

pub const HOME: &str = "12D3KooWJpUikX2teHCrRgFNaZHTyG3nrPNdpa7ANSqMEYpW9zqi";
pub const LAPTOP: &str = "12D3KooWG97QDNz8rkB5vKh3QfS8WRZDocwcrmw2AXyHyCJkU3KD";

/// Files by their names and texts, in which `{home}` and `{laptop}` stand for peer ids.
pub struct Folder(TempDir);

impl Folder {
    pub fn with(files: &[(&str, &str)]) -> Self {
        let folder = Self(TempDir::new().unwrap());
        for (name, text) in files {
            folder.write(name, text);
        }
        folder
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.replace("{home}", HOME).replace("{laptop}", LAPTOP)).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Loads `p2ptun.toml`.
    pub fn load(&self) -> Result<Loaded, Refused> {
        config::load(&self.path("p2ptun.toml"))
    }

    pub fn check(&self, name: &str) -> Answer {
        check(&self.path(name))
    }
}

/// What a command said.
pub struct Answer {
    pub exit: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { exit: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Answer {
    /// The places and titles of all problems, as `line:column title`.
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut lines = self.err.lines();
        while let Some(line) = lines.next() {
            if let Some(title) = line.strip_prefix("error: ").or_else(|| line.strip_prefix("warning: ")) {
                let place = lines.find(|line| line.trim_start().starts_with("--> ")).unwrap();
                let mut parts = place.rsplit(':');
                let (column, line) = (parts.next().unwrap(), parts.next().unwrap());
                found.push(format!("{line}:{column} {title}"));
            }
        }
        found
    }

    /// The places alone.
    pub fn places(&self) -> Vec<String> {
        self.problems().iter().map(|problem| problem.split(' ').next().unwrap().to_owned()).collect()
    }
}

pub fn p2ptun() -> Command {
    let mut command = Command::cargo_bin("p2ptun").unwrap();
    command.env_remove("P2PTUN_CONFIG").env_remove("NO_COLOR").timeout(std::time::Duration::from_secs(20));
    command
}

fn check(path: &Path) -> Answer {
    p2ptun().arg("check").arg(path).output().unwrap().into()
}
