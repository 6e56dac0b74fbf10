//! What the service says in its log, to whom, and what it must never say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::{
    fs::{self, File},
    io::{Read, pipe},
    os::unix::fs::{MetadataExt, PermissionsExt},
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use multibase::Base;
use nix::{pty::openpty, sys::signal::Signal};
use serde_json::Value;
use support::{
    Node, Pair, Service, Target, Transport, UnixService, eventually, forward, listen, peer, soon,
    traffic::{Ending, ping},
    within,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Characters that must not reach a terminal.
fn harmful(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The lines of a log, without what the test itself has put there.
fn lines(log: &str) -> Vec<&str> {
    log.lines().filter(|line| !line.starts_with("---")).collect()
}

/// The events of a JSON log.
fn events(node: &Node) -> Vec<Value> {
    let log = node.log_text();
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    // The last line may be on its way.
    let whole = &log[..log.rfind('\n').map_or(0, |end| end + 1)];
    lines(whole).into_iter().map(parse).collect()
}

fn said<'a>(events: &'a [Value], message: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["message"] == message).collect()
}

/// How many events these lines stand for.
fn counted(lines: &[&Value]) -> u64 {
    lines.iter().map(|line| line.get("repeated").map_or(1, |count| count.as_u64().unwrap())).sum()
}

async fn wait_for_event(node: &Node, message: &str) -> Value {
    eventually(message, || async { said(&events(node), message).first().map(|event| (*event).clone()) }).await
}

async fn wait_for_text(node: &Node, text: &str) {
    eventually(text, || async { node.log_text().contains(text).then_some(()) }).await;
}

/// A pair whose logs are JSON.
async fn json_pair(listens: &str, forwards: &str) -> Pair {
    let mut pair = Pair::prepare(Transport::Tcp).await;
    pair.server.options = vec!["--log-format", "json"];
    pair.client.options = vec!["--log-format", "json"];
    pair.launch(listens, forwards).await;
    pair
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_for_people_has_time_level_message_and_fields() {
    let echo = Service::echo();
    let pair = Pair::echo(Transport::Tcp, echo.address).await;
    let named = format!("peer={} peer_name=client address=/ip4/127.0.0.1/tcp/", pair.client.id);
    wait_for_text(&pair.server, &named).await;
    let log = pair.server.log_text();
    for line in lines(&log) {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.ends_with('Z') && time.len() == "2026-11-21T00:00:00.000Z".len(), "{line}");
        assert!(["ERROR", "WARN ", "INFO "].iter().any(|level| rest.starts_with(level)), "{line}");
    }
    for expected in [
        &format!("INFO  tunnel up tunnel=echo protocol=/x/echo target={}\n", echo.address),
        "INFO  configuration applied file=",
        " added=echo\n",
        "INFO  ready socket=",
        "INFO  peer connected peer=",
    ] {
        assert!(log.contains(expected), "{expected}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_one_flat_object_a_line_with_the_fields_that_all_events_share() {
    let echo = Service::echo();
    let pair = json_pair(&format!("[log]\nstreams = true\n{}", listen("echo", echo.address)), &forward("echo")).await;
    let mut client = pair.client.connect("echo").await;
    soon("an echo", ping(&mut client)).await.unwrap();
    drop(client);

    let connected = wait_for_event(&pair.server, "peer connected").await;
    assert_eq!(connected["peer"], pair.client.id);
    assert_eq!((&connected["peer_name"], &connected["path"]), (&"client".into(), &"direct".into()));
    assert!(connected["address"].as_str().unwrap().starts_with("/ip4/127.0.0.1/tcp/"), "{connected}");
    assert_eq!(wait_for_event(&pair.server, "tunnel up").await["target"], echo.address.to_string());
    let ended = wait_for_event(&pair.server, "stream ended").await;
    assert_eq!((&ended["tunnel"], &ended["peer"]), (&"echo".into(), &pair.client.id.clone().into()));
    assert!(ended["stream"].is_u64() && ended["bytes_in"] == 14 && ended["seconds"].is_f64(), "{ended}");
    for event in events(&pair.server).iter().chain(&events(&pair.client)) {
        let object = event.as_object().unwrap();
        assert!(["error", "warn", "info"].contains(&event["level"].as_str().unwrap()), "{event}");
        for key in ["time", "message", "module"] {
            assert!(event[key].is_string(), "{event}");
        }
        assert!(object.values().all(|value| !value.is_object() && !value.is_array()), "{event}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_level_is_that_of_the_option_else_of_the_variable_else_info() {
    let echo = Service::echo();
    for (option, variable, info, debug) in [
        (None, None, true, false),
        (None, Some(""), true, false),
        (None, Some("warn"), false, false),
        (None, Some("p2ptun=debug"), true, true),
        (Some("debug"), Some("warn"), true, true),
        (Some("error"), Some("p2ptun=debug"), false, false),
        // The option wins, so nobody minds what the variable says.
        (Some("info"), Some("nonsense"), true, false),
    ] {
        let mut pair = Pair::prepare(Transport::Tcp).await;
        pair.client.options = option.map_or(vec![], |level| vec!["--log-level", level]);
        pair.client.variables = variable.map(|filter| ("P2PTUN_LOG", filter.to_owned())).into_iter().collect();
        pair.launch(&listen("echo", echo.address), &forward("echo")).await;
        pair.client.wait_until("connected", |status| status["peers"][0]["connected"] == true).await;
        pair.client.stop().await;
        let log = pair.client.log_text();
        let what = format!("{option:?} {variable:?}: {log}");
        assert_eq!((log.contains(" INFO  ready "), log.contains(" DEBUG ")), (info, debug), "{what}");
        assert!(!log.contains("libp2p_"), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_meant_is_a_usage_error_that_says_what_to_write() {
    let node = Node::prepare("node", Transport::Tcp).await;
    for (options, variable, says) in [
        (&["--log-level", "loud"][..], None, "possible values: error, warn, info, debug, trace"),
        (&["--log-format", "xml"], None, "possible values: auto, human, json, journald"),
        (&[], Some(("P2PTUN_LOG", "inof")), "P2PTUN_LOG: `inof` is no level (did you mean info?)"),
        (&[], Some(("P2PTUN_LOG", "p2ptun=loud")), "P2PTUN_LOG: `p2ptun=loud`: "),
        (&[], Some(("P2PTUN_LOG_FORMAT", "xml")), "P2PTUN_LOG_FORMAT: `xml` is no form of the log"),
    ] {
        for command in ["run", "demo"] {
            let mut process = std::process::Command::new(env!("CARGO_BIN_EXE_p2ptun"));
            process.arg(command).arg("-c").arg(&node.config).args(options).envs(variable).current_dir(node.dir());
            let output = soon("the command ends", tokio::process::Command::from(process).output()).await.unwrap();
            let error = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(64), "{command} {options:?} {variable:?}: {error}");
            assert!(error.contains(says), "{command} {options:?} {variable:?}: {error}");
        }
    }
}

/// Runs a node whose standard error is a terminal, and returns what the terminal got.
async fn on_a_terminal(node: &mut Node, no_colour: Option<&str>) -> String {
    let terminal = openpty(None, None).unwrap();
    let mut command = node.run_command();
    command.env_remove("NO_COLOR").env("TERM", "xterm-256color").envs(no_colour.map(|value| ("NO_COLOR", value)));
    node.write();
    node.adopt(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(terminal.slave).spawn().unwrap());
    drop(command);
    let shown = Arc::new(Mutex::new(Vec::new()));
    let (mut master, screen) = (File::from(terminal.master), shown.clone());
    let reader = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        // The end of a terminal that nobody holds any more is an error.
        while let Ok(length @ 1..) = master.read(&mut buffer) {
            screen.lock().unwrap().extend_from_slice(&buffer[..length]);
        }
    });
    node.wait_until("it runs", |status| status["config"]["loaded_at"].is_string()).await;
    node.stop().await;
    reader.join().unwrap();
    let shown = String::from_utf8(shown.lock().unwrap().clone()).unwrap();
    // What a terminal makes of a line's end.
    shown.replace("\r\n", "\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_gets_short_lines_in_colour_unless_no_color_is_set() {
    let mut node = Node::prepare("node", Transport::Tcp).await;
    let coloured = on_a_terminal(&mut node, None).await;
    assert!(coloured.contains("\x1b[32mINFO \x1b[0m ready \x1b[2msocket=\x1b[0m"), "{coloured:?}");
    let plain = on_a_terminal(&mut node, Some("1")).await;
    assert!(!plain.contains('\x1b'), "{plain:?}");
    assert!(plain.lines().all(|line| line.find('Z') == Some("00:00:00.000".len())), "{plain:?}");
    assert!(plain.contains("INFO  ready socket="), "{plain:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_never_gets_colours() {
    let mut node = Node::prepare("node", Transport::Tcp).await;
    node.variables = [("NO_COLOR", ""), ("CLICOLOR_FORCE", "1"), ("TERM", "xterm")].map(|(k, v)| (k, v.into())).into();
    node.start().await;
    node.stop().await;
    assert!(node.log_text().contains("INFO  ready") && !node.log_text().contains('\x1b'));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_in_the_name_of_a_file_reaches_the_terminal_as_it_is() {
    const EVIL: &str = "a\x1b[2Jb\u{9b}31m\u{202e}c\nINFO  forged";
    let mut node = Node::prepare("node", Transport::Tcp).await;
    let folder = node.dir().join(EVIL);
    fs::create_dir(&folder).unwrap();
    // The name stands in the path of the file, in a path in it, and in what is wrong with that. A path in the file has no
    // line breaks.
    let keys = node.dir().join(EVIL.split('\n').next().unwrap());
    fs::create_dir(&keys).unwrap();
    let key = keys.join("identity.key");
    fs::copy(node.dir().join("identity.key"), &key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    node.config = folder.join("p2ptun.toml");
    let toml = toml::Value::from(key.to_str().unwrap()).to_string();
    node.node_keys = String::new();
    let text = node.text().replace(&format!("{:?}", node.dir().join("identity.key")), &toml);
    assert!(text.contains(&toml));
    for (options, form) in [(vec![], "human"), (vec!["--log-format", "json"], "json")] {
        node.options = options;
        fs::write(&node.config, &text).unwrap();
        node.spawn();
        node.wait_until("it runs", |status| status["config"]["loaded_at"].is_string()).await;
        fs::write(&node.config, "broken").unwrap();
        assert_eq!(node.reload().await.status.code(), Some(78));
        node.stop().await;
        let log = node.log_text();
        assert!(log.contains("identity is not as it should be") && log.contains("configuration refused"), "{log}");
        assert!(!log.contains(harmful), "{form}: {log:?}");
        assert!(!log.lines().any(|line| line.starts_with("INFO")), "{form}: {log:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_systemd_without_a_journal_socket_each_line_keeps_its_level() {
    if fs::exists("/run/systemd/journal/socket").unwrap() {
        return; // There the lines would be the journal's.
    }
    let mut node = Node::prepare("node", Transport::Tcp).await;
    let log = File::create(node.dir().join("log")).unwrap();
    let metadata = log.metadata().unwrap();
    node.variables = vec![("JOURNAL_STREAM", format!("{}:{}", metadata.dev(), metadata.ino()))];
    node.write();
    node.spawn_writing_to(log);
    wait_for_text(&node, "<6>ready socket=").await;
    // Somebody who has put another stream in its place gets lines for people.
    node.stop().await;
    node.variables = vec![("JOURNAL_STREAM", format!("{}:{}", metadata.dev(), metadata.ino() + 1))];
    node.spawn();
    wait_for_text(&node, "INFO  ready socket=").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_start_fails_is_an_error_of_the_journal_line_by_line() {
    let node = Node::prepare("node", Transport::Tcp).await;
    fs::write(&node.config, "[listen.ssh]\ntarget = \"127.0.0.1:22\"\nallow = \"anyone\"\nwatch = 1\n").unwrap();
    let path = node.dir().join("journal");
    let stream = File::create(&path).unwrap();
    let metadata = stream.metadata().unwrap();
    let mut command = node.run_command();
    command.env("JOURNAL_STREAM", format!("{}:{}", metadata.dev(), metadata.ino()));
    let status = command.stdin(Stdio::null()).stderr(stream).status().unwrap();
    assert_eq!(status.code(), Some(78));
    let said = fs::read_to_string(path).unwrap();
    for (level, words) in [("<3>", "unknown key `watch`"), ("<4>", "everybody who learns"), ("<3>p2ptun: ", "1 error")]
    {
        assert!(said.lines().any(|line| line.starts_with(level) && line.contains(words)), "{words} in {said}");
    }
    assert!(said.lines().all(|line| line.starts_with("<3>") || line.starts_with("<4>")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_failures_is_told_at_once_and_then_counted() {
    let nobody = Target::bind().address;
    let mut pair = json_pair(&listen("echo", nobody), &forward("echo")).await;
    const FLOOD: u64 = 300;
    for _ in 0..FLOOD {
        assert_eq!(pair.client.ending_of_a_connection("echo").await.1, Ending::Reset);
    }
    pair.server.wait_for_tunnel("echo", "all are counted", |tunnel| tunnel["refused"] == FLOOD).await;
    let first = wait_for_event(&pair.server, "connection failed").await;
    assert_eq!((&first["level"], &first["tunnel"]), (&"warn".into(), &"echo".into()));
    assert!(first["error"].as_str().unwrap().contains("Connection refused"), "{first}");
    let begun = events(&pair.server);
    // At once one line, and then one in 30 s.
    assert!(said(&begun, "connection failed").len() <= 3, "{begun:#?}");
    pair.server.stop().await;
    let all = events(&pair.server);
    assert_eq!(counted(&said(&all, "connection failed")), FLOOD);
    assert!(all.len() < 40, "{all:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_that_take_turns_do_not_flood_either_and_success_is_told_once() {
    let mut pair = Pair::prepare(Transport::Tcp).await;
    let (missing, dead) = (pair.server.dir().join("target.sock"), Target::bind().address);
    pair.server.options = vec!["--log-format", "json"];
    let unix = listen("echo", format!("unix:{}", missing.display()));
    let tcp = listen("echo", dead);
    pair.launch(&unix, &forward("echo")).await;
    let before = pair.server.body.clone();
    for turn in 0..20 {
        let after = before.replace(&unix, if turn % 2 == 0 { &tcp } else { &unix });
        pair.server.body = after;
        pair.server.write();
        pair.server.reload_applied().await;
        assert_eq!(pair.client.ending_of_a_connection("echo").await.1, Ending::Reset);
    }
    let _service = UnixService::echo(&missing);
    for _ in 0..10 {
        let mut client = pair.client.connect("echo").await;
        soon("an echo", ping(&mut client)).await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(soon("the end", client.read(&mut [0; 1])).await.unwrap(), 0);
    }
    wait_for_event(&pair.server, "connections succeed again").await;
    pair.server.stop().await;
    let all = events(&pair.server);
    let failed = said(&all, "connection failed");
    // Two reasons: a line for each at once, and one for the rest of each at the end.
    assert!((2..=6).contains(&failed.len()), "{failed:#?}");
    assert_eq!(counted(&failed), 20);
    assert_eq!(said(&all, "connections succeed again").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_peer_is_one_event_and_then_a_number() {
    let echo = Service::echo();
    let mut pair = json_pair(&listen("echo", echo.address), &forward("echo")).await;
    let mut stranger = Node::prepare("stranger", Transport::Tcp).await;
    stranger.body = format!("{}{}", peer("server", &pair.server.id, &pair.server.addresses().await), forward("echo"));
    stranger.start().await;
    for _ in 0..50 {
        assert_eq!(stranger.ending_of_a_connection("echo").await.1, Ending::Reset);
    }
    let counted_by_status =
        pair.server.wait_for_tunnel("echo", "the refusals are counted", |tunnel| tunnel["refused"] == 50).await;
    assert_eq!(counted_by_status["error"], Value::Null, "a stranger is no trouble of the tunnel's");
    let refused = wait_for_event(&pair.server, "peer refused").await;
    assert_eq!(refused["peer"], stranger.id);
    assert_eq!((&refused["tunnel"], &refused["protocol"]), (&"echo".into(), &"/x/echo".into()));
    assert_eq!((&refused["level"], refused.get("peer_name")), (&"warn".into(), None));
    assert!(refused["address"].as_str().unwrap().starts_with("/ip4/127.0.0.1/tcp/"), "{refused}");
    let so_far = events(&pair.server);
    assert!(said(&so_far, "peer refused").len() <= 2, "{so_far:#?}");
    pair.server.stop().await;
    assert_eq!(counted(&said(&events(&pair.server), "peer refused")), 50);
    assert_eq!(echo.accepted(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_peer_that_comes_and_goes_and_can_not_be_reached_is_told_once_each() {
    let echo = Service::echo();
    let mut pair = Pair::prepare(Transport::Tcp).await;
    pair.client.options = vec!["--log-format", "json", "--log-level", "debug"];
    pair.launch(&listen("echo", echo.address), &forward("echo")).await;
    wait_for_event(&pair.client, "peer connected").await;
    pair.server.kill9().await;
    let gone = wait_for_event(&pair.client, "peer disconnected").await;
    assert_eq!((&gone["peer"], &gone["peer_name"]), (&pair.server.id.clone().into(), &"server".into()));
    let unreachable = wait_for_event(&pair.client, "peer can't be reached; trying again").await;
    assert_eq!((&unreachable["level"], &unreachable["peer_name"]), (&"warn".into(), &"server".into()));
    // A client that waits has it dialled every second.
    let _waiting = pair.client.connect("echo").await;
    eventually("more dials", || async { (said(&events(&pair.client), "dial failed").len() >= 4).then_some(()) }).await;
    assert_eq!(said(&events(&pair.client), "peer can't be reached; trying again").len(), 1);
}

/// What the client's log says when the server is gone by `signal`: of the peer, and all of it.
async fn told_of_the_end_of_the_server(transport: Transport, signal: Signal) -> (Value, Vec<Value>) {
    let echo = Service::echo();
    let mut pair = Pair::prepare(transport).await;
    pair.client.options = vec!["--log-format", "json", "--log-level", "debug"];
    pair.launch(&listen("echo", echo.address), &forward("echo")).await;
    wait_for_event(&pair.client, "peer connected").await;
    // A connection that only one of them has come to know would not end in good order.
    pair.server.wait_until("the client is there", |status| status["peers"][0]["connected"] == true).await;
    pair.server.signal(signal);
    pair.server.exit().await;
    let gone = wait_for_event(&pair.client, "peer disconnected").await;
    (gone, events(&pair.client))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_takes_its_leave_is_no_error() {
    for transport in [Transport::Tcp, Transport::Quic] {
        let (gone, all) = told_of_the_end_of_the_server(transport, Signal::SIGTERM).await;
        assert_eq!((&gone["level"], gone.get("error")), (&"info".into(), None), "{gone}");
        let closed = said(&all, "the peer closed the connection");
        assert!(closed.iter().all(|event| event["level"] == "debug" && event.get("error").is_none()), "{closed:?}");
        assert_eq!((closed.len(), said(&all, "connection closed").len()), (1, 0), "{transport:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_lost_is_told_with_the_reason() {
    for transport in [Transport::Tcp, Transport::Quic] {
        let (gone, all) = told_of_the_end_of_the_server(transport, Signal::SIGKILL).await;
        assert!(gone["error"].is_string(), "{transport:?}: {gone}");
        assert_eq!(said(&all, "connection closed")[0]["error"], gone["error"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_reading_stops_no_stream_and_no_end() {
    let echo = Service::echo();
    let mut pair = Pair::prepare(Transport::Tcp).await;
    let (reader, writer) = pipe().unwrap();
    pair.server.body = format!("{}{}", peer("client", &pair.client.id, &[]), listen("echo", echo.address));
    pair.server.variables = vec![("P2PTUN_LOG", "trace".to_owned())];
    pair.server.write();
    pair.server.spawn_writing_to(writer);
    let addresses = pair.server.addresses().await;
    pair.client.body = format!("{}{}", peer("server", &pair.server.id, &addresses), forward("echo"));
    pair.client.start().await;
    // All that is said about these is far more than a pipe holds.
    for _ in 0..200 {
        let mut client = pair.client.connect("echo").await;
        soon("an echo", ping(&mut client)).await.unwrap();
    }
    pair.server.reload_applied().await;
    pair.server.signal(Signal::SIGTERM);
    let status = within(Duration::from_secs(20), "it ends", pair.server.exit()).await;
    assert_eq!(status.code(), Some(0));
    let mut log = String::new();
    { reader }.read_to_string(&mut log).unwrap();
    assert!(log.contains("starting") && !log.contains("stopping"), "the pipe was never full: {}", log.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_gone_and_a_closed_standard_error_stop_nothing() {
    let echo = Service::echo();
    for closed in [false, true] {
        let mut pair = Pair::prepare(Transport::Tcp).await;
        pair.server.body = format!("{}{}", peer("client", &pair.client.id, &[]), listen("echo", echo.address));
        pair.server.options = vec!["--log-level", "trace"];
        pair.server.write();
        if closed {
            let service = pair.server.run_command();
            let mut shell = std::process::Command::new("/bin/sh");
            shell.args(["-c", "exec \"$0\" \"$@\" 2>&-"]).arg(service.get_program()).args(service.get_args());
            for (name, value) in service.get_envs() {
                match value {
                    Some(value) => shell.env(name, value),
                    None => shell.env_remove(name),
                };
            }
            shell.current_dir(pair.server.dir()).stdin(Stdio::null()).stdout(Stdio::null());
            pair.server.adopt(shell.spawn().unwrap());
        } else {
            let (reader, writer) = pipe().unwrap();
            pair.server.spawn_writing_to(writer);
            drop(reader);
        }
        let addresses = pair.server.addresses().await;
        pair.client.body = format!("{}{}", peer("server", &pair.server.id, &addresses), forward("echo"));
        pair.client.start().await;
        let mut client = pair.client.connect("echo").await;
        soon("an echo", ping(&mut client)).await.unwrap();
        pair.server.reload_applied().await;
        drop(client);
        pair.server.stop().await;
    }
}

/// All the ways in which `secret` could be written.
fn writings(what: &str, secret: &[u8]) -> Vec<(String, String)> {
    let decimal = |bytes: &[u8]| bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    let mut ways: Vec<_> = [Base::Base64, Base::Base64Url, Base::Base16Lower, Base::Base16Upper, Base::Base58Btc]
        .map(|base| (format!("{what} in {base:?}"), base.encode(secret)))
        .into();
    // As a part of something longer, base64 has one of three forms.
    for skipped in 0..3 {
        let inner = Base::Base64.encode(&secret[skipped..skipped + 24]);
        ways.push((format!("{what} in Base64, {skipped} bytes on"), inner));
    }
    ways.push((format!("{what} as numbers"), decimal(&secret[..8])));
    ways
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_ever_printed_whatever_is_asked_for() {
    const PAYLOAD: &str = "what nobody but the two ends may know";
    let echo = Service::echo();
    let mut pair = Pair::prepare(Transport::Tcp).await;
    for node in [&mut pair.server, &mut pair.client] {
        node.variables = vec![("P2PTUN_LOG", "trace".to_owned())];
        // Another listener, for both transports.
        node.listen_address = "/ip4/127.0.0.1/tcp/0\", \"/ip4/127.0.0.1/udp/0/quic-v1".to_owned();
    }
    pair.launch(&listen("echo", echo.address), &forward("echo")).await;
    let mut stranger = Node::prepare("stranger", Transport::Quic).await;
    stranger.variables = vec![("P2PTUN_LOG", "trace".to_owned())];
    let quic: Vec<_> = pair.server.addresses().await.into_iter().filter(|address| address.contains("quic")).collect();
    stranger.body = format!("{}{}", peer("server", &pair.server.id, &quic), forward("echo"));
    stranger.start().await;

    let mut client = pair.client.connect("echo").await;
    client.write_all(PAYLOAD.as_bytes()).await.unwrap();
    let mut answer = vec![0; PAYLOAD.len()];
    soon("an echo", client.read_exact(&mut answer)).await.unwrap();
    assert_eq!(stranger.ending_of_a_connection("echo").await.1, Ending::Reset);
    pair.server.edit(|body| format!("{body}\n# changed\n"));
    pair.server.reload_applied().await;
    pair.server.edit(|body| format!("{body}broken"));
    assert_eq!(pair.server.reload().await.status.code(), Some(78));
    drop(client);

    // Over QUIC as well, a refusal is told.
    wait_for_text(&pair.server, "peer refused tunnel=echo").await;
    let log = pair.server.log_text();
    let refused = log.lines().find(|line| line.contains("peer refused")).unwrap();
    assert!(refused.contains(&stranger.id) && refused.contains("/quic-v1"), "{refused}");

    let mut secrets = Vec::new();
    let mut logs = String::new();
    for node in [&mut pair.server, &mut pair.client, &mut stranger] {
        node.stop().await;
        let log = node.log_text();
        assert!(log.contains(" TRACE ") && log.contains(" libp2p_swarm"), "nothing was asked for: {log}");
        logs += &log;
        let protobuf = fs::read(node.dir().join("identity.key")).unwrap();
        // Two tags and two lengths, then the 32 bytes of the seed and those of the public key.
        assert_eq!(protobuf.len(), 68);
        secrets.extend(writings("a key file", &protobuf));
        secrets.extend(writings("a key", &protobuf[4..36]));
        secrets.push(("a key as it is".to_owned(), String::from_utf8_lossy(&protobuf[4..36]).into_owned()));
    }

    // A key file that holds something else, and a private network's key.
    let mut broken = Node::prepare("broken", Transport::Tcp).await;
    broken.variables = vec![("P2PTUN_LOG", "trace".to_owned())];
    let key = fs::read(broken.dir().join("identity.key")).unwrap();
    let torn = Base::Base64.encode(&key[..60]);
    fs::write(broken.dir().join("identity.key"), &torn).unwrap();
    broken.write();
    broken.spawn();
    assert_eq!(broken.exit().await.code(), Some(78));
    secrets.extend(writings("a torn key", &key[4..36]));
    secrets.push(("a torn key file".to_owned(), torn));
    fs::write(broken.dir().join("identity.key"), &key).unwrap();
    let psk = "0123456789abcdef".repeat(4);
    let file = broken.dir().join("psk");
    fs::write(&file, format!("/key/swarm/psk/1.0.0/\n/base16/\n{psk}\n")).unwrap();
    broken.node_keys = format!("private_network_key_file = {file:?}\n");
    broken.body = listen("echo", echo.address).replace("[\"client\"]", "\"anyone\"");
    broken.start().await;
    broken.stop().await;
    logs += &broken.log_text();
    assert!(broken.log_text().contains("node stays off the network"), "{}", broken.log_text());
    secrets.push(("a private network's key".to_owned(), psk[..32].to_owned()));
    secrets.push(("what a stream carries".to_owned(), PAYLOAD.to_owned()));
    secrets.extend(writings("what a stream carries", PAYLOAD.as_bytes()));

    for (what, secret) in secrets {
        assert!(secret.len() >= 20, "{what}: {secret:?} may well be there by chance");
        assert!(!logs.contains(&secret), "the log has {what}: {secret:?}");
    }
}
