//! The pictures in the README are recordings of the real binary. `P2PTUN_PICTURES=record cargo test --test pictures` makes
//! them anew; without it, the tests see to it that they still show what the binary prints.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]
#![allow(dead_code, reason = "each test file uses a part of what they share")]

mod folder;
mod support;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Output,
};

use anstyle_svg::Term;
use folder::Folder;
use serde_json::Value;
use support::{Node, Service, Target, Transport, peer, soon, traffic::ping};

/// What a terminal of 80 columns gets. Colours are asked for, since there is none.
const SCREEN: [(&str, &str); 3] = [("CLICOLOR_FORCE", "1"), ("COLUMNS", "80"), ("TERM", "xterm-256color")];

const MISTAKES: &str = "\
[peers.home]
id = \"{home}\"

[listen.ssh]
target = \"127.0.0.1:22\"
alow = [\"home\"]

[forward.web]
protocol = \"/x/web\"
bind = \"127.0.0.1:8080\"
peer = \"hime\"
";

fn picture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/pictures").join(name)
}

/// Records `command` with what it printed, or compares that with the recording. `same` makes two equal that may differ.
fn assert_pictured(name: &str, command: &str, printed: &[u8], same: impl Fn(&str) -> String) {
    let printed = str::from_utf8(printed).unwrap();
    assert!(printed.contains('\u{1b}'), "no colour: {printed}");
    let svg = Term::new().render_svg(&format!("$ {command}\n{printed}"));
    let path = picture(name);
    if env::var_os("P2PTUN_PICTURES").is_some_and(|wish| wish == "record") {
        fs::write(&path, &svg).unwrap();
    }
    let recorded = same(&words(&fs::read_to_string(&path).unwrap()));
    assert_eq!(recorded, same(&words(&svg)), "{name} no longer shows what is printed");
}

/// The words of a picture, with one space between them.
fn words(svg: &str) -> String {
    let body = svg.split_once("<text").expect("there is text in the picture").1;
    let shown: String = body.split('<').map(|part| part.split_once('>').map_or("", |(_, text)| text)).collect();
    shown.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_picture_of_a_mistake_shows_what_check_prints() {
    let folder = Folder::with(&[("p2ptun.toml", MISTAKES)]);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_p2ptun"));
    command.args(["check", "p2ptun.toml"]).current_dir(folder.path("")).env_remove("NO_COLOR").envs(SCREEN);
    let Output { status, stderr, .. } = command.output().unwrap();
    assert_eq!(status.code(), Some(78));
    assert_pictured("check.svg", "p2ptun check p2ptun.toml", &stderr, str::to_owned);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_picture_of_a_status_shows_what_status_prints() {
    let echo = Service::echo();
    let taken = Target::bind();
    let mut home = Node::prepare("home", Transport::Tcp).await;
    let mut laptop = Node::prepare("laptop", Transport::Tcp).await;
    home.body = format!("[listen.ssh]\ntarget = \"{}\"\nallow = [\"{}\"]\n", echo.address, laptop.id);
    home.start().await;
    let forward = |name: &str, protocol: &str, bind: &str, peer: &str| {
        format!("[forward.{name}]\nprotocol = \"/x/{protocol}\"\nbind = \"{bind}\"\npeer = \"{peer}\"\n")
    };
    let office = libp2p::PeerId::random().to_string();
    laptop.body = [
        peer("home", &home.id, &home.addresses().await),
        // Nobody listens on port 1.
        peer("office", &office, &["/ip4/127.0.0.1/tcp/1".to_owned()]),
        "[listen.wiki]\ntarget = \"127.0.0.1:3000\"\nallow = [\"home\", \"office\"]\n".to_owned(),
        forward("home-ssh", "ssh", "127.0.0.1:0", "home"),
        forward("home-web", "web", &taken.address.to_string(), "home"),
        forward("office-nas", "nas", "127.0.0.1:0", "office"),
    ]
    .concat();
    laptop.start().await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = laptop.connect("home-ssh").await;
        soon("an echo", ping(&mut client)).await.unwrap();
        clients.push(client);
    }
    let of = |status: &Value, name: &str| {
        status["peers"].as_array().unwrap().iter().find(|peer| peer["name"] == name).unwrap().clone()
    };
    laptop
        .wait_until("everything has been seen", |status| {
            let (home, office) = (of(status, "home"), of(status, "office"));
            home["rtt_ms"].is_number() && home["streams"] == 2 && office["error"].is_string()
        })
        .await;
    let mut command = laptop.command();
    command.env_remove("NO_COLOR").envs(SCREEN).arg("status").arg("--socket").arg(laptop.socket());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    // The node's folder is another one each time, and stands for the place where an operator has the file.
    let folder = laptop.dir().to_str().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap().replace(folder, "/etc");
    assert_pictured("status.svg", "p2ptun status", printed.as_bytes(), without_what_changes);
}

/// `text` without its peer ids and numbers, and without how long ago something was.
fn without_what_changes(text: &str) -> String {
    let mut same = String::new();
    for part in text.split(' ') {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let shown = if part.contains("12D3KooW") { "ID".to_owned() } else { part.replace(is_number, "") };
        same = same + &shown + " ";
    }
    let same = same.replace("just now", "s ago");
    // What stands in parentheses says when it was, and when it is tried again; but for the number of an error.
    let mut parts = same.split('(');
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |shown, part| match part.split_once(')') {
        Some((inner, rest)) if !inner.contains("error") => shown + "()" + rest,
        _ => shown + "(" + part,
    })
}
