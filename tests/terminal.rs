//! What `p2ptun check` makes of a terminal: colour and width.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't be set up has failed")]
#![allow(dead_code, reason = "each test file uses a part of `folder`")]

mod folder;

use std::{
    fs::File,
    io::Read,
    process::{Command, Stdio},
};

use folder::Folder;
use nix::{
    errno::Errno,
    pty::{Winsize, openpty},
};

const MISTAKE: &str = "[listen.ssh]\ntraget = \"127.0.0.1:22\"\nallow = []\n";

fn check(folder: &Folder, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_p2ptun"));
    // In CI, colours are taken for granted.
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI", "P2PTUN_CONFIG"] {
        command.env_remove(name);
    }
    command.env("TERM", "xterm-256color").envs(variables.iter().copied());
    command.args(["check", "p2ptun.toml"]).current_dir(folder.path("")).stdin(Stdio::null());
    command
}

fn through_a_pipe(folder: &Folder, variables: &[(&str, &str)]) -> String {
    String::from_utf8(check(folder, variables).output().unwrap().stderr).unwrap()
}

fn on_a_terminal(folder: &Folder, columns: u16, variables: &[(&str, &str)]) -> String {
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(Some(&size), None).unwrap();
    let mut command = check(folder, variables);
    let mut child =
        command.stdout(terminal.slave.try_clone().unwrap()).stderr(Stdio::from(terminal.slave)).spawn().unwrap();
    // The command holds the terminal's other end open, and with it this one would never end.
    drop(command);
    let (mut shown, mut part) = (Vec::new(), [0; 4096]);
    let mut screen = File::from(terminal.master);
    loop {
        match screen.read(&mut part) {
            Ok(0) => break,
            Ok(read) => shown.extend_from_slice(&part[..read]),
            // Linux says so where all others have left.
            Err(error) if error.raw_os_error() == Some(Errno::EIO as i32) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(78));
    String::from_utf8(shown).unwrap().replace("\r\n", "\n")
}

/// What is left of `text` on the screen.
fn without_colour(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |shown, part| shown + part.split_once('m').unwrap().1)
}

#[test]
fn there_is_colour_on_a_terminal_and_nowhere_else() {
    let folder = Folder::with(&[("p2ptun.toml", MISTAKE)]);
    let plain = through_a_pipe(&folder, &[]);
    assert!(plain.starts_with("error: ") && !plain.contains('\u{1b}'), "{plain:?}");
    let coloured = on_a_terminal(&folder, 140, &[]);
    assert!(coloured.contains("\u{1b}["), "{coloured:?}");
    assert_eq!(without_colour(&coloured), plain);
}

#[test]
fn who_wants_no_colour_has_none_on_a_terminal_either() {
    let folder = Folder::with(&[("p2ptun.toml", MISTAKE)]);
    for variable in [("NO_COLOR", "1"), ("CLICOLOR", "0"), ("TERM", "dumb")] {
        let shown = on_a_terminal(&folder, 140, &[variable]);
        assert!(shown.starts_with("error: ") && !shown.contains('\u{1b}'), "{variable:?}: {shown:?}");
    }
}

#[test]
fn who_wants_colour_through_a_pipe_has_it() {
    let folder = Folder::with(&[("p2ptun.toml", MISTAKE)]);
    assert!(through_a_pipe(&folder, &[("CLICOLOR_FORCE", "1")]).contains("\u{1b}["));
    assert!(!through_a_pipe(&folder, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]).contains('\u{1b}'));
}

#[test]
fn a_long_line_is_cut_around_what_is_wrong_to_fit_the_terminal() {
    let peers = |number| "\"{laptop}\", ".repeat(number);
    let allow = format!("allow = [{}\"offfice\", {}]", peers(8), peers(8));
    let text = format!("[listen.ssh]\ntarget = \"127.0.0.1:22\"\n{allow}\n[peers.office]\nid = \"{{home}}\"\n");
    let folder = Folder::with(&[("p2ptun.toml", &text)]);
    for columns in [80, 120] {
        let shown = without_colour(&on_a_terminal(&folder, columns, &[]));
        let lines: Vec<&str> = shown.lines().collect();
        let widest = lines.iter().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= usize::from(columns), "{columns} columns:\n{shown}");
        // The carets stand under the word.
        let number = lines.iter().position(|line| line.contains('^')).unwrap();
        let caret = lines[number].find('^').unwrap();
        assert!(lines[number - 1][caret..].starts_with("\"offfice\""), "{columns} columns:\n{shown}");
    }
    // A terminal that does not say how wide it is.
    assert_eq!(without_colour(&on_a_terminal(&folder, 0, &[])), through_a_pipe(&folder, &[]));
}
