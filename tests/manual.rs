//! The pages of the manual: as committed, and as formatters take them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use assert_cmd::cargo::cargo_bin;
use p2ptun::config::reference::tables;
use support::tool::{is_installed, quiet};

const PAGES: [&str; 2] = ["p2ptun.1", "p2ptun.toml.5"];

/// Where packages take the pages from.
fn committed(page: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/man").join(page)
}

fn printed(page: &str) -> String {
    quiet(Command::new(cargo_bin!("p2ptun")).args(["man", page]))
}

#[test]
fn the_committed_pages_are_those_that_the_command_prints() {
    for page in PAGES {
        let text = fs::read_to_string(committed(page)).unwrap();
        assert!(text == printed(page), "packaging/man/{page} is out of date; `just man` makes it anew");
    }
}

#[test]
fn the_pages_are_ascii_and_no_mark_of_their_sources_is_left() {
    for page in PAGES {
        let text = printed(page);
        assert!(text.is_ascii(), "{page}");
        assert!(text.lines().count() > 200, "{page} is short");
        let marks = text.lines().find(|line| line.contains('`') || line.contains("\\fB\\fR"));
        assert_eq!(marks, None, "{page}");
    }
}

#[test]
fn every_key_and_every_option_has_its_place() {
    let file = printed("p2ptun.toml.5");
    let mut keys = 0;
    for key in tables().flat_map(|table| table.keys) {
        assert!(file.contains(&format!(".TP\n\\fB{}\\fR\n", key.name)), "{}", key.name);
        keys += 1;
    }
    assert!(keys > 50, "only {keys}");

    let commands = printed("p2ptun.1");
    // The completions know every option as well, and are made by somebody else.
    let fish = quiet(Command::new(cargo_bin!("p2ptun")).args(["completions", "fish"]));
    let options: Vec<_> = fish
        .lines()
        .filter(|line| line.starts_with("complete "))
        .filter_map(|line| line.split(" -l ").nth(1)?.split(' ').next())
        .collect();
    assert!(options.len() > 20, "only {}", options.len());
    for option in options {
        let shown = format!("\\fB\\-\\-{}\\fR", option.replace('-', "\\-"));
        assert!(commands.contains(&shown), "--{option}");
    }
}

#[test]
fn a_value_that_may_be_left_out_is_shown_as_it_must_be_written() {
    let page = printed("p2ptun.1");
    assert!(page.contains("\n\\fB\\-\\-watch\\fR[=\\fISECONDS\\fR]\n"), "{page}");
}

#[test]
fn formatters_take_the_pages_without_a_warning() {
    for page in PAGES {
        let path = committed(page);
        if is_installed("groff") {
            quiet(Command::new("groff").args(["-man", "-ww", "-z", "-Tutf8"]).arg(&path));
        }
        if is_installed("mandoc") {
            quiet(Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(&path));
        }
        if is_installed("man") {
            quiet(&mut man(&path, &["--warnings", "-Z"]));
        }
    }
}

#[test]
fn the_pages_fit_eighty_columns() {
    if !is_installed("man") {
        return;
    }
    for page in PAGES {
        let text = quiet(&mut man(&committed(page), &[]));
        assert!(text.lines().count() > 200, "{page}: {text}");
        for line in text.lines() {
            assert!(columns(line) <= 80, "{page}: {line}");
        }
    }
}

/// man(1) on a terminal of 80 columns.
fn man(page: &Path, options: &[&str]) -> Command {
    let mut man = Command::new("man");
    man.args(["-E", "UTF-8", "-Tutf8", "-l"]).args(options).arg(page).env("MANWIDTH", "80").env("MANPAGER", "cat");
    man
}

/// How many columns `line` takes, of whose letters some may be bold by being typed twice.
fn columns(line: &str) -> usize {
    line.chars().count() - 2 * line.matches('\u{8}').count()
}
