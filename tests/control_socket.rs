//! The control socket among clients that are broken, slow, greedy or not allowed: the service answers everybody else, and
//! streams that are open notice nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::{io, path::Path, time::Duration};

use support::{Pair, Service, Transport, connect, process, soon, traffic::ping, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    task::JoinSet,
    time::{Instant, sleep},
};

/// What a client may take to say what it wants; nobody else has to wait for as long.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);

/// Two nodes and a stream between them on which somebody talks all the time.
struct Scene {
    pair: Pair,
    talk: JoinSet<io::Result<()>>,
    _echo: Service,
}

impl Scene {
    async fn set() -> Self {
        process::raise_file_limit();
        let echo = Service::echo();
        let pair = Pair::echo(Transport::Tcp, echo.address).await;
        let mut stream = pair.client.connect("echo").await;
        soon("an echo", ping(&mut stream)).await.unwrap();
        let mut talk = JoinSet::new();
        talk.spawn(talk_for_ever(stream));
        Self { pair, talk, _echo: echo }
    }

    fn socket(&self) -> std::path::PathBuf {
        self.pair.client.socket()
    }

    /// The service answers in good time, and the stream is as it was.
    async fn is_undisturbed(&mut self, by: &str) {
        let asked = Instant::now();
        let status = within(REQUEST_DEADLINE, by, self.pair.client.status()).await;
        assert!(asked.elapsed() < REQUEST_DEADLINE, "{by}: {:?}", asked.elapsed());
        let streams: Vec<_> = status["tunnels"].as_array().unwrap().iter().map(|tunnel| &tunnel["streams"]).collect();
        assert_eq!(streams, [1], "{by}");
        if let Some(ended) = self.talk.try_join_next() {
            panic!("{by}: the stream ended: {ended:?}");
        }
    }
}

/// Each message must come back within the time that a person would call undisturbed.
async fn talk_for_ever(mut stream: TcpStream) -> io::Result<()> {
    loop {
        within(REQUEST_DEADLINE, "an echo", ping(&mut stream)).await?;
        sleep(Duration::from_millis(5)).await;
    }
}

/// Says `request`, and hears the answer out. The service may hang up at any time.
async fn say(socket: &Path, request: &[u8]) -> String {
    let mut stream = connect(socket).await.unwrap();
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = soon("the service hangs up", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_malformed_huge_or_cut_off_disturb_nobody() {
    let mut scene = Scene::set().await;
    let socket = scene.socket();
    let huge = "x".repeat(8 * 1024 * 1024);
    let many_headers: String = (0..100_000).map(|number| format!("x{number}: y\r\n")).collect();
    let requests: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("no HTTP", b"\0\x01\x02\xff\xfe\r\n\r\n".to_vec(), &["400"]),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(50), &["400"]),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), &["400", "505"]),
        ("only newlines", b"\r\n".repeat(100_000), &["400", "431"]),
        ("a huge path", format!("GET /{huge} HTTP/1.1\r\n\r\n").into(), &["414", "431"]),
        ("a huge header", format!("GET /v1/status HTTP/1.1\r\nx: {huge}\r\n\r\n").into(), &["431"]),
        ("many headers", format!("GET /v1/status HTTP/1.1\r\n{many_headers}\r\n").into(), &["431"]),
        ("a huge body", format!("POST /v1/reload HTTP/1.1\r\ncontent-length: 8388608\r\n\r\n{huge}").into(), &["413"]),
        (
            "a huge chunk",
            format!("POST /v1/reload HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n800000\r\n{huge}").into(),
            &["413"],
        ),
        ("a broken chunk", b"POST /v1/reload HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_vec(), &["400"]),
        ("a length that is none", b"POST /v1/reload HTTP/1.1\r\ncontent-length: -1\r\n\r\n".to_vec(), &["400"]),
        (
            "a length beyond all numbers",
            b"POST /v1/reload HTTP/1.1\r\ncontent-length: 99999999999999999999999\r\n\r\n".to_vec(),
            &["400"],
        ),
        (
            "a stream id beyond all numbers",
            b"DELETE /v1/streams/99999999999999999999999 HTTP/1.1\r\n\r\n".to_vec(),
            &["404"],
        ),
        ("another path", b"GET /v1/../../etc/shadow HTTP/1.1\r\n\r\n".to_vec(), &["404"]),
        // One request is answered, and what follows is not looked at.
        ("garbage behind a request", [&b"GET /v1/status HTTP/1.1\r\n\r\n"[..], &[0xff; 100_000]].concat(), &["200"]),
        ("a thousand requests at once", b"GET /v1/streams HTTP/1.1\r\n\r\n".repeat(1000), &["200"]),
    ];
    for (what, request, expected) in requests {
        let answer = say(&socket, &request).await;
        // A client that is still talking when the service hangs up may not hear why.
        let heard = expected.iter().any(|code| answer.starts_with(&format!("HTTP/1.1 {code} ")));
        assert!(answer.is_empty() || heard, "{what}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), usize::from(!answer.is_empty()), "{what}: {answer}");
        scene.is_undisturbed(what).await;
    }

    let whole = b"POST /v1/reload HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n12345";
    for length in 0..whole.len() {
        let mut stream = connect(&socket).await.unwrap();
        stream.write_all(&whole[..length]).await.unwrap();
    }
    scene.is_undisturbed("requests that are cut off").await;
    // None of them was taken for a reload.
    let loaded = "configuration applied";
    assert_eq!(scene.pair.client.log_text().matches(loaded).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_idle_nor_slow_clients_delay_the_others_however_many_there_are() {
    let mut scene = Scene::set().await;
    let socket = scene.socket();
    let mut held = Vec::new();
    for said in [&b""[..], b"GET /v1/st", b"POST /v1/reload HTTP/1.1\r\ncontent-length: 9\r\n\r\n1"].repeat(100) {
        let mut stream = connect(&socket).await.unwrap();
        let _ = stream.write_all(said).await;
        held.push(stream);
    }
    scene.is_undisturbed("300 clients that keep silent").await;
    // Somebody made room, but those that came last were not waited for.
    let last = held.last_mut().unwrap();
    let open = tokio::time::timeout(Duration::ZERO, last.read(&mut [0])).await.is_err();
    assert!(open, "the answer came only when deadlines had passed");
    let first = held.first_mut().unwrap();
    assert_eq!(soon("the first one makes room", first.read(&mut [0])).await.unwrap_or(0), 0);

    // A letter now and then, for longer than a deadline.
    let mut dribbling = JoinSet::new();
    for _ in 0..100 {
        let stream = connect(&socket).await.unwrap();
        dribbling.spawn(dribble(stream));
    }
    let mut ended = 0;
    while ended < 100 {
        scene.is_undisturbed("100 clients that dribble").await;
        while dribbling.try_join_next().is_some() {
            ended += 1;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Sends a header that never ends, until the service hangs up.
async fn dribble(mut stream: UnixStream) {
    let _ = stream.write_all(b"GET /v1/status HTTP/1.1\r\nx: ").await;
    while stream.write_all(b"y").await.is_ok() {
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_come_and_go_as_fast_as_they_can_delay_nobody() {
    let mut scene = Scene::set().await;
    let mut flood: JoinSet<io::Result<()>> = JoinSet::new();
    for _ in 0..4 {
        let socket = scene.socket();
        flood.spawn(async move {
            loop {
                connect(&socket).await?.write_all(b"GET /v1/sta").await?;
            }
        });
    }
    for _ in 0..20 {
        let status =
            scene.pair.client.binary(&["status".as_ref(), "--socket".as_ref(), scene.socket().as_os_str()]).await;
        assert_eq!(status.status.code(), Some(0), "{status:?}");
    }
    assert!(flood.try_join_next().is_none(), "the flood has dried up");
    flood.shutdown().await;
    scene.is_undisturbed("a flood that is over").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_is_told_which_group_to_join_and_disturbs_nobody() {
    let mut scene = Scene::set().await;
    let node = &scene.pair.client;
    let group = node.admit_members_only();
    for arguments in [&["status"][..], &["status", "--json"], &["reload"], &["id"], &["id", "--addresses"]] {
        let mut command = tokio::process::Command::from(node.command_of_an_outsider());
        let output = command.args(arguments).arg("--socket").arg(node.socket()).kill_on_drop(true).output();
        let output = soon("a command of p2ptun ends", output).await.unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(77), "{arguments:?}: {err}");
        assert!(err.contains(&format!("join the group `{group}`")), "{arguments:?}: {err}");
        assert!(output.stdout.is_empty());
    }
    std::fs::set_permissions(node.socket(), std::os::unix::fs::PermissionsExt::from_mode(0o660)).unwrap();
    scene.is_undisturbed("another user").await;
}
