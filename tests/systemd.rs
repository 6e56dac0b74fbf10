//! What the service tells whoever set NOTIFY_SOCKET, as systemd does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::{
    fs, io,
    os::{linux::net::SocketAddrExt, unix::net},
    time::Duration,
};

use nix::sys::signal::Signal;
use support::{Node, PATIENCE, Pair, Service, Transport, eventually, forward, listen, peer, soon, traffic::ping};
use tempfile::TempDir;
use tokio::{
    net::{TcpStream, UnixDatagram},
    time::{Instant, timeout},
};

/// A peer that nobody has.
const NOBODY: &str = "12D3KooWJpUikX2teHCrRgFNaZHTyG3nrPNdpa7ANSqMEYpW9zqi";

/// A service manager: what it hears, message by message, each as its fields.
struct Manager {
    socket: UnixDatagram,
    name: String,
    _directory: TempDir,
}

impl Manager {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { socket, name: path.to_str().unwrap().to_owned(), _directory: directory }
    }

    /// One with a name that is no file.
    fn abstractly_named() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let name = directory.path().to_str().unwrap().to_owned();
        let socket = net::UnixDatagram::bind_addr(&net::SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let socket = UnixDatagram::from_std(socket).unwrap();
        Self { socket, name: format!("@{name}"), _directory: directory }
    }

    /// Has the node be told of this manager, and of nothing else.
    fn employ(&self, node: &mut Node) {
        node.variables = vec![("NOTIFY_SOCKET", self.name.clone())];
    }

    async fn next(&self) -> Vec<String> {
        soon("a message to the manager", self.receive()).await
    }

    async fn receive(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).await.unwrap();
        fields(&buffer[..length])
    }

    /// What has arrived already.
    fn arrived(&self) -> Vec<Vec<String>> {
        let mut buffer = [0; 4096];
        let mut messages = Vec::new();
        loop {
            match self.socket.try_recv(&mut buffer) {
                Ok(length) => messages.push(fields(&buffer[..length])),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break messages,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// All messages up to the first that has `field`.
    async fn up_to(&self, field: &str) -> Vec<Vec<String>> {
        let mut messages = Vec::new();
        loop {
            messages.push(self.next().await);
            if has(messages.last().unwrap(), field) {
                break messages;
            }
        }
    }

    /// Waits for a status line like this.
    async fn shows(&self, what: &str) -> String {
        loop {
            if let Some(line) = status_line(&self.next().await).filter(|line| line.contains(what)) {
                break line;
            }
        }
    }
}

fn fields(message: &[u8]) -> Vec<String> {
    std::str::from_utf8(message).unwrap().lines().map(str::to_owned).collect()
}

fn has(message: &[String], field: &str) -> bool {
    message.iter().any(|has| has == field)
}

fn status_line(message: &[String]) -> Option<String> {
    message.iter().find_map(|field| field.strip_prefix("STATUS=")).map(str::to_owned)
}

/// The words of messages about the life of the service, without status lines.
fn words(messages: &[Vec<String>]) -> Vec<&str> {
    let words = messages.iter().flatten().map(|field| field.split_once('=').unwrap().0);
    words.filter(|word| *word != "STATUS").collect()
}

/// A node with a forward to somebody who is not there.
async fn lonely() -> Node {
    let mut node = Node::prepare("lonely", Transport::Tcp).await;
    node.body = format!("{}{}", peer("server", NOBODY, &[]), forward("echo"));
    node
}

async fn ready_when_bound(manager: Manager) {
    let mut node = lonely().await;
    manager.employ(&mut node);
    node.write();
    node.spawn();
    let ready = manager.next().await;
    assert_eq!(ready, ["READY=1", "STATUS=1 tunnel ready; 0 streams; 0 of 1 peer connected"]);
    // Without waiting for anything.
    let status = node.status().await;
    let bind = status["tunnels"][0]["bind"].as_str().unwrap();
    TcpStream::connect(bind).await.unwrap();
    node.stop().await;
    assert_eq!(words(&manager.arrived())[..2], ["STOPPING", "EXTEND_TIMEOUT_USEC"]);
}

#[tokio::test]
async fn it_is_ready_when_its_sockets_are_bound_without_waiting_for_a_peer() {
    ready_when_bound(Manager::new()).await;
}

#[tokio::test]
async fn a_manager_with_an_abstract_name_is_told_too() {
    ready_when_bound(Manager::abstractly_named()).await;
}

#[tokio::test]
async fn a_reload_is_announced_and_over_before_whoever_asked_is_answered_also_when_it_is_refused() {
    let manager = Manager::new();
    let mut node = lonely().await;
    manager.employ(&mut node);
    node.start().await;
    manager.up_to("READY=1").await;

    node.edit(|body| format!("{body}{}", forward("more")));
    node.reload_applied().await;
    let reload = manager.arrived();
    assert_eq!(words(&reload), ["RELOADING", "MONOTONIC_USEC", "READY"], "{reload:?}");
    let time = reload.iter().flatten().find_map(|field| field.strip_prefix("MONOTONIC_USEC=")).unwrap();
    assert!(time.parse::<u64>().unwrap() > 0);
    let shown: Vec<_> = reload.iter().filter_map(|message| status_line(message)).collect();
    assert_eq!(shown, ["2 tunnels ready; 0 streams; 0 of 1 peer connected"]);

    fs::write(&node.config, "nonsense = 1\n").unwrap();
    assert_eq!(node.reload().await.status.code(), Some(78));
    let refused = manager.arrived();
    assert_eq!(words(&refused), ["RELOADING", "MONOTONIC_USEC", "READY"], "{refused:?}");
    let shown = status_line(refused.last().unwrap()).unwrap();
    let place = format!("refused: {}:1:1: error: unknown key `nonsense`", node.config.display());
    assert!(shown.starts_with("2 tunnels ready; ") && shown.ends_with(&place), "{shown}");

    node.write();
    node.reload_applied().await;
    let mended = manager.arrived();
    assert_eq!(status_line(mended.last().unwrap()).unwrap(), "2 tunnels ready; 0 streams; 0 of 1 peer connected");
    node.stop().await;
}

#[tokio::test]
async fn a_look_is_announced_if_it_finds_something_new_and_not_otherwise() {
    let manager = Manager::new();
    let mut node = lonely().await;
    manager.employ(&mut node);
    node.start().await;
    manager.up_to("READY=1").await;
    for nothing_new in 0..3 {
        node.signal(Signal::SIGHUP);
        node.wait_until(&format!("look {nothing_new} may have been taken"), |_| true).await;
    }
    node.edit(|body| format!("{body}{}", forward("more")));
    node.signal(Signal::SIGHUP);
    let look = manager.up_to("READY=1").await;
    assert_eq!(words(&look), ["RELOADING", "MONOTONIC_USEC", "READY"], "{look:?}");
    fs::write(&node.config, "nonsense = 1\n").unwrap();
    node.signal(Signal::SIGHUP);
    manager.shows("refused: ").await;
    // A broken file that was seen is nothing new either. A hangup is heard before a request to end.
    node.signal(Signal::SIGHUP);
    node.stop().await;
    assert_eq!(words(&manager.arrived())[..2], ["STOPPING", "EXTEND_TIMEOUT_USEC"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_line_follows_what_happens_but_not_more_often_than_once_a_second() {
    let echo = Service::echo();
    let manager = Manager::new();
    let mut pair = Pair::prepare(Transport::Tcp).await;
    manager.employ(&mut pair.client);
    pair.launch(&listen("echo", echo.address), &forward("echo")).await;
    let mut client = pair.client.connect("echo").await;
    soon("an echo", ping(&mut client)).await.unwrap();
    let began = Instant::now();
    assert_eq!(manager.shows("; 1 stream;").await, "1 tunnel ready; 1 stream; 1 of 1 peer connected");
    drop(client);
    assert_eq!(manager.shows("; 0 streams;").await, "1 tunnel ready; 0 streams; 1 of 1 peer connected");

    let mut changes = 2;
    while began.elapsed() < Duration::from_secs(4) {
        let mut client = pair.client.connect("echo").await;
        soon("an echo", ping(&mut client)).await.unwrap();
        changes += 2;
    }
    let shown = 2 + manager.arrived().iter().filter(|message| status_line(message).is_some()).count();
    let at_most = began.elapsed().as_secs() as usize + 2;
    assert!(shown <= at_most && at_most < changes, "{shown} lines for {changes} changes, {at_most} allowed");

    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let held = holder.local_addr().unwrap().to_string();
    pair.client.edit(|body| format!("{body}{}", forward("taken").replace("127.0.0.1:0", &held)));
    pair.client.reload_applied().await;
    let line = manager.shows("1 failed").await;
    assert!(line.contains(&format!("; taken: can't listen on {held}: ")), "{line}");
}

#[tokio::test]
async fn the_watchdog_is_fed_for_as_long_as_the_service_works() {
    let manager = Manager::new();
    let mut node = lonely().await;
    manager.employ(&mut node);
    node.variables.push(("WATCHDOG_USEC", "400000".to_owned()));
    node.start().await;
    for _ in 0..3 {
        manager.up_to("WATCHDOG=1").await;
    }
    node.signal(Signal::SIGSTOP);
    eventually("it is stopped", || {
        let state = fs::read_to_string(format!("/proc/{}/stat", node.pid())).unwrap();
        async move { state.rsplit_once(") ").unwrap().1.starts_with('T').then_some(()) }
    })
    .await;
    manager.arrived();
    let heard = timeout(Duration::from_secs(2), manager.receive()).await;
    assert!(heard.is_err(), "a stopped process says {heard:?}");
    node.signal(Signal::SIGCONT);
    for _ in 0..3 {
        manager.up_to("WATCHDOG=1").await;
    }
    node.stop().await;
}

#[tokio::test]
async fn the_watchdog_of_another_process_is_not_ours_to_feed() {
    let manager = Manager::new();
    let mut node = lonely().await;
    manager.employ(&mut node);
    // So often that it would be heard at once.
    node.variables.extend([("WATCHDOG_USEC", "2000".to_owned()), ("WATCHDOG_PID", "1".to_owned())]);
    node.start().await;
    for _ in 0..5 {
        node.reload_applied().await;
    }
    node.stop().await;
    let messages = manager.arrived();
    assert!(!words(&messages).contains(&"WATCHDOG"), "{messages:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_streams_drain_it_asks_for_more_time_again_and_again() {
    let echo = Service::echo();
    let manager = Manager::new();
    let mut pair = Pair::prepare(Transport::Tcp).await;
    manager.employ(&mut pair.client);
    pair.client.node_keys = "stop_timeout = \"5m\"\n".to_owned();
    pair.launch(&listen("echo", echo.address), &forward("echo")).await;
    let mut client = pair.client.connect("echo").await;
    soon("an echo", ping(&mut client)).await.unwrap();
    pair.client.signal(Signal::SIGTERM);
    let stopping = manager.up_to("STOPPING=1").await.pop().unwrap();
    assert!(stopping[1].starts_with("EXTEND_TIMEOUT_USEC="), "{stopping:?}");
    assert!(status_line(&stopping).unwrap().starts_with("stopping; "), "{stopping:?}");
    let granted: u64 = stopping[1].split_once('=').unwrap().1.parse().unwrap();
    for _ in 0..2 {
        let asked = Instant::now();
        manager.up_to(&stopping[1]).await;
        assert!(asked.elapsed() < Duration::from_micros(granted), "it asks too late");
    }
    // The stream lives on meanwhile, and its end is the end.
    soon("an echo", ping(&mut client)).await.unwrap();
    drop(client);
    assert_eq!(pair.client.exit_within(PATIENCE).await.code(), Some(0));
}

#[tokio::test]
async fn a_manager_that_is_not_there_is_reported_once_and_the_service_goes_on() {
    let mut node = lonely().await;
    let nowhere = node.dir().join("nowhere").to_str().unwrap().to_owned();
    node.variables = vec![("NOTIFY_SOCKET", nowhere), ("WATCHDOG_USEC", "2000".to_owned())];
    node.start().await;
    for _ in 0..5 {
        node.reload_applied().await;
    }
    node.stop().await;
    let reports = node.log_text().matches("can't tell the service manager").count();
    assert_eq!(reports, 1);
}
