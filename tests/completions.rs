//! `p2ptun completions`, in the shells that are installed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::{fs, path::Path, process::Command};

use assert_cmd::cargo::cargo_bin;
use support::tool::{is_installed, quiet};

/// Puts the script of `shell` into a file; the folder goes when the test ends.
fn script(shell: &str, name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let script = quiet(Command::new(cargo_bin!("p2ptun")).args(["completions", shell]));
    assert!(script.lines().count() > 10, "{script}");
    fs::write(folder.path().join(name), script).unwrap();
    folder
}

/// A shell that reads none of its user's files.
fn shell(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", folder).env("LC_ALL", "C");
    command.current_dir(folder);
    command
}

#[test]
fn every_shell_that_is_offered_gets_a_script() {
    let help = quiet(Command::new(cargo_bin!("p2ptun")).args(["completions", "-h"]));
    let offered = help.split_once("[possible values: ").unwrap().1.split_once(']').unwrap().0.replace('\n', " ");
    let offered: Vec<_> = offered.split(',').map(str::trim).collect();
    for wanted in ["bash", "zsh", "fish"] {
        assert!(offered.contains(&wanted), "{offered:?}");
    }
    for name in offered {
        script(name, "script");
    }
}

#[test]
fn bash_completes_commands_options_shells_and_files() {
    if !is_installed("bash") {
        return;
    }
    let folder = script("bash", "p2ptun.bash");
    quiet(shell("bash", folder.path()).args(["-n", "p2ptun.bash"]));
    fs::write(folder.path().join("some-file.toml"), "").unwrap();
    // Completes the last of its arguments as bash does when Tab is pressed.
    let press_tab = r#"
        source ./p2ptun.bash
        complete -p p2ptun >/dev/null || exit 1
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
        shopt -u expand_aliases
        compopt() { :; } # which works only while somebody is at the keyboard
        _p2ptun "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let complete = |words: &[&str]| {
        let printed =
            quiet(shell("bash", folder.path()).args(["--norc", "-c", press_tab, "bash", "p2ptun"]).args(words));
        printed.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(complete(&["sta"]), ["status"]);
    assert_eq!(complete(&["rel"]), ["reload"]);
    assert_eq!(complete(&["status", "--j"]), ["--json"]);
    assert_eq!(complete(&["completions", "ba"]), ["bash"]);
    let shells = complete(&["completions", ""]);
    assert!(["bash", "zsh", "fish"].iter().all(|shell| shells.iter().any(|offered| offered == shell)), "{shells:?}");
    assert_eq!(complete(&["check", "--config", "some"]), ["some-file.toml"]);
    assert_eq!(complete(&["status", "--socket", "some"]), ["some-file.toml"]);
}

#[test]
fn fish_completes_commands_options_shells_and_files() {
    if !is_installed("fish") {
        return;
    }
    let folder = script("fish", "p2ptun.fish");
    fs::write(folder.path().join("some-file.toml"), "").unwrap();
    quiet(shell("fish", folder.path()).args(["--no-execute", "p2ptun.fish"]));
    let complete = |line: &str| {
        let ask = "source ./p2ptun.fish; complete --do-complete $argv[1]";
        let printed = quiet(shell("fish", folder.path()).args(["--no-config", "-c", ask, line]));
        printed.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(complete("p2ptun sta"), ["status"]);
    assert_eq!(complete("p2ptun status --j"), ["--json"]);
    assert_eq!(complete("p2ptun completions ba"), ["bash"]);
    assert_eq!(complete("p2ptun check --config some"), ["some-file.toml"]);
    assert_eq!(complete("p2ptun check some"), ["some-file.toml"]);
}

/// zsh completes only at a terminal; zpty is one.
#[test]
fn zsh_completes_commands_options_shells_and_files() {
    if !is_installed("zsh") {
        return;
    }
    let folder = script("zsh", "_p2ptun");
    fs::write(folder.path().join("some-file.toml"), "").unwrap();
    quiet(shell("zsh", folder.path()).args(["-f", "-n", "_p2ptun"]));
    // The shell within shows what it would run, once Tab and Enter have been pressed.
    let press_tab = r#"
        zmodload zsh/zpty || exit 1
        zpty inner zsh -f -i
        zpty -w inner 'PS1= PS2= RPS1=; unsetopt zle_bracketed_paste 2>/dev/null; fpath=($PWD $fpath); autoload -U compinit; compinit -D -u'
        zpty -w inner 'p2ptun() { print -r "<<$*>>" }; zstyle ":completion:*" insert-tab false; print ready''-now'
        zpty -r inner said '*ready-now*' || exit 1
        zpty -w -n inner "$1"$'\t\n'
        zpty -r inner said '*<<*>>*' || exit 1
        print -r -- "${${said##*<<}%%>>*}"
        zpty -d inner
    "#;
    let complete = |line: &str| {
        // It would wait for ever for what a shell within does not say.
        let mut zsh = shell("timeout", folder.path());
        let printed = quiet(zsh.env("TERM", "dumb").args(["60", "zsh", "-f", "-c", press_tab, "zsh", line]));
        printed.trim().to_owned()
    };
    assert_eq!(complete("p2ptun sta"), "status");
    assert_eq!(complete("p2ptun status --j"), "status --json");
    assert_eq!(complete("p2ptun completions ba"), "completions bash");
    assert_eq!(complete("p2ptun check --config some"), "check --config some-file.toml");
}
