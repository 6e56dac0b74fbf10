//! Programs of others that some tests need.

use std::{env, io::Write as _, process::Command};

/// Whether `tool` is installed. Where `P2PTUN_REQUIRE_TOOLS` is set, as in CI, it must be; else that something was not
/// tried is said where even the output of a test that passes is seen.
pub fn is_installed(tool: &str) -> bool {
    let search = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&search).any(|directory| directory.join(tool).is_file());
    if !found {
        assert!(env::var_os("P2PTUN_REQUIRE_TOOLS").is_none(), "{tool} is not installed");
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        // Not by `eprintln!`, which libtest keeps to itself.
        let mut err = std::io::stderr();
        writeln!(err, "NOT TRIED: {test}: {tool} is not installed").unwrap();
    }
    found
}

/// Runs `tool`, which must succeed and have nothing to complain about; what it printed.
pub fn quiet(tool: &mut Command) -> String {
    let output = tool.output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && complaints.is_empty(), "{tool:?}: {}\n{complaints}{printed}", output.status);
    printed
}
