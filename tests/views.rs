//! What a person sees of real nodes: streams that can be cut, and since when something fails and when it is tried again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use serde_json::Value;
use support::{
    Node, Pair, Service, Target, Transport, forward, peer,
    traffic::{Ending, ending, ping},
};

/// A time in a status, in seconds.
fn seconds(time: &Value) -> u64 {
    let text = time.as_str().unwrap_or_else(|| panic!("{time} is no time"));
    let since = humantime::parse_rfc3339(text).unwrap().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs()
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

async fn told(node: &Node, arguments: &[&str]) -> (Option<i32>, String) {
    let socket = node.socket();
    let output = node.binary(&[&["--socket", socket.to_str().unwrap()], arguments].concat()).await;
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_closed_is_reset_for_its_client_and_its_target_and_no_other_is() {
    let target = Target::bind();
    let pair = Pair::echo(Transport::Tcp, target.address).await;
    let open = async || {
        let mut client = pair.client.connect("echo").await;
        client_says(&mut client).await;
        (client, target.accept().await)
    };
    let (mut first, mut first_target) = open().await;
    let (mut second, mut second_target) = open().await;
    let peer = |status: &Value| status["peers"][0].clone();
    pair.client.wait_until("both streams are the peer's", |status| peer(status)["streams"] == 2).await;
    let (exit, table) = told(&pair.client, &["streams"]).await;
    assert_eq!((exit, table.lines().count()), (Some(0), 3), "{table}");
    assert!(table.lines().skip(1).all(|line| line.contains("echo") && line.ends_with("server")), "{table}");

    let id = pair.client.streams().await[0]["id"].to_string();
    let closed = told(&pair.client, &["streams", "close", &id]).await;
    assert_eq!(closed, (Some(0), format!("closed {id}: echo, server\n")));
    assert_eq!(ending(&mut first).await.1, Ending::Reset);
    assert_eq!(ending(&mut first_target).await.1, Ending::Reset);
    let gone = |status: &Value| peer(status)["streams"] == 1;
    pair.client.wait_until("one stream is left", gone).await;
    assert_eq!(told(&pair.client, &["streams", "close", &id]).await.0, Some(66));

    tokio::io::AsyncWriteExt::write_all(&mut second_target, b"still here").await.unwrap();
    let mut said = [0; 10];
    tokio::io::AsyncReadExt::read_exact(&mut second, &mut said).await.unwrap();
    assert_eq!(&said, b"still here");
}

/// Without a byte no stream is opened yet.
async fn client_says(client: &mut tokio::net::TcpStream) {
    tokio::io::AsyncWriteExt::write_all(client, b"?").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bind_that_fails_says_since_when_and_when_it_is_tried_again_until_it_is_up() {
    let before = now();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let bind = taken.local_addr().unwrap().to_string();
    let mut node = Node::prepare("node", Transport::Tcp).await;
    let id = node.id.clone();
    node.body = format!("{}{}", peer("server", &id, &[]), forward("echo").replace("127.0.0.1:0", &bind));
    node.start().await;
    let tunnel = node.tunnel("echo").await;
    assert_eq!(tunnel["state"], "failed");
    let (at, retry) = (seconds(&tunnel["error_at"]), seconds(&tunnel["retry_at"]));
    assert!(before <= at && at <= now() && at <= retry && retry <= at + 31, "{tunnel:#}");
    let (_, shown) = told(&node, &["status"]).await;
    assert!(shown.starts_with("× 1 tunnel failed"), "{shown}");
    assert!(
        shown.contains("! can't listen on ") && (shown.contains("next attempt in ") || shown.contains("trying now")),
        "{shown}"
    );

    let later = |tunnel: &Value| tunnel["state"] == "ready" || seconds(&tunnel["error_at"]) > at;
    node.wait_for_tunnel("echo", "the next attempt", later).await;
    drop(taken);
    let tunnel = node.wait_for_tunnel("echo", "the forward is up", |tunnel| tunnel["state"] == "ready").await;
    assert_eq!([&tunnel["error"], &tunnel["error_at"], &tunnel["retry_at"]], [&Value::Null; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_away_says_why_and_when_it_is_dialled_again_until_it_is_connected() {
    let echo = Service::echo();
    let mut pair = Pair::prepare(Transport::Tcp).await;
    // A port that is the server's later.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    pair.server.listen_address = format!("/ip4/127.0.0.1/tcp/{port}");
    let address = pair.server.listen_address.clone();
    pair.client.body =
        format!("{}{}", peer("server", &pair.server.id, std::slice::from_ref(&address)), forward("echo"));
    pair.client.start().await;
    let failed = |status: &Value| status["peers"][0]["error"].is_string();
    let status = pair.client.wait_until("the first round of dials has failed", failed).await;
    let server = &status["peers"][0];
    assert_eq!(server["error"].as_str().unwrap().split(": ").next(), Some(address.as_str()), "{server:#}");
    let (at, retry) = (seconds(&server["error_at"]), seconds(&server["retry_at"]));
    assert!(at <= now() && at <= retry && retry <= at + 61, "{server:#}");
    let (_, shown) = told(&pair.client, &["status"]).await;
    let first = shown.lines().next().unwrap();
    assert_eq!(first, "● 1 tunnel ready · 0 streams · 0 of 1 peer connected");
    assert!(shown.contains("Connection refused"), "{shown}");

    let again = |status: &Value| seconds(&status["peers"][0]["error_at"]) > at;
    pair.client.wait_until("another round has failed", again).await;
    pair.server.body = format!("{}{}", peer("client", &pair.client.id, &[]), support::listen("echo", echo.address));
    pair.server.start().await;
    ping(&mut pair.client.connect("echo").await).await.unwrap();
    let connected = |status: &Value| status["peers"][0]["connected"] == true;
    let status = pair.client.wait_until("connected", connected).await;
    let server = &status["peers"][0];
    assert_eq!([&server["error"], &server["error_at"], &server["retry_at"]], [&Value::Null; 3]);

    pair.server.kill9().await;
    let lost = |status: &Value| status["peers"][0]["error"].is_string();
    let status = pair.client.wait_until("the connection is gone", lost).await;
    assert!(status["peers"][0]["retry_at"].is_string(), "{status:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_without_an_address_says_what_it_lacks() {
    let mut node = Node::prepare("node", Transport::Tcp).await;
    let other = Node::prepare("other", Transport::Tcp).await;
    node.body = format!("{}{}", peer("server", &other.id, &[]), forward("echo"));
    node.start().await;
    let status = node.wait_until("it is said", |status| status["peers"][0]["error"].is_string()).await;
    let server = &status["peers"][0];
    assert!(server["error"].as_str().unwrap().contains("no address"), "{server:#}");
    assert!(server["error_at"].is_string() && server["retry_at"].is_null(), "{server:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listen_address_that_is_taken_says_when_it_is_tried_again() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut node = Node::prepare("node", Transport::Tcp).await;
    node.listen_address = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
    node.body = "[listen.echo]\ntarget = \"127.0.0.1:1\"\nallow = []\n".to_owned();
    node.start().await;
    let status = node.status().await;
    let listener = &status["listeners"][0];
    assert!(seconds(&listener["retry_at"]) >= seconds(&listener["error_at"]), "{listener:#}");
    let (_, shown) = told(&node, &["status"]).await;
    assert!(shown.starts_with("× 1 tunnel ready · 1 listener failed"), "{shown}");
    drop(taken);
    let status = node.wait_until("it listens", |status| status["listeners"][0]["state"] == "ready").await;
    assert!(status["listeners"][0]["retry_at"].is_null(), "{status:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_file_says_since_when_and_a_restart_that_is_needed_is_told_at_the_reload() {
    let mut node = Node::prepare("node", Transport::Tcp).await;
    node.start().await;
    let good = node.text();
    std::fs::write(&node.config, "nonsense").unwrap();
    assert_eq!(node.reload().await.status.code(), Some(78));
    let config = node.status().await["config"].clone();
    assert!(config["error"].is_string() && seconds(&config["error_at"]) <= now(), "{config:#}");
    assert!(told(&node, &["status"]).await.1.starts_with("× configuration refused · no tunnels"));

    std::fs::write(&node.config, good.replace("identity.key", "other.key")).unwrap();
    let reloaded = node.reload().await;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    assert_eq!(reloaded.status.code(), Some(0));
    assert_eq!(
        (text(&reloaded.stdout), text(&reloaded.stderr)),
        ("no changes\n".to_owned(), "a restart is needed for node.identity\n".to_owned())
    );
    let config = node.status().await["config"].clone();
    assert!(config["error"].is_null() && config["error_at"].is_null(), "{config:#}");
    assert!(told(&node, &["status"]).await.1.starts_with("● no tunnels · restart needed"));
}
