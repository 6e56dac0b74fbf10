//! `p2ptun check`, through the real binary: files, exit codes, output.

#![allow(clippy::unwrap_used, reason = "a test that can't be set up has failed")]
#![allow(dead_code, reason = "each test file uses a part of `folder`")]

mod folder;

use std::fs;

use folder::{Answer, Folder, p2ptun};

#[test]
fn includes_are_sorted_once_each_without_dot_files_and_without_the_main_file() {
    let listen = |name: &str| format!("[listen.{name}]\ntarget = '127.0.0.1:1'\nallow = []");
    let folder = Folder::with(&[
        ("p2ptun.toml", "include = ['d/*.toml', 'd/b.toml', '*.toml', 'empty/*.toml', 'd']\n"),
        ("d/b.toml", &listen("b")),
        ("d/a.toml", &listen("a")),
        ("d/.hidden.toml", "this is no TOML"),
        ("d/c.conf", "this is no TOML"),
        ("d/folder.toml/x", "this is no TOML"),
    ]);
    let answer = folder.check("p2ptun.toml");
    // Only the folder that is named as a file is a problem.
    let found = answer.problems();
    assert_eq!(found.len(), 1, "{}", answer.err);
    assert!(
        found[0].starts_with("1:62 include: ") && found[0].ends_with("can't be read: it is a directory"),
        "{found:?}"
    );
    folder.write("p2ptun.toml", "include = ['d/*.toml', 'd/b.toml', '*.toml', 'empty/*.toml']\n");
    let answer = folder.check("p2ptun.toml");
    assert!(answer.out.ends_with("ok, 2 tunnels, 0 peers\n"), "{}{}", answer.out, answer.err);
    let printed: Answer = p2ptun().arg("check").arg("--print").arg(folder.path("p2ptun.toml")).output().unwrap().into();
    let order: Vec<_> =
        printed.out.lines().take_while(|line| !line.is_empty()).filter(|l| l.ends_with(".toml\"")).collect();
    assert!(order.len() == 3 && order[1].contains("d/a.toml") && order[2].contains("d/b.toml"), "{order:?}");
}

#[test]
fn the_main_file_is_skipped_also_when_a_symlink_leads_to_it() {
    let folder = Folder::with(&[("d/main.toml", "include = ['d/*.toml']\n[node]\n")]);
    std::os::unix::fs::symlink("d/main.toml", folder.path("p2ptun.toml")).unwrap();
    let answer = folder.check("p2ptun.toml");
    assert_eq!(answer.exit, Some(0), "{}", answer.err);
}

#[test]
fn an_include_is_relative_to_the_symlink_and_not_to_what_it_leads_to() {
    let folder = Folder::with(&[
        ("real/main.toml", "include = ['*.d/x.toml']"),
        ("link/p.d/x.toml", "[listen.x]\ntarget = '127.0.0.1:1'\nallow = []"),
    ]);
    std::os::unix::fs::symlink("../real/main.toml", folder.path("link/p2ptun.toml")).unwrap();
    assert!(folder.check("link/p2ptun.toml").out.contains("1 tunnel,"));
}

#[test]
fn a_folder_whose_name_looks_like_a_pattern_is_taken_literally() {
    let folder = Folder::with(&[
        ("[a]*/p2ptun.toml", "include = ['d/*.toml']"),
        ("[a]*/d/x.toml", "[listen.x]\ntarget = '127.0.0.1:1'\nallow = []"),
    ]);
    assert!(folder.check("[a]*/p2ptun.toml").out.contains("1 tunnel,"));
}

#[test]
fn an_included_file_holds_peers_and_tunnels_only() {
    let folder = Folder::with(&[
        ("p2ptun.toml", "include = ['more.toml']"),
        (
            "more.toml",
            "include = ['x.toml']\nwatch = false\n[node]\n[discovery]\n[nat]\n[relay_service]\n[metrics]\n[log]\n",
        ),
    ]);
    let answer = folder.check("p2ptun.toml");
    let places = answer.places();
    assert_eq!(places, ["1:1", "2:1", "3:2", "4:2", "5:2", "6:2", "7:2", "8:2"], "{}", answer.err);
    assert!(answer.err.contains("can't include others"));
}

#[test]
fn a_broken_include_is_shown_with_its_own_name() {
    let folder = Folder::with(&[("p2ptun.toml", "include = ['d/*']"), ("d/x.toml", "\n  key\n")]);
    let answer = folder.check("p2ptun.toml");
    assert!(answer.err.contains("d/x.toml:2:3"), "{}", answer.err);
    assert_eq!(answer.exit, Some(78));
}

#[test]
fn the_exit_code_says_whether_the_file_is_missing_or_wrong() {
    let folder = Folder::with(&[("wrong.toml", "x = 1"), ("empty.toml", ""), ("folder/x", "")]);
    assert_eq!(folder.check("missing.toml").exit, Some(66));
    assert_eq!(folder.check("folder").exit, Some(66));
    assert_eq!(folder.check("wrong.toml").exit, Some(78));
    assert_eq!(folder.check("empty.toml").exit, Some(0));
    let answer = folder.check("missing.toml");
    assert!(answer.err.contains("missing.toml can't be read: No such file"), "{}", answer.err);
}

#[test]
fn a_pipe_in_place_of_the_file_is_refused_and_not_waited_for() {
    let folder = Folder::with(&[]);
    nix::unistd::mkfifo(&folder.path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let answer = folder.check("pipe");
    assert_eq!(answer.exit, Some(66));
    assert!(answer.err.contains("no regular file"), "{}", answer.err);
}

#[test]
fn text_that_is_not_utf_8_is_shown_and_a_byte_order_mark_is_taken() {
    let folder = Folder::with(&[]);
    fs::write(folder.path("latin.toml"), b"# fine\n# caf\xe9\n").unwrap();
    let answer = folder.check("latin.toml");
    assert_eq!(answer.problems(), ["2:6 the file is not UTF-8"]);
    assert_eq!(answer.exit, Some(78));
    fs::write(folder.path("bom.toml"), "\u{feff}watch = true\r\nx = 1\r\n").unwrap();
    assert_eq!(folder.check("bom.toml").problems(), ["2:1 unknown key `x`"]);
}

#[test]
fn the_file_is_named_by_argument_then_option_then_environment() {
    let folder = Folder::with(&[("a.toml", ""), ("b.toml", ""), ("c.toml", "")]);
    let mut command = p2ptun();
    command.env("P2PTUN_CONFIG", folder.path("c.toml")).arg("check");
    let out = |command: &mut assert_cmd::Command| Answer::from(command.output().unwrap()).out;
    assert!(out(&mut command).contains("c.toml: ok"));
    assert!(out(command.arg("-c").arg(folder.path("b.toml"))).contains("b.toml: ok"));
    assert!(out(command.arg(folder.path("a.toml"))).contains("a.toml: ok"));
}

#[test]
fn escape_sequences_in_a_file_stay_in_the_file() {
    let text = "\"\u{9b}31m\u{202e}\" = 1\nx = \"\\u001b]0;title\\u0007\"\n[listen.\"\\u001b[2J\"]\ntarget = \"\\u001b\"\nallow = [\"\\u009b\\n\"]\n";
    let folder = Folder::with(&[("p2ptun.toml", text), ("\u{1b}[31m.toml", "x = 1")]);
    for name in ["p2ptun.toml", "\u{1b}[31m.toml", "\u{1b}[missing"] {
        let answer = folder.check(name);
        assert_ne!(answer.exit, Some(0));
        assert!(!answer.err.contains(|c: char| c.is_control() && c != '\n'), "{:?}", answer.err);
    }
}

#[test]
fn the_effective_configuration_names_every_default_and_reads_back() {
    let folder = Folder::with(&[("p2ptun.toml", "[listen.ssh]\ntarget = 'localhost:22'\nallow = ['{home}']\n")]);
    let print =
        |name: &str| Answer::from(p2ptun().args(["check", "--print"]).arg(folder.path(name)).output().unwrap()).out;
    let printed = print("p2ptun.toml");
    insta::assert_snapshot!(printed.replace(folder.path("").to_str().unwrap(), "FOLDER/"));
    folder.write("printed.toml", &printed);
    assert_eq!(print("printed.toml").lines().skip(2).collect::<Vec<_>>(), printed.lines().skip(2).collect::<Vec<_>>());
}
