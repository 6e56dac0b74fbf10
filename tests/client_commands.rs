//! `reload`, `status` and `id` as a person runs them, against a service that is only its control socket.

#![allow(clippy::unwrap_used, reason = "clippy.toml allows it in test functions, not in what they call")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use assert_cmd::cargo::cargo_bin;
use p2ptun::{
    control::{self, Handles, Refusal, ReloadRequest, Server},
    node::identity,
    spec::PeerId,
    status::{Applied, Failed, Status, streams::LiveStreams},
};
use tempfile::TempDir;
use tokio::{
    process::Command,
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// A machine of its own: nothing of the real one's service, keys and configuration is found.
struct Machine {
    root: PathBuf,
    _directory: TempDir,
}

impl Machine {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { root: directory.path().to_owned(), _directory: directory }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(cargo_bin!("p2ptun"));
        command.args(arguments).env_clear().env("RUNTIME_DIRECTORY", &self.root).env("STATE_DIRECTORY", &self.root);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Said {
        Said::from(self.command(arguments).output().await.unwrap())
    }

    fn key(&self) -> PathBuf {
        self.root.join("identity.key")
    }
}

#[derive(Debug, PartialEq)]
struct Said {
    exit: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { exit: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

fn said(exit: i32, out: &str, err: &str) -> Said {
    Said { exit: Some(exit), out: out.into(), err: err.into() }
}

struct Service {
    status: watch::Sender<Status>,
    reloads: mpsc::Receiver<ReloadRequest>,
    /// Stops the server when dropped.
    _server: JoinSet<()>,
}

fn serve(socket: &Path) -> Service {
    let (status, status_seen) = watch::channel(Status::new(PeerId::random(), "/etc/p2ptun.toml".into()));
    let (reload, reloads) = mpsc::channel(1);
    let handles = Handles { status: status_seen, streams: LiveStreams::default(), reload };
    let mut server = JoinSet::new();
    server.spawn(Server::bind(socket, handles).unwrap().run(CancellationToken::new()));
    Service { status, reloads, _server: server }
}

impl Service {
    async fn answers(&mut self, outcome: Result<Applied, Refusal>) {
        self.reloads.recv().await.unwrap().reply.send(outcome).unwrap();
    }

    fn peer_id(&self) -> String {
        format!("{}\n", self.status.borrow().peer_id)
    }
}

#[tokio::test]
async fn a_reload_tells_what_changed_and_what_failed() {
    let machine = Machine::new();
    let mut service = serve(&machine.root.join("control.sock"));
    let applied = Applied {
        added: vec!["web".try_into().unwrap()],
        removed: vec!["old".try_into().unwrap()],
        changed: vec!["ssh".try_into().unwrap()],
        failed: vec![Failed { name: "web".try_into().unwrap(), error: "address in use".into() }],
    };
    let (reloaded, ()) = tokio::join!(machine.run(&["reload"]), service.answers(Ok(applied)));
    assert_eq!(reloaded, said(0, "+web\n-old\n~ssh\n", "!web: address in use\n"));
    let (refused, ()) = tokio::join!(machine.run(&["reload"]), service.answers(Err("line 3: unknown key".into())));
    assert_eq!(refused.exit, Some(78));
    assert!(refused.err.contains("stays: line 3: unknown key"), "{}", refused.err);
}

#[tokio::test]
async fn a_refused_reload_shows_every_problem_as_check_does() {
    let machine = Machine::new();
    let mut service = serve(&machine.root.join("control.sock"));
    let problem = |line, is_error| control::Problem {
        is_error,
        message: "unknown key `x`".into(),
        file: "/etc/p2ptun.toml".into(),
        line,
        column: 1,
        rendered: format!("error: unknown key\n --> /etc/p2ptun.toml:{line}:1\n  |\n{line} | x\u{1b}[2J = 1\n  | ^"),
    };
    let refusal = |problems| Refusal { error: "unknown key `x` (and 1 more)".into(), problems };
    let some = refusal(vec![problem(1, true), problem(3, true), problem(4, false)]);
    let (refused, ()) = tokio::join!(machine.run(&["reload"]), service.answers(Err(some)));
    let shown = [
        "error: unknown key\n --> /etc/p2ptun.toml:1:1\n  |\n1 | x\u{fffd}[2J = 1\n  | ^\n",
        "error: unknown key\n --> /etc/p2ptun.toml:3:1\n  |\n3 | x\u{fffd}[2J = 1\n  | ^\n",
        "error: unknown key\n --> /etc/p2ptun.toml:4:1\n  |\n4 | x\u{fffd}[2J = 1\n  | ^\n",
        "p2ptun: the configuration was refused for 2 errors, and the set in force stays\n",
    ];
    assert_eq!(refused, said(78, "", &shown.join("\n")));
    let many = refusal((0..Refusal::MOST).map(|line| problem(line, true)).collect());
    let (refused, ()) = tokio::join!(machine.run(&["reload"]), service.answers(Err(many)));
    assert!(refused.err.ends_with("refused for 100 or more errors, and the set in force stays\n"), "{}", refused.err);
}

#[tokio::test]
async fn without_the_service_that_was_named_nobody_is_asked() {
    let machine = Machine::new();
    let _other = serve(&machine.root.join("control.sock"));
    let elsewhere = machine.root.join("elsewhere.sock");
    for command in ["reload", "status", "id"] {
        let refused = machine.run(&[command, "--socket", elsewhere.to_str().unwrap()]).await;
        assert_eq!(refused.exit, Some(69), "{command}: {refused:?}");
        assert!(refused.err.contains("elsewhere.sock"), "{refused:?}");
    }
}

#[tokio::test]
async fn json_is_what_the_service_says() {
    let machine = Machine::new();
    let service = serve(&machine.root.join("control.sock"));
    let expected = serde_json::to_string_pretty(&*service.status.borrow()).unwrap() + "\n";
    assert_eq!(machine.run(&["status", "--json"]).await, said(0, &expected, ""));
}

#[tokio::test]
async fn a_check_fails_while_the_file_is_refused() {
    let machine = Machine::new();
    let service = serve(&machine.root.join("control.sock"));
    assert_eq!(machine.run(&["status", "--check"]).await.exit, Some(0));
    service.status.send_modify(|status| status.config.error = Some("line 3".into()));
    assert_eq!(machine.run(&["status"]).await.exit, Some(0));
    for arguments in [&["status", "--check"][..], &["status", "--check", "--json"]] {
        let checked = machine.run(arguments).await;
        assert_eq!(checked.exit, Some(3));
        assert!(checked.out.contains("line 3"), "{checked:?}");
    }
}

#[tokio::test]
async fn a_reader_that_leaves_early_is_no_failure() {
    let machine = Machine::new();
    let _service = serve(&machine.root.join("control.sock"));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = machine.command(&["status"]).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    assert_eq!(Said::from(child.wait_with_output().await.unwrap()), said(0, "", ""));
}

#[tokio::test]
async fn the_id_is_that_of_the_service_while_it_runs() {
    let machine = Machine::new();
    identity::create(&machine.key()).unwrap();
    let service = serve(&machine.root.join("control.sock"));
    assert_eq!(machine.run(&["id"]).await, said(0, &service.peer_id(), ""));
    let address = format!("/ip4/192.0.2.1/tcp/5460/p2p/{}", service.status.borrow().peer_id);
    service.status.send_modify(|status| status.addresses = vec![address.parse().unwrap()]);
    assert_eq!(machine.run(&["id", "--addresses"]).await, said(0, &format!("{address}\n"), ""));
}

#[tokio::test]
async fn the_id_is_that_of_the_file_which_is_named_whatever_runs() {
    let machine = Machine::new();
    let _service = serve(&machine.root.join("control.sock"));
    let config = machine.root.join("other.toml");
    fs::write(&config, format!("[node]\nidentity = {:?}\n", machine.root.join("other.key"))).unwrap();
    let config = config.to_str().unwrap();
    assert_eq!(machine.run(&["id", "-c", config]).await.exit, Some(66));
    let made = machine.run(&["id", "-c", config, "--create"]).await;
    assert_eq!(made.exit, Some(0), "{made:?}");
    assert_eq!(machine.run(&["id", "-c", config]).await, made);
    assert_eq!(made.out, format!("{}\n", identity::read_peer_id(&machine.root.join("other.key")).unwrap()));
}

#[tokio::test]
async fn a_key_is_made_once_and_only_when_asked_for() {
    let machine = Machine::new();
    let config = machine.root.join("p2ptun.toml");
    fs::write(&config, "").unwrap();
    let config = config.to_str().unwrap();
    assert_eq!(machine.run(&["id", "-c", config]).await.exit, Some(66));
    assert!(!machine.key().exists());
    let made = machine.run(&["id", "-c", config, "--create"]).await;
    assert_eq!(made.exit, Some(0), "{made:?}");
    assert_eq!(machine.run(&["id", "-c", config, "--create"]).await, made);
    assert_eq!(machine.run(&["id", "-c", "/no/such/file"]).await.exit, Some(66));
}

#[tokio::test]
async fn what_a_file_says_cannot_steer_the_terminal_of_whoever_asks() {
    let machine = Machine::new();
    let config = machine.root.join("p2ptun.toml");
    fs::write(&config, "[node]\nidentity = \"/no/\\u001b[31mred\\u009b\\u202e.key\"\n").unwrap();
    let config = config.to_str().unwrap();
    for arguments in [&["id", "-c", config][..], &["check", config, "--print"]] {
        let Said { out, err, .. } = machine.run(arguments).await;
        let shown = out + &err;
        assert!(shown.contains("red"), "{shown:?}");
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n' || c == '\u{202e}'), "{shown:?}");
    }
}

#[tokio::test]
async fn an_empty_variable_names_nothing() {
    let machine = Machine::new();
    let service = serve(&machine.root.join("control.sock"));
    let mut command = machine.command(&["id"]);
    command.env("P2PTUN_SOCKET", "").env("P2PTUN_CONFIG", "");
    assert_eq!(Said::from(command.output().await.unwrap()), said(0, &service.peer_id(), ""));
    assert_eq!(machine.run(&["check", "--config", ""]).await.exit, Some(64));
}

#[tokio::test]
async fn the_id_of_a_named_file_does_not_depend_on_a_socket_in_the_environment() {
    let machine = Machine::new();
    let socket = machine.root.join("control.sock");
    let service = serve(&socket);
    let (config, key) = (machine.root.join("other.toml"), machine.root.join("other.key"));
    fs::write(&config, format!("[node]\nidentity = {key:?}\n")).unwrap();
    let id = format!("{}\n", identity::create(&key).unwrap());
    let mut command = machine.command(&["id", "-c", config.to_str().unwrap()]);
    assert_eq!(Said::from(command.env("P2PTUN_SOCKET", &socket).output().await.unwrap()), said(0, &id, ""));
    let of_the_service =
        machine.run(&["id", "-c", config.to_str().unwrap(), "--socket", socket.to_str().unwrap()]).await;
    assert_eq!(of_the_service, said(0, &service.peer_id(), ""));
}
