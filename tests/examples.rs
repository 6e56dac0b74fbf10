//! The examples that people copy: each is valid, and says what it says it does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't be set up has failed")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use p2ptun::{
    config,
    spec::{ForwardPeer, StreamProtocol, Tunnel},
};
use proptest::prelude::*;

/// The main files among the examples, sorted.
fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/configs");
    let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.map(|path| if path.is_dir() { path.join("p2ptun.toml") } else { path }).collect();
    files.sort();
    assert!(files.iter().all(|path| path.extension().is_some_and(|extension| extension == "toml")), "{files:?}");
    files
}

fn load(path: &Path) -> config::Loaded {
    config::load(path).unwrap_or_else(|refused| panic!("{refused}"))
}

#[test]
fn all_eleven_examples_are_valid_and_only_the_public_one_is_warned_of() {
    let examples = examples();
    assert_eq!(examples.len(), 11);
    for example in &examples {
        let warnings = load(example).warnings;
        let expected = usize::from(example.ends_with("web.toml"));
        assert_eq!(warnings.len(), expected, "{}: {warnings:?}", example.display());
    }
}

#[test]
fn what_check_prints_reads_back_as_the_same_configuration() {
    let folder = tempfile::tempdir().unwrap();
    for example in examples() {
        let written = load(&example).desired;
        let printed = folder.path().join("printed.toml");
        fs::write(&printed, config::print(&written)).unwrap();
        assert_eq!(load(&printed).desired, written, "{}", example.display());
    }
}

fn served_protocol(tunnel: &Tunnel) -> Option<&StreamProtocol> {
    match tunnel {
        Tunnel::Listen(listen) => Some(&listen.protocol),
        _ => None,
    }
}

#[test]
fn the_two_ends_of_the_ssh_example_fit_together() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/configs");
    let server = load(&folder.join("ssh-server.toml")).desired;
    let client = load(&folder.join("ssh-client.toml")).desired;
    let served: Vec<_> = server.tunnels.values().filter_map(served_protocol).collect();
    let mut asked_for = 0;
    for tunnel in client.tunnels.values() {
        if let Tunnel::Forward(forward) = tunnel {
            assert!(served.contains(&&forward.protocol), "{}", forward.protocol);
            assert!(matches!(&forward.peer, ForwardPeer::One(peer) if peer.written == "home"));
            asked_for += 1;
        }
    }
    assert_eq!(asked_for, 2);
}

#[test]
fn no_beginning_of_an_example_makes_the_reader_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.toml");
    let mut tried = 0;
    for example in examples() {
        let bytes = fs::read(example).unwrap();
        for end in (0..bytes.len()).step_by(7) {
            fs::write(&path, &bytes[..end]).unwrap();
            show_all(&path);
            tried += 1;
        }
    }
    assert!(tried > 1000, "only {tried}");
}

/// Loads and renders, which is where a bad span would panic.
fn show_all(path: &Path) {
    let problems = match config::load(path) {
        Ok(loaded) => loaded.warnings,
        Err(refused) => {
            assert!(!refused.problems().is_empty(), "refused without a reason");
            refused.problems().to_vec()
        }
    };
    for problem in problems {
        assert!(!problem.render(true, config::DEFAULT_WIDTH).is_empty());
        assert!(problem.short().contains(".toml:"));
    }
}

/// Text that looks enough like a configuration to get past the first byte.
fn fragments() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "[node]",
        "[peers.a]",
        "[listen.a]",
        "[[forward]]",
        "[forward.\"ä b\"]",
        "include",
        "allow",
        "target",
        "bind",
        "peers",
        "id",
        "protocol",
        "on",
        "ports",
        " = ",
        "=",
        "\n",
        "\r\n",
        ".",
        ",",
        "\"",
        "'",
        "'''",
        "[",
        "]",
        "{",
        "}",
        "#",
        "'anyone'",
        "'/x/ä'",
        "'127.0.0.1:0'",
        "'/ip4/1.2.3.4/tcp/1'",
        "'unix:/ü'",
        "'::1:22'",
        "0x",
        "1e9",
        "1979-05-27",
        "true",
        "\u{feff}",
        "\u{1b}",
        "\u{9b}",
        "\u{202e}",
        "\\u0000",
        "*",
        "12D3KooW",
        "-1",
        "é",
        "𝄞",
    ]);
    prop::collection::vec(words, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("any.toml");
        fs::write(&path, bytes).unwrap();
        show_all(&path);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in fragments()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("any.toml");
        fs::write(&path, text).unwrap();
        show_all(&path);
    }
}
