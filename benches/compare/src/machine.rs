//! What a run was made on.

use std::{fs, path::Path, process::Command};

/// What somebody must know of a machine who compares figures of two.
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub kernel: String,
    pub memory: String,
    /// Those of the CPU that encryption lives on.
    pub features: Vec<&'static str>,
}

/// As Linux calls them.
const FEATURES: [&str; 7] = ["aes", "pclmulqdq", "avx2", "avx512f", "vaes", "vpclmulqdq", "sha_ni"];

impl Machine {
    pub fn here() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kibibytes = field(&meminfo, "MemTotal").trim_end_matches(" kB").parse::<u64>().unwrap_or(0);
        Self {
            cpu: field(&cpuinfo, "model name").to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            memory: format!("{} GiB", (kibibytes + (1 << 19)) >> 20),
            features: features(field(&cpuinfo, "flags")),
        }
    }

    pub fn has_avx512(&self) -> bool {
        self.features.contains(&"avx512f")
    }
}

/// The value of the first line `name : value`.
fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.into_iter().find(|(key, _)| key.trim() == name).map_or("not known", |(_, value)| value.trim())
}

fn features(flags: &str) -> Vec<&'static str> {
    FEATURES.into_iter().filter(|feature| flags.split_whitespace().any(|flag| flag == *feature)).collect()
}

/// The commit that a checkout is at, and whether it has been changed since.
pub fn commit(root: &Path) -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "not known".to_owned() };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit}, with changes"),
    }
}

/// Today, in UTC.
pub fn date() -> String {
    let output = Command::new("date").args(["--utc", "+%Y-%m-%d %H:%M UTC"]).output();
    output.map_or_else(|_| "not known".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_is_a_whole_word() {
        assert_eq!(features("fpu aeskle vaes avx512f avx512vl"), ["avx512f", "vaes"]);
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "model\t\t: 7\nmodel name\t: A CPU: fast\nmodel name\t: another\n";
        assert_eq!(field(text, "model name"), "A CPU: fast");
        assert_eq!(field(text, "name"), "not known");
    }
}
