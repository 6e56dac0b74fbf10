//! `reload`, `status`, `streams` and `id` as a person runs them, against a service that is only its control socket.

#![allow(clippy::unwrap_used, reason = "clippy.toml allows it in test functions, not in what they call")]

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use assert_cmd::cargo::cargo_bin;
use nix::{
    pty::{OpenptyResult, Winsize, openpty},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use p2ptun::{
    control::{self, Handles, Refusal, ReloadRequest, Server},
    node::identity,
    spec::PeerId,
    status::{
        Applied, Failed,
        Path::{Direct, Relayed},
        PeerStatus, Status,
        streams::LiveStreams,
    },
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdout, Command},
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// How long anything that should happen may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

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
    streams: LiveStreams,
    reloads: mpsc::Receiver<ReloadRequest>,
    /// Stops the server when dropped.
    _server: JoinSet<()>,
}

fn serve(socket: &Path) -> Service {
    let (status, status_seen) = watch::channel(Status::new(PeerId::random(), "/etc/p2ptun.toml".into()));
    let (reload, reloads) = mpsc::channel(1);
    let streams = LiveStreams::default();
    let handles = Handles { status: status_seen, streams: streams.clone(), reload };
    let mut server = JoinSet::new();
    server.spawn(Server::bind(socket, handles).unwrap().run(CancellationToken::new()));
    Service { status, streams, reloads, _server: server }
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
        restart_required: vec!["node.identity".into()],
    };
    let troubles = "! web: address in use\na restart is needed for node.identity\n";
    let (reloaded, ()) = tokio::join!(machine.run(&["reload"]), service.answers(Ok(applied)));
    assert_eq!(reloaded, said(0, "+ web\n- old\n~ ssh\n", troubles));
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
    for command in ["reload", "status", "streams", "id"] {
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

/// A peer of the service that its file gives a name.
fn named(name: &str) -> PeerStatus {
    let json = serde_json::json!({
        "id": PeerId::random().to_string(), "name": name, "connected": true, "path": "direct", "address": null, "rtt_ms": null
    });
    serde_json::from_value(json).unwrap()
}

#[tokio::test]
async fn streams_are_listed_with_the_names_of_peers_and_filtered() {
    let machine = Machine::new();
    let service = serve(&machine.root.join("control.sock"));
    assert_eq!(machine.run(&["streams"]).await, said(0, "no live streams\n", ""));
    assert_eq!(machine.run(&["streams", "--json"]).await, said(0, "[]\n", ""));
    let laptop = named("laptop");
    let (known, stranger) = (laptop.id, PeerId::random());
    service.status.send_modify(|status| status.peers = vec![laptop]);
    let enter = |tunnel: &str, peer, path| {
        service.streams.enter(tunnel.try_into().unwrap(), peer, path, CancellationToken::new())
    };
    let streams = [enter("ssh", known, Direct), enter("web", known, Relayed), enter("web", stranger, Direct)];
    streams[0].bytes.inbound.add(2048);

    let ids = async |filter: &[&str]| {
        let Said { exit, out, err } = machine.run(&[&["streams"], filter].concat()).await;
        assert_eq!((exit, err.as_str()), (Some(0), ""));
        let ids = out.lines().skip(1).filter_map(|line| line.split_whitespace().next()?.parse().ok());
        (ids.collect::<Vec<u64>>(), out)
    };
    let (all, table) = ids(&[]).await;
    assert_eq!(all, [1, 2, 3]);
    let first: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((&first[..3], &first[4..]), (&["1", "ssh", "direct"][..], &["2.00", "KiB", "0", "B", "laptop"][..]));
    assert!(table.contains(&stranger.to_string()), "{table}");
    assert_eq!(ids(&["--tunnel", "web"]).await.0, [2, 3]);
    assert_eq!(ids(&["--peer", "laptop"]).await.0, [1, 2]);
    assert_eq!(ids(&["--peer", &stranger.to_string()]).await.0, [3]);
    assert_eq!(ids(&["--tunnel", "web", "--peer", "laptop"]).await.0, [2]);

    let expected = serde_json::to_string_pretty(&service.streams.list()).unwrap() + "\n";
    assert_eq!(machine.run(&["streams", "--json"]).await, said(0, &expected, ""));
    let expected = serde_json::to_string_pretty(&service.streams.list()[1..]).unwrap() + "\n";
    assert_eq!(machine.run(&["streams", "--json", "--tunnel", "web"]).await, said(0, &expected, ""));
}

#[tokio::test]
async fn of_several_streams_to_be_closed_each_is_tried_and_those_that_are_not_there_are_named() {
    let machine = Machine::new();
    let service = serve(&machine.root.join("control.sock"));
    let laptop = named("laptop");
    let peer = laptop.id;
    service.status.send_modify(|status| status.peers = vec![laptop]);
    let cuts: [CancellationToken; 3] = Default::default();
    let enter = |cut: &CancellationToken| service.streams.enter("ssh".try_into().unwrap(), peer, Direct, cut.clone());
    let _streams = cuts.each_ref().map(enter);

    let closed = machine.run(&["streams", "close", "99", "1", "3", "3"]).await;
    let missing = "p2ptun: there is no stream 99; `p2ptun streams` lists those that are live\n";
    assert_eq!(closed, said(66, "closed 1: ssh, laptop\nclosed 3: ssh, laptop\n", missing));
    assert_eq!(cuts.each_ref().map(CancellationToken::is_cancelled), [true, false, true]);
    assert_eq!(machine.run(&["streams", "close", "2"]).await, said(0, "closed 2: ssh, laptop\n", ""));
    for nonsense in [&["streams", "close"][..], &["streams", "close", "one"], &["streams", "--json", "close", "1"]] {
        assert_eq!(machine.run(nonsense).await.exit, Some(64), "{nonsense:?}");
    }
}

/// A `status --watch` that is being read.
struct Watching {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Watching {
    fn start(machine: &Machine, arguments: &[&str]) -> Self {
        let mut command = machine.command(&[&["status"], arguments].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// Reads on until a line says `words`, and returns that line.
    async fn until(&mut self, words: &str) -> String {
        let reading = async {
            loop {
                let mut line = String::new();
                assert_ne!(self.output.read_line(&mut line).await.unwrap(), 0, "it ended before it said {words:?}");
                if line.contains(words) {
                    return line;
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.unwrap()
    }

    async fn end(self, signal: Signal) -> Said {
        kill(Pid::from_raw(self.child.id().unwrap() as i32), signal).unwrap();
        drop(self.output);
        Said::from(tokio::time::timeout(PATIENCE, self.child.wait_with_output()).await.unwrap().unwrap())
    }
}

#[tokio::test]
async fn a_watch_shows_each_change_until_a_signal_ends_it() {
    let machine = Machine::new();
    let service = serve(&machine.root.join("control.sock"));
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let mut watching = Watching::start(&machine, &["--watch=0.1"]);
        watching.until("○ no tunnels").await;
        service.status.send_modify(|status| status.config.error = Some("line 3".into()));
        watching.until("× configuration refused").await;
        service.status.send_modify(|status| status.config.error = None);
        // One after another, and each with its time.
        watching.until("--- 20").await;
        watching.until("○ no tunnels").await;
        assert_eq!(watching.end(signal).await, said(0, "", ""));
    }
}

#[tokio::test]
async fn a_watch_in_json_is_a_line_each() {
    let machine = Machine::new();
    let service = serve(&machine.root.join("control.sock"));
    let mut watching = Watching::start(&machine, &["--watch", "--json"]);
    for _ in 0..2 {
        let line = watching.until("").await;
        assert_eq!(line, serde_json::to_string(&*service.status.borrow()).unwrap() + "\n");
    }
    assert_eq!(watching.end(Signal::SIGTERM).await.exit, Some(0));
}

#[tokio::test]
async fn a_watch_says_that_the_service_has_gone_and_goes_on_when_it_is_back() {
    let machine = Machine::new();
    let socket = machine.root.join("control.sock");
    assert_eq!(machine.run(&["status", "--watch"]).await.exit, Some(69), "there was none to begin with");
    let service = serve(&socket);
    let mut watching = Watching::start(&machine, &["--watch=0.1"]);
    watching.until("○ no tunnels").await;
    drop(service);
    watching.until("× no answer from the service").await;
    watching.until("no service is running").await;
    let _service = serve(&socket);
    watching.until("○ no tunnels").await;
    assert_eq!(watching.end(Signal::SIGINT).await.exit, Some(0));
}

#[tokio::test]
async fn a_watch_ends_when_nobody_reads_it_and_by_a_signal_when_its_reader_is_slow() {
    let machine = Machine::new();
    let service = serve(&machine.root.join("control.sock"));
    let mut watching = Watching::start(&machine, &["--watch=0.1"]);
    watching.until("○ no tunnels").await;
    drop(watching.output);
    let ended = tokio::time::timeout(PATIENCE, watching.child.wait_with_output()).await.unwrap().unwrap();
    assert_eq!(Said::from(ended), said(0, "", ""));

    // More than a pipe holds, so that writing waits for a reader.
    service.status.send_modify(|status| status.config.error = Some("x".repeat(1024 * 1024)));
    let mut watching = Watching::start(&machine, &["--watch=0.1"]);
    watching.until("configuration refused").await;
    kill(Pid::from_raw(watching.child.id().unwrap() as i32), Signal::SIGTERM).unwrap();
    let ended = tokio::time::timeout(PATIENCE, watching.child.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(0));
}

#[tokio::test]
async fn a_watch_on_a_terminal_draws_over_itself_and_leaves_the_scrollback_alone() {
    let machine = Machine::new();
    let service = serve(&machine.root.join("control.sock"));
    let OpenptyResult { master, slave } =
        openpty(&Winsize { ws_row: 10, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }, None).unwrap();
    let mut command = machine.command(&["status", "--watch=0.1"]);
    let mut child = command.env("TERM", "xterm").stdout(slave).kill_on_drop(true).spawn().unwrap();
    // Or the terminal never ends.
    drop(command);
    let (chunks, mut terminal) = mpsc::channel(16);
    let mut reader = JoinSet::new();
    reader.spawn_blocking(move || {
        let mut master = std::fs::File::from(master);
        let mut chunk = [0; 4096];
        // A terminal that nobody has open any more ends with an error.
        while let Ok(length @ 1..) = master.read(&mut chunk) {
            if chunks.blocking_send(chunk[..length].to_vec()).is_err() {
                break;
            }
        }
    });
    let mut drawn = Vec::new();
    for words in ["no tunnels", "configuration refused"] {
        let seen = async {
            while !String::from_utf8_lossy(&drawn).contains(words) {
                drawn.extend(terminal.recv().await.expect("it ended early"));
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.expect(words);
        service.status.send_modify(|status| status.config.error = Some("line 3".into()));
    }
    kill(Pid::from_raw(child.id().unwrap() as i32), Signal::SIGINT).unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap().code(), Some(0));
    while let Some(chunk) = terminal.recv().await {
        drawn.extend(chunk);
    }
    let drawn = String::from_utf8(drawn).unwrap();
    let frames: Vec<&str> = drawn.split("\x1b[?7l\x1b[H").collect();
    assert!(frames.len() >= 3, "{drawn:?}");
    assert_eq!(frames[0].trim(), "", "only lines that scroll");
    assert!(frames[1].starts_with("\x1b[2m○\x1b[0m no tunnels"), "{drawn:?}");
    assert!(frames.last().unwrap().contains("configuration refused"), "{drawn:?}");
    for frame in &frames[1..] {
        assert!(frame.matches('\n').count() <= 10 && frame.contains("\x1b[J\x1b[?7h"), "{frame:?}");
    }
    assert!(!drawn.contains("\x1b[?1049h") && !drawn.contains("\x1b[3J"), "{drawn:?}");
}

#[tokio::test]
async fn a_watch_ends_on_a_terminal_that_takes_nothing_any_more() {
    let machine = Machine::new();
    let service = serve(&machine.root.join("control.sock"));
    // More than a terminal holds, so that writing waits for a reader.
    service.status.send_modify(|status| status.config.error = Some("x".repeat(1024 * 1024)));
    let size = Winsize { ws_row: 60_000, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let OpenptyResult { master, slave } = openpty(&size, None).unwrap();
    let mut command = machine.command(&["status", "--watch=0.1"]);
    let mut child = command.env("TERM", "xterm").stdout(slave).kill_on_drop(true).spawn().unwrap();
    let mut begun = std::fs::File::from(master.try_clone().unwrap());
    tokio::task::spawn_blocking(move || begun.read(&mut [0; 16]).unwrap()).await.unwrap();
    kill(Pid::from_raw(child.id().unwrap() as i32), Signal::SIGINT).unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, child.wait()).await.expect("it hangs").unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_watch_checks_nothing_and_looks_at_sensible_times() {
    let machine = Machine::new();
    for arguments in [&["--watch", "--check"][..], &["--watch=0"], &["--watch=soon"], &["--watch=", "--json"]] {
        let refused = machine.run(&[&["status"], arguments].concat()).await;
        assert_eq!(refused.exit, Some(64), "{arguments:?}: {refused:?}");
    }
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
