//! Both ends, through real sockets.

use std::{
    future::Future,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    spec::PeerId,
    status::{self, Failed, Status, streams::LiveStreams},
};

/// A served control socket, and the daemon's ends of what it is served from.
struct Service {
    path: PathBuf,
    client: Client,
    status: watch::Sender<Status>,
    streams: LiveStreams,
    reloads: mpsc::Receiver<ReloadRequest>,
    stop: CancellationToken,
    server: JoinSet<()>,
    _directory: TempDir,
}

fn service() -> Service {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let (status, status_seen) = watch::channel(Status::new(PeerId::random(), "/etc/p2ptun.toml".into()));
    let (reload, reloads) = mpsc::channel(1);
    let streams = LiveStreams::default();
    let handles = Handles { status: status_seen, streams: streams.clone(), reload };
    let stop = CancellationToken::new();
    let mut server = JoinSet::new();
    server.spawn(Server::bind(&path, handles).unwrap().run(stop.clone()));
    let client = Client::new(Some(&path));
    Service { path, client, status, streams, reloads, stop, server, _directory: directory }
}

/// Everything that the service says to `request`, until it hangs up.
async fn say(path: &Path, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    // The service may hang up before it has heard all.
    let _ = stream.write_all(request).await;
    heard(stream).await
}

async fn heard(mut stream: UnixStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

/// Runs `daemon` beside `client`, which asks it something.
async fn between<T>(client: impl Future<Output = T>, daemon: impl Future<Output = ()>) -> T {
    tokio::join!(client, daemon).0
}

#[tokio::test]
async fn the_status_is_what_was_published_last() {
    let service = service();
    service.status.send_modify(|status| status.config.error = Some("line 3: no such key".into()));
    let status = service.client.status().await.unwrap();
    assert_eq!(status.peer_id, service.status.borrow().peer_id);
    assert_eq!(status.config.error.as_deref(), Some("line 3: no such key"));
    let json = service.client.status_json().await.unwrap();
    let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["version", "peer_id", "addresses", "listeners", "config", "tunnels", "peers"]);
}

#[tokio::test]
async fn a_reload_is_answered_when_it_is_done() {
    let mut service = service();
    let applied = Applied {
        added: vec!["web".try_into().unwrap()],
        failed: vec![Failed { name: "ssh".try_into().unwrap(), error: "address in use".into() }],
        ..Applied::default()
    };
    let daemon = async {
        let request = service.reloads.recv().await.unwrap();
        request.reply.send(Ok(applied.clone())).unwrap();
    };
    assert_eq!(between(service.client.reload(), daemon).await.unwrap(), applied);
}

#[tokio::test]
async fn a_client_that_says_no_more_gets_its_answer_all_the_same() {
    let mut service = service();
    let client = async {
        let mut stream = UnixStream::connect(&service.path).await.unwrap();
        stream.write_all(b"POST /v1/reload HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
        heard(stream).await
    };
    let daemon = async {
        let request = service.reloads.recv().await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        request.reply.send(Ok(Applied::default())).unwrap();
    };
    let said = between(client, daemon).await;
    assert!(said.starts_with("HTTP/1.1 200 OK"), "{said}");
}

#[tokio::test]
async fn a_refused_reload_says_why() {
    let mut service = service();
    let daemon = async {
        let request = service.reloads.recv().await.unwrap();
        request.reply.send(Err("p2ptun.toml:3:1: unknown key".into())).unwrap();
    };
    let error = between(service.client.reload(), daemon).await.unwrap_err();
    assert!(matches!(&error, ClientError::Refused(why) if why.error == "p2ptun.toml:3:1: unknown key"), "{error}");
}

#[tokio::test]
async fn a_reload_that_the_daemon_drops_is_an_error_not_a_wait() {
    let mut service = service();
    let daemon = async { drop(service.reloads.recv().await) };
    let error = between(service.client.reload(), daemon).await.unwrap_err();
    assert!(error.to_string().contains("the service is stopping"), "{error}");
    service.reloads.close();
    assert!(service.client.reload().await.unwrap_err().to_string().contains("the service is stopping"));
}

#[tokio::test]
async fn streams_are_listed_and_cut() {
    let service = service();
    let cut = CancellationToken::new();
    let live = service.streams.enter("ssh".try_into().unwrap(), PeerId::random(), status::Path::Direct, cut.clone());
    let listed = service.client.streams().await.unwrap();
    assert_eq!(listed.iter().map(|stream| stream.id).collect::<Vec<_>>(), [live.id]);
    service.client.cut(live.id).await.unwrap();
    assert!(cut.is_cancelled());
    assert!(matches!(service.client.cut(live.id + 1).await, Err(ClientError::NoSuchStream(_))));
}

#[tokio::test]
async fn what_is_not_served_is_refused_in_json() {
    let service = service();
    let refused = [
        ("GET /", "404"),
        ("GET /v1/status/", "404"),
        ("GET /v1/nothing", "404"),
        ("POST /v1/status", "405"),
        ("GET /v1/reload", "405"),
        ("DELETE /v1/streams", "405"),
        ("GET /v1/streams/1", "405"),
        ("DELETE /v1/streams/one", "404"),
        ("DELETE /v1/streams/-1", "404"),
    ];
    for (request, status) in refused {
        let answer = say(&service.path, format!("{request} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        assert!(answer.contains("content-type: application/json"), "{request}: {answer}");
        assert!(answer.contains("{\"error\":\""), "{request}: {answer}");
        assert_eq!(answer.contains("allow: "), status == "405", "{request}: {answer}");
    }
}

#[tokio::test]
async fn malformed_and_huge_requests_are_refused_and_disturb_nobody() {
    let service = service();
    let huge = "x".repeat(1024 * 1024);
    let chunked = format!("POST /v1/reload HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n100000\r\n{huge}");
    let refused = [
        ("\0\u{1}\u{2} not HTTP\r\n\r\n".to_owned(), "400"),
        (format!("GET /{huge} HTTP/1.1\r\n\r\n"), "4"),
        (format!("GET /v1/status HTTP/1.1\r\nx: {huge}\r\n\r\n"), "431"),
        (format!("POST /v1/reload HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n{huge}"), "413"),
        (chunked, "413"),
    ];
    for (request, status) in refused {
        let answer = say(&service.path, request.as_bytes()).await;
        // A service that hangs up on a client that is still talking may not be heard at all.
        assert!(answer.is_empty() || answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        service.client.status().await.unwrap();
    }
}

#[tokio::test]
async fn slow_clients_do_not_disturb_others() {
    let service = service();
    let mut slow = Vec::new();
    for said in [&b""[..], b"GET /v1/sta", b"POST /v1/reload HTTP/1.1\r\ncontent-length: 5\r\n\r\n12"].repeat(10) {
        let mut stream = UnixStream::connect(&service.path).await.unwrap();
        stream.write_all(said).await.unwrap();
        slow.push(stream);
    }
    service.client.status().await.unwrap();
    assert_eq!(slow.len(), 30);
}

// The five that follow run on a paused clock: it leaps to the next deadline when nothing else is left to do.

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_hung_up_on() {
    let service = service();
    assert_eq!(say(&service.path, b"").await, "");
    assert_eq!(say(&service.path, b"GET /v1/status HTT").await, "");
}

#[tokio::test(start_paused = true)]
async fn when_every_place_is_taken_whoever_was_silent_for_longest_makes_room() {
    let service = service();
    let begin = tokio::time::Instant::now();
    let mut silent = Vec::new();
    for said in [&b""[..], b"GET /v1/sta", b"POST /v1/reload HTTP/1.1\r\ncontent-length: 5\r\n\r\n12"].repeat(60) {
        let mut stream = UnixStream::connect(&service.path).await.unwrap();
        stream.write_all(said).await.unwrap();
        silent.push(stream);
        service.client.status().await.unwrap();
    }
    // On this clock a single deadline would show: 180 clients that came at once are waited for by moments only.
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    let is_open = |stream: &UnixStream| matches!(stream.try_read(&mut [0; 1]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
    let open: Vec<_> = silent.iter().map(is_open).collect();
    assert!(open.is_sorted(), "a younger one made room: {open:?}");
    assert_eq!((open[0], open[179]), (false, true));
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_reload_keeps_its_place_and_only_so_many_may() {
    let mut service = service();
    let mut waiting = JoinSet::new();
    for _ in 0..40 {
        let client = service.client.clone();
        waiting.spawn(async move { client.reload().await });
    }
    let mut refused = 0;
    while refused < 8 {
        let error = waiting.join_next().await.unwrap().unwrap().unwrap_err();
        assert!(error.to_string().contains("too many others wait for a reload"), "{error}");
        refused += 1;
    }
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(UnixStream::connect(&service.path).await.unwrap());
        service.client.status().await.unwrap();
    }
    for _ in 0..32 {
        service.reloads.recv().await.unwrap().reply.send(Ok(Applied::default())).unwrap();
        waiting.join_next().await.unwrap().unwrap().unwrap();
    }
    assert!(waiting.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_body_does_not_arrive_is_told() {
    let service = service();
    let answer = say(&service.path, b"POST /v1/reload HTTP/1.1\r\ncontent-length: 5\r\n\r\n").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_its_answer_is_hung_up_on() {
    let service = service();
    let length = 8 * 1024 * 1024;
    service.status.send_modify(|status| status.config.error = Some("x".repeat(length)));
    let mut stream = UnixStream::connect(&service.path).await.unwrap();
    stream.write_all(b"GET /v1/status HTTP/1.1\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(heard(stream).await.len() < length, "cut short");
}

#[tokio::test]
async fn a_service_that_stops_takes_its_socket_along() {
    let mut service = service();
    service.client.status().await.unwrap();
    service.stop.cancel();
    service.server.join_next().await.unwrap().unwrap();
    assert!(!service.path.exists());
    assert!(matches!(service.client.status().await, Err(ClientError::NoService(_))));
}

#[tokio::test]
async fn something_that_is_not_the_service_is_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let client = Client::new(Some(&path));
    let stranger = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_ne!(stream.read(&mut [0; 1024]).await.unwrap(), 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]").await.unwrap();
    };
    let error = between(client.status(), stranger).await.unwrap_err();
    assert!(matches!(error, ClientError::Unexpected { .. }), "{error}");
    let stranger = async { drop(listener.accept().await.unwrap()) };
    let error = between(client.status(), stranger).await.unwrap_err();
    assert!(matches!(error, ClientError::BrokenOff { .. }), "{error}");
}
