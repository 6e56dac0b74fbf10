//! What an edit of the file does to tunnels and to the streams in them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::{
    ffi::OsStr,
    fs,
    net::SocketAddr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::{
    Node, Pair, Service, Target, Transport, forward, listen, peer, soon,
    traffic::{Ending, ending, ping, receive, send},
    within,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    task::JoinSet,
};

/// Whether a status has exactly these tunnels.
fn names(status: &Value) -> Vec<&str> {
    status["tunnels"].as_array().unwrap().iter().map(|tunnel| tunnel["name"].as_str().unwrap()).collect()
}

async fn refused(address: SocketAddr) -> bool {
    match soon("a connect has a result", TcpStream::connect(address)).await {
        Ok(_) => false,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
    }
}

/// What the service at the end of a forward says.
async fn said(address: SocketAddr) -> std::io::Result<String> {
    let mut text = String::new();
    TcpStream::connect(address).await?.read_to_string(&mut text).await?;
    Ok(text)
}

// ---- the long transfer

/// One way to change what the service finds at its path.
#[derive(Clone, Copy, Debug)]
enum Edit {
    InPlace,
    Rename,
    SymlinkSwap,
    ConfigMapSwap,
    IncludeAdded,
    IncludeRemoved,
    GoneForTwoSeconds,
    BrokenThenMended,
}

/// Each kind in turn; most of them replace what another kind left.
const ROUND: [Edit; 10] = [
    Edit::InPlace,
    Edit::IncludeAdded,
    Edit::Rename,
    Edit::SymlinkSwap,
    Edit::InPlace,
    Edit::ConfigMapSwap,
    Edit::BrokenThenMended,
    Edit::ConfigMapSwap,
    Edit::IncludeRemoved,
    Edit::SymlinkSwap,
];
const EDITS: usize = 50;

/// A watched node whose file is changed in all the ways in which files are changed.
struct Edited<'a> {
    node: &'a Node,
    /// Peers and the tunnel that carries the transfer.
    constant: String,
    /// A target for the tunnels that come and go.
    target: SocketAddr,
    edits: usize,
    marker: String,
    included: Option<String>,
}

impl<'a> Edited<'a> {
    fn of(node: &'a Node, target: SocketAddr) -> Self {
        let constant = node.text();
        Self { node, constant, target, edits: 0, marker: String::new(), included: None }
    }

    fn text_with_marker(&self) -> String {
        format!("{}\n{}", self.constant, listen(&self.marker, self.target).replace("\"client\"", ""))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.node.dir().join(name)
    }

    /// Puts a symlink to `target` in the place of `name`, as one step.
    fn swap_symlink(&self, target: &Path, name: &Path) {
        let new = self.path(".new-link");
        symlink(target, &new).unwrap();
        fs::rename(new, name).unwrap();
    }

    fn rename_over(&self, name: &Path, text: &str) {
        let new = self.path(".new-file");
        fs::write(&new, text).unwrap();
        fs::rename(new, name).unwrap();
    }

    async fn apply(&mut self, edit: Edit) {
        self.edits += 1;
        let nth = self.edits;
        let config = self.node.config.clone();
        match edit {
            Edit::IncludeAdded => {
                let name = format!("included-{nth}");
                let text = listen(&name, self.target).replace("\"client\"", "");
                fs::write(self.path("p2ptun.d").join("extra.toml"), text).unwrap();
                self.included = Some(name);
                return self.followed(edit).await;
            }
            Edit::IncludeRemoved => {
                fs::remove_file(self.path("p2ptun.d").join("extra.toml")).unwrap();
                self.included = None;
                return self.followed(edit).await;
            }
            _ => self.marker = format!("marker-{nth}"),
        }
        let text = self.text_with_marker();
        match edit {
            Edit::InPlace => fs::write(&config, &text).unwrap(),
            Edit::Rename => self.rename_over(&config, &text),
            Edit::SymlinkSwap => {
                let version = format!("version-{nth}.toml");
                fs::write(self.path(&version), &text).unwrap();
                self.swap_symlink(Path::new(&version), &config);
            }
            Edit::ConfigMapSwap => {
                // As a kubelet does it: the file's link never changes, the folder's link does.
                let version = format!("..version-{nth}");
                fs::create_dir(self.path(&version)).unwrap();
                fs::write(self.path(&version).join("p2ptun.toml"), &text).unwrap();
                self.swap_symlink(Path::new(&version), &self.path("..data"));
                let through_data = Path::new("..data/p2ptun.toml");
                if fs::read_link(&config).ok().as_deref() != Some(through_data) {
                    self.swap_symlink(through_data, &config);
                }
            }
            Edit::GoneForTwoSeconds => {
                fs::remove_file(&config).unwrap();
                self.complaint("the missing file shows").await;
                // The two seconds are part of what is asked for, not a wait for something.
                tokio::time::sleep(Duration::from_secs(2)).await;
                fs::write(&config, &text).unwrap();
            }
            Edit::BrokenThenMended => {
                self.rename_over(&config, &format!("{text}\n[listen.broken"));
                self.complaint("the broken file shows").await;
                self.rename_over(&config, &text);
            }
            Edit::IncludeAdded | Edit::IncludeRemoved => unreachable!("handled above"),
        }
        self.followed(edit).await;
    }

    async fn complaint(&self, what: &str) {
        let status = self.node.wait_until(what, |status| status["config"]["error"].is_string()).await;
        assert!(names(&status).contains(&"echo"), "the old set stays: {status:#}");
    }

    /// Waits until the tunnels are what the file declares.
    async fn followed(&self, edit: Edit) {
        let mut wanted = vec!["echo"];
        wanted.extend(self.included.as_deref());
        wanted.extend(Some(self.marker.as_str()).filter(|marker| !marker.is_empty()));
        wanted.sort_unstable();
        let what = format!("{edit:?}, number {}, leads to {wanted:?}", self.edits);
        self.node
            .wait_until(&what, |status| {
                let mut names = names(status);
                names.sort_unstable();
                names == wanted && status["config"]["error"].is_null()
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_outlives_fifty_edits_of_every_kind_and_each_is_followed() {
    const LENGTH: u64 = 100_000_000;
    const SHARE: u64 = LENGTH / EDITS as u64;
    let echo = Service::echo();
    let mut pair = Pair::prepare(Transport::Tcp).await;
    for node in [&mut pair.server, &mut pair.client] {
        node.top = "include = [\"p2ptun.d/*.toml\"]\n".to_owned();
        fs::create_dir(node.dir().join("p2ptun.d")).unwrap();
    }
    pair.launch(&listen("echo", echo.address), &forward("echo")).await;

    // Each edit sets a share of the bytes free just before it takes place, so that bytes flow at every one of them.
    let granted = Arc::new(Semaphore::new(0));
    let (mut from, mut to) = pair.client.connect("echo").await.into_split();
    let mut transfer = JoinSet::new();
    let grants = granted.clone();
    transfer.spawn(async move {
        for share in 0..EDITS as u64 {
            grants.acquire().await.unwrap().forget();
            send(&mut to, share * SHARE, (share + 1) * SHARE).await.unwrap();
        }
        grants.acquire().await.unwrap().forget();
        to.shutdown().await.unwrap();
    });
    transfer.spawn(async move {
        receive(&mut from, 0, LENGTH).await.unwrap();
        assert_eq!(ending(&mut from).await, (vec![], Ending::Eof));
    });

    for node in [&pair.server, &pair.client] {
        node.wait_for_tunnel("echo", "the stream is open", |tunnel| tunnel["streams"] == 1).await;
    }
    let mut sides = [Edited::of(&pair.server, echo.address), Edited::of(&pair.client, echo.address)];
    let mut ids = None;
    for nth in 0..EDITS {
        granted.add_permits(1);
        let edit = if nth >= EDITS - 2 { Edit::GoneForTwoSeconds } else { ROUND[nth / 2 % ROUND.len()] };
        sides[nth % 2].apply(edit).await;
        let now = (one_stream(&pair.server).await, one_stream(&pair.client).await);
        assert_eq!(*ids.get_or_insert(now), now, "the stream is the same one after {edit:?}, number {nth}");
    }
    assert_eq!(sides.map(|side| side.edits), [EDITS / 2; 2]);
    granted.add_permits(1);
    while let Some(result) = soon("the transfer completes", transfer.join_next()).await {
        result.unwrap();
    }
    for node in [&pair.server, &pair.client] {
        let tunnel = node.wait_for_tunnel("echo", "the stream has ended", |tunnel| tunnel["streams"] == 0).await;
        let counts = ["streams_total", "bytes_in", "bytes_out", "refused"].map(|key| tunnel[key].as_u64().unwrap());
        assert_eq!(counts, [1, LENGTH, LENGTH, 0]);
    }
}

/// The id of the only live stream.
async fn one_stream(node: &Node) -> u64 {
    let streams = node.streams().await;
    assert_eq!(streams.len(), 1, "{streams:?}");
    streams[0]["id"].as_u64().unwrap()
}

// ---- one kind of change each

/// An address that nobody listens on; by the next picks of the system it won't be given away soon.
fn free_port() -> SocketAddr {
    Target::bind().address
}

fn forward_at(name: &str, address: SocketAddr) -> String {
    forward(name).replace("127.0.0.1:0", &address.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_forwards_swap_their_ports_in_one_edit_and_no_connect_is_refused() {
    let (a, b) = (Service::saying("a"), Service::saying("b"));
    let listens = listen("a", a.address) + &listen("b", b.address);
    let (first, second) = (free_port(), free_port());
    let fixed = |a_at: SocketAddr, b_at: SocketAddr| forward_at("a", a_at) + &forward_at("b", b_at);
    let mut pair = Pair::start(Transport::Tcp, &listens, &fixed(first, second)).await;
    assert_eq!((said(first).await.unwrap(), said(second).await.unwrap()), ("a".into(), "b".into()));

    let done = Arc::new(AtomicBool::new(false));
    let mut knocking = JoinSet::new();
    for address in [first, second] {
        let done = done.clone();
        knocking.spawn(async move {
            let mut knocks = 0;
            while !done.load(SeqCst) {
                let answer = said(address).await.unwrap_or_else(|error| panic!("{address}: {error}"));
                assert!(answer == "a" || answer == "b", "{answer:?}");
                knocks += 1;
            }
            knocks
        });
    }
    for swapped in [true, false, true] {
        let (a_at, b_at) = if swapped { (second, first) } else { (first, second) };
        pair.client.edit(|body| body.replace(&fixed(b_at, a_at), &fixed(a_at, b_at)));
        pair.client.reload_applied().await;
        assert_eq!((said(a_at).await.unwrap(), said(b_at).await.unwrap()), ("a".into(), "b".into()));
        assert_eq!((pair.client.bind("a").await, pair.client.bind("b").await), (a_at, b_at));
    }
    done.store(true, SeqCst);
    while let Some(knocks) = soon("the knocking ends", knocking.join_next()).await {
        assert!(knocks.unwrap() > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_the_system_picked_may_be_written_down() {
    let a = Service::saying("a");
    let mut pair = Pair::start(Transport::Tcp, &listen("a", a.address), &forward("a")).await;
    let picked = pair.client.bind("a").await;
    pair.client.edit(|body| body.replace(&forward("a"), &forward_at("a", picked)));
    pair.client.reload_applied().await;
    let tunnel = pair.client.tunnel("a").await;
    assert_eq!((&tunnel["state"], &tunnel["bind"]), (&json!("ready"), &json!(picked.to_string())), "{tunnel}");
    assert_eq!(said(picked).await.unwrap(), "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_fails_that_tunnel_only_and_heals_when_freed() {
    let (a, b) = (Service::saying("a"), Service::saying("b"));
    let listens = listen("a", a.address) + &listen("b", b.address);
    let mut pair = Pair::start(Transport::Tcp, &listens, &forward("a")).await;
    let in_the_way = Target::bind();
    let taken = in_the_way.address;
    pair.client.edit(|body| format!("{body}{}", forward_at("b", taken)));

    let output = pair.client.reload().await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said_on_stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said_on_stderr.contains('b') && said_on_stderr.contains(&taken.to_string()), "{said_on_stderr}");
    let tunnel = pair.client.tunnel("b").await;
    assert_eq!(tunnel["state"], "failed");
    assert!(tunnel["error"].as_str().unwrap().contains(&taken.to_string()), "{tunnel}");
    assert_eq!(said(pair.client.bind("a").await).await.unwrap(), "a");

    drop(in_the_way);
    pair.client
        .wait_until_within(Duration::from_secs(35), "the tunnel heals", |status| {
            status["tunnels"].as_array().unwrap().iter().all(|tunnel| tunnel["state"] == "ready")
        })
        .await;
    assert!(pair.client.tunnel("b").await["error"].is_null());
    assert_eq!(said(taken).await.unwrap(), "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_is_refused_and_the_old_set_stays() {
    let (a, b) = (Service::saying("a"), Service::saying("b"));
    let mut pair = Pair::start(Transport::Tcp, &listen("a", a.address), &forward("a")).await;
    let loaded_at = pair.client.status().await["config"]["loaded_at"].clone();
    let mended = pair.client.text();
    let bad = [
        ("a syntax error", format!("{mended}\n[forward.b")),
        ("an unknown key", format!("{mended}\nbindd = \"127.0.0.1:0\"\n")),
        ("an unknown peer", mended.replace("peer = \"server\"", "peer = \"sever\"")),
        ("zero bytes", String::new()),
    ];
    for (what, text) in &bad {
        fs::write(&pair.client.config, text).unwrap();
        still_a_after_a_refusal(&pair.client, what).await;
    }
    fs::remove_file(&pair.client.config).unwrap();
    still_a_after_a_refusal(&pair.client, "no file").await;
    assert_eq!(pair.client.status().await["config"]["loaded_at"], loaded_at);

    pair.server.edit(|body| format!("{body}{}", listen("b", b.address)));
    pair.server.reload_applied().await;
    pair.client.edit(|body| format!("{body}{}", forward("b")));
    pair.client.reload_applied().await;
    assert!(pair.client.status().await["config"]["error"].is_null());
    assert_eq!(said(pair.client.bind("b").await).await.unwrap(), "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_reload_shows_what_check_shows_and_the_status_keeps_to_one_line() {
    let a = Service::saying("a");
    let pair = Pair::start(Transport::Tcp, &listen("a", a.address), &forward("a")).await;
    let client = &pair.client;
    let bad = format!("wacth = true\n{}\n[listen.x]\ntarget = \"127.0.0.1:0\"\n", client.text());
    fs::write(&client.config, bad).unwrap();

    let reload = client.reload().await;
    let check = client.binary(&[OsStr::new("check"), client.config.as_os_str()]).await;
    assert_eq!((reload.status.code(), check.status.code()), (Some(78), Some(78)));
    let shown = |output: &Output| {
        let text = String::from_utf8(output.stderr.clone()).unwrap();
        let (problems, last) = text.rsplit_once("p2ptun: ").unwrap();
        (problems.to_owned(), last.to_owned())
    };
    assert_eq!(shown(&reload).0, shown(&check).0);
    assert_eq!(shown(&reload).0.matches("\n --> ").count() + shown(&reload).0.matches("\n  --> ").count(), 3);
    assert_eq!(shown(&reload).1, "the configuration was refused for 3 errors, and the set in force stays\n");

    let (code, answer) = client.request("POST", "/v1/reload").await;
    assert_eq!(code, 422, "{answer}");
    let first = &answer["problems"][0];
    assert_eq!(
        (&first["line"], &first["column"], &first["is_error"]),
        (&json!(1), &json!(1), &json!(true)),
        "{answer}"
    );
    let status = client.status().await;
    let error = status["config"]["error"].as_str().unwrap();
    assert!(!error.contains('\n') && answer["error"] == error, "{error:?}");
    let hint = format!("(and 2 more; `p2ptun check {}` shows all)", client.config.display());
    assert!(error.contains(":1:1: error: unknown key `wacth`") && error.ends_with(&hint), "{error}");
    let log = client.log_text();
    assert!(log.lines().any(|line| line.contains("configuration refused") && line.contains("shows all")), "{log}");
}

async fn still_a_after_a_refusal(client: &Node, what: &str) {
    let output = client.reload().await;
    assert_eq!(output.status.code(), Some(78), "{what}: {output:?}");
    let (code, body) = client.request("POST", "/v1/reload").await;
    assert_eq!(code, 422, "{what}: {body}");
    assert!(body["error"].is_string(), "{what}: {body}");
    let status = client.status().await;
    assert!(status["config"]["error"].is_string(), "{what}: {status:#}");
    assert_eq!(names(&status), ["a"], "{what}");
    assert_eq!(said(client.bind("a").await).await.unwrap(), "a", "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_tunnel_takes_no_new_stream_and_lets_the_live_one_finish() {
    let echo = Service::echo();
    let mut pair = Pair::echo(Transport::Tcp, echo.address).await;
    let address = pair.client.bind("echo").await;
    let mut live = pair.client.connect("echo").await;
    soon("an echo", ping(&mut live)).await.unwrap();
    for node in [&mut pair.client, &mut pair.server] {
        node.edit(|body| body[..body.find("[listen.").or(body.find("[forward.")).unwrap()].to_owned());
        node.reload_applied().await;
        let tunnel = node.tunnel("echo").await;
        assert_eq!((&tunnel["state"], &tunnel["draining_streams"]), (&json!("draining"), &json!(1)), "{tunnel}");
    }
    assert!(refused(address).await);
    soon("an echo", ping(&mut live)).await.unwrap();
    live.shutdown().await.unwrap();
    assert_eq!(ending(&mut live).await, (vec![], Ending::Eof));
    for node in [&pair.client, &pair.server] {
        node.wait_until("the drained tunnel is gone", |status| names(status).is_empty()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_outlasts_the_drain_is_cut() {
    let echo = Service::echo();
    let mut pair = Pair::prepare(Transport::Tcp).await;
    pair.client.node_keys = "drain_timeout = \"1s\"\n".to_owned();
    pair.launch(&listen("echo", echo.address), &forward("echo")).await;
    let mut live = pair.client.connect("echo").await;
    soon("an echo", ping(&mut live)).await.unwrap();
    pair.client.edit(|body| body[..body.find("[forward.").unwrap()].to_owned());
    pair.client.reload_applied().await;
    let (_, end) = within(Duration::from_secs(10), "the drain ends", ending(&mut live)).await;
    assert_eq!(end, Ending::Reset);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_target_serves_new_streams_and_live_ones_go_on() {
    let (old, new) = (Service::echo(), Service::saying("new"));
    let mut pair = Pair::echo(Transport::Tcp, old.address).await;
    let mut live = pair.client.connect("echo").await;
    soon("an echo", ping(&mut live)).await.unwrap();

    pair.server.edit(|body| body.replace(&old.address.to_string(), &new.address.to_string()));
    let (code, applied) = pair.server.request("POST", "/v1/reload").await;
    assert_eq!(code, 200);
    assert_eq!(applied, json!({ "added": [], "removed": [], "changed": ["echo"], "failed": [] }));
    assert_eq!(said(pair.client.bind("echo").await).await.unwrap(), "new");
    soon("an echo", ping(&mut live)).await.unwrap();
    assert_eq!(pair.server.tunnel("echo").await["streams_total"], 2, "counters survive a reload");

    let (code, applied) = pair.server.request("POST", "/v1/reload").await;
    assert_eq!((code, applied), (200, json!({ "added": [], "removed": [], "changed": [], "failed": [] })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_bind_moves_the_forward_and_live_streams_go_on() {
    let echo = Service::echo();
    let mut pair = Pair::echo(Transport::Tcp, echo.address).await;
    let old = pair.client.bind("echo").await;
    let mut live = pair.client.connect("echo").await;
    soon("an echo", ping(&mut live)).await.unwrap();

    let elsewhere = pair.client.dir().join("echo.sock");
    pair.client.edit(|body| body.replace("127.0.0.1:0", &format!("unix:{}", elsewhere.display())));
    pair.client.reload_applied().await;
    assert!(refused(old).await);
    let mut moved = tokio::net::UnixStream::connect(&elsewhere).await.unwrap();
    soon("an echo", ping(&mut moved)).await.unwrap();
    soon("an echo", ping(&mut live)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_peer_serves_new_streams_and_live_ones_go_on() {
    let (echo, other) = (Service::echo(), Service::saying("the other peer"));
    let mut pair = Pair::echo(Transport::Tcp, echo.address).await;
    let mut second = Node::prepare("second", Transport::Tcp).await;
    second.body = format!("{}{}", peer("client", &pair.client.id, &[]), listen("echo", other.address));
    second.start().await;
    let mut live = pair.client.connect("echo").await;
    soon("an echo", ping(&mut live)).await.unwrap();

    let declared = peer("second", &second.id, &second.addresses().await);
    pair.client.edit(|body| declared + &body.replace("peer = \"server\"", "peer = \"second\""));
    pair.client.reload_applied().await;
    assert_eq!(said(pair.client.bind("echo").await).await.unwrap(), "the other peer");
    soon("an echo", ping(&mut live)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_identity_waits_for_a_restart_while_all_else_applies() {
    let (a, b) = (Service::saying("a"), Service::saying("b"));
    let mut pair = Pair::start(Transport::Tcp, &listen("a", a.address), &forward("a")).await;
    let own = pair.server.status().await["peer_id"].clone();
    let text = pair.server.text().replace("identity.key", "another.key") + &listen("b", b.address);
    fs::write(&pair.server.config, text).unwrap();
    pair.server.reload_applied().await;
    let status = pair.server.status().await;
    assert_eq!(status["peer_id"], own);
    assert_eq!(status["config"]["restart_required"], json!(["node.identity"]));
    assert!(status["config"]["error"].is_null());
    pair.client.edit(|body| format!("{body}{}", forward("b")));
    pair.client.reload_applied().await;
    assert_eq!(said(pair.client.bind("b").await).await.unwrap(), "b");

    pair.server.write();
    pair.server.reload_applied().await;
    assert_eq!(pair.server.status().await["config"]["restart_required"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_signal_reloads_where_nothing_is_watched() {
    let mut node = Node::prepare("alone", Transport::Tcp).await;
    node.start().await;
    node.edit(|_| listen("a", "127.0.0.1:1").replace("\"client\"", ""));
    node.signal(Signal::SIGHUP);
    node.wait_until("the new tunnel is there", |status| names(status) == ["a"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reload_exits_69_where_no_service_runs() {
    let node = Node::prepare("absent", Transport::Tcp).await;
    assert_eq!(node.reload().await.status.code(), Some(69));
}
