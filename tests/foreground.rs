//! `p2ptun listen` and `p2ptun forward`: one tunnel each, for as long as somebody looks at it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::{
    fs::{self, File},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use support::{
    Service, Target, UnixService, eventually, soon,
    traffic::{Ending, ending, ping, receive, send},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};

const LOOPBACK: &str = "--listen-address=/ip4/127.0.0.1/tcp/0";

/// A person's folder, in which a command should leave nothing, and what the command says, which is kept elsewhere.
struct Person {
    home: TempDir,
    heard: TempDir,
}

impl Person {
    fn new() -> Self {
        Self { home: TempDir::new().unwrap(), heard: TempDir::new().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// The binary, which finds nothing but this person's files.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("NO_COLOR", "1").env("P2PTUN_CONFIG", self.path("p2ptun.toml")).current_dir(&self.home);
        for variable in ["HOME", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"] {
            command.env(variable, self.home.path());
        }
        command.env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
        command
    }

    fn start(&self, arguments: &[&str]) -> Running {
        self.start_by(self.command(env!("CARGO_BIN_EXE_p2ptun")), arguments)
    }

    fn start_by(&self, mut command: Command, arguments: &[&str]) -> Running {
        let number = fs::read_dir(&self.heard).unwrap().count();
        let said = self.heard.path().join(format!("{number}.log"));
        let log = File::create(&said).unwrap();
        command.args(arguments).stdout(log.try_clone().unwrap()).stderr(log);
        Running { child: command.spawn().unwrap(), said }
    }

    /// Runs a command that is to end by itself.
    async fn run(&self, arguments: &[&str]) -> (i32, String) {
        let mut running = self.start(arguments);
        let code = running.exit_code().await;
        (code, running.said())
    }

    fn left_behind(&self) -> Vec<String> {
        let names = fs::read_dir(&self.home).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }
}

struct Running {
    child: Child,
    said: PathBuf,
}

impl Running {
    fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap()
    }

    /// What follows `beginning` in a line that the command has printed, or will.
    async fn line(&self, beginning: &str) -> String {
        let found = || self.said().lines().find_map(|line| Some(line.trim().strip_prefix(beginning)?.to_owned()));
        let what = format!("a line that begins with {beginning:?}");
        let said = &self.said;
        soon_or_show(&what, said, eventually(&what, || std::future::ready(found()))).await
    }

    /// Waits until it has said `words`.
    async fn told(&self, words: &str) {
        let told = || self.said().contains(words).then_some(());
        soon_or_show(words, &self.said, eventually(words, || std::future::ready(told()))).await;
    }

    /// The arguments that it gives for the other end.
    async fn other_end(&self) -> Vec<String> {
        self.line("p2ptun ").await.split(' ').map(str::to_owned).collect()
    }

    async fn bound(&self) -> SocketAddr {
        self.line("forwarding ").await.split(' ').next().unwrap().parse().unwrap()
    }

    async fn connect(&self) -> TcpStream {
        soon("the forward accepts", TcpStream::connect(self.bound().await)).await.unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    async fn exit_code(&mut self) -> i32 {
        let status = eventually("the command ends", || {
            let ended = self.child.try_wait().unwrap();
            async move { ended }
        });
        status.await.code().expect("no signal ended it")
    }

    async fn ends_by(mut self, signal: Signal) -> String {
        self.signal(signal);
        let code = self.exit_code().await;
        assert_eq!(code, 0, "after {signal}: {}", self.said());
        self.said()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails only for what has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("===== a command said:\n{}=====", self.said());
        }
    }
}

async fn soon_or_show<T>(what: &str, said: &Path, future: impl Future<Output = T>) -> T {
    tokio::select! {
        value = future => value,
        () = tokio::time::sleep(support::PATIENCE) => panic!("{what}: {}", fs::read_to_string(said).unwrap()),
    }
}

/// A listening and a forwarding command of two people, the second started as the first one says.
async fn pair(listener: &Person, visitor: &Person, target: &str) -> (Running, Running) {
    let listen = listener.start(&["listen", "/x/echo", target, "--allow", "anyone", LOOPBACK]);
    let arguments = listen.other_end().await;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let forward = visitor.start(&arguments);
    forward.bound().await;
    (listen, forward)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_commands_alone_make_a_tunnel_and_leave_nothing_behind() {
    const BYTES: u64 = 3_000_000;
    let (listener, visitor, service) = (Person::new(), Person::new(), Service::echo());
    let (listen, forward) = pair(&listener, &visitor, &service.address.to_string()).await;
    let (mut reader, mut writer) = forward.connect().await.into_split();
    let upload = async {
        send(&mut writer, 0, BYTES).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let download = async { receive(&mut reader, 0, BYTES).await.unwrap() };
    soon("an echo of all bytes", async { tokio::join!(upload, download) }).await;
    assert_eq!(ending(&mut reader).await, (Vec::new(), Ending::Eof));
    let id = listen.line("peer id ").await;
    assert!(forward.line("connected to ").await.starts_with(&id), "it says who is there");
    listen.line("connected to ").await;
    listen.ends_by(Signal::SIGINT).await;
    forward.line("no longer connected to ").await;
    forward.told("peer can't be reached; trying again").await;
    forward.ends_by(Signal::SIGINT).await;
    assert_eq!((listener.left_behind(), visitor.left_behind()), (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_can_not_be_reached_from_the_start_is_told_once() {
    let person = Person::new();
    let id = "12D3KooWJpUikX2teHCrRgFNaZHTyG3nrPNdpa7ANSqMEYpW9zqi";
    let nobody = format!("/ip4/127.0.0.1/tcp/9/p2p/{id}");
    for more in [&[][..], &["--log-level", "warn"], &["--log-level", "error"]] {
        let forward = person.start(&[&["forward", "/x/echo", "127.0.0.1:0", &nobody], more].concat());
        forward.bound().await;
        if more != ["--log-level", "error"] {
            forward.told("Connection refused").await;
        }
        let said = forward.ends_by(Signal::SIGINT).await;
        let expected = if more == ["--log-level", "error"] { 0 } else { 1 };
        assert_eq!(said.matches("Connection refused").count(), expected, "{more:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_is_told_either_by_the_log_or_beside_it() {
    let (listener, visitor) = (Person::new(), Person::new());
    let more = ["--log-level", "info"];
    let listen =
        listener.start(&[&["listen", "/x/echo", "127.0.0.1:9", "--allow", "anyone", LOOPBACK], &more[..]].concat());
    let other_end = listen.other_end().await;
    let arguments: Vec<&str> = other_end.iter().map(String::as_str).chain(more).collect();
    let forward = visitor.start(&arguments);
    forward.told("peer connected").await;
    // A stranger is none of the log's business at this level.
    listen.line("connected to ").await;
    listen.ends_by(Signal::SIGINT).await;
    forward.told("peer disconnected").await;
    let said = forward.ends_by(Signal::SIGINT).await;
    assert!(!said.contains("connected to "), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_end_it_resets_what_is_open_and_exits_0() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let (listener, visitor, target) = (Person::new(), Person::new(), Target::bind());
        let (listen, forward) = pair(&listener, &visitor, &target.address.to_string()).await;
        let mut client = forward.connect().await;
        client.write_all(b"hello").await.unwrap();
        let mut server = target.accept().await;
        soon("hello", server.read_exact(&mut [0; 5])).await.unwrap();
        listen.ends_by(signal).await;
        assert_eq!(ending(&mut client).await.1, Ending::Reset, "the client, after {signal}");
        assert_eq!(ending(&mut server).await.1, Ending::Reset, "the target, after {signal}");
        forward.ends_by(signal).await;
    }
    let (listener, visitor, target) = (Person::new(), Person::new(), Target::bind());
    let (_listen, forward) = pair(&listener, &visitor, &target.address.to_string()).await;
    let mut client = forward.connect().await;
    client.write_all(b"hello").await.unwrap();
    let mut server = target.accept().await;
    soon("hello", server.read_exact(&mut [0; 5])).await.unwrap();
    forward.ends_by(Signal::SIGHUP).await;
    assert_eq!(ending(&mut client).await.1, Ending::Reset);
    assert_eq!(ending(&mut server).await.1, Ending::Reset);
}

#[tokio::test(flavor = "multi_thread")]
async fn under_nohup_it_outlives_its_terminal() {
    let (person, service) = (Person::new(), Service::echo());
    let mut arguments = vec![env!("CARGO_BIN_EXE_p2ptun"), "listen", "/x/echo"];
    let target = service.address.to_string();
    arguments.extend([&target, "--allow", "anyone", LOOPBACK]);
    let listen = person.start_by(person.command("nohup"), &arguments);
    let other_end = listen.other_end().await;
    listen.signal(Signal::SIGHUP);
    let visitor = Person::new();
    let forward = visitor.start(&other_end.iter().map(String::as_str).collect::<Vec<_>>());
    soon("an echo", ping(&mut forward.connect().await)).await.unwrap();
    listen.ends_by(Signal::SIGTERM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_is_allowed_comes_in_and_an_identity_in_a_file_lasts() {
    let (home, laptop, stranger, service) = (Person::new(), Person::new(), Person::new(), Service::echo());
    let key = laptop.path("keys/laptop.key");
    let key = format!("--identity={}", key.display());
    let unknown = "/ip4/127.0.0.1/tcp/9/p2p/12D3KooWJpUikX2teHCrRgFNaZHTyG3nrPNdpa7ANSqMEYpW9zqi";
    let first = laptop.start(&["forward", "/x/echo", "127.0.0.1:0", unknown, &key]);
    let id = first.line("peer id ").await;
    assert!(first.line("p2ptun ").await.ends_with(&format!("--allow {id}")));
    let (code, said) = laptop.run(&["forward", "/x/echo", "127.0.0.1:0", unknown, &key]).await;
    assert_eq!((code, said.contains("already running with the identity")), (69, true), "{said}");
    first.ends_by(Signal::SIGINT).await;

    home.write("p2ptun.toml", &format!("[peers.laptop]\nid = \"{id}\"\n"));
    let target = service.address.to_string();
    let listen = home.start(&["listen", "/x/echo", &target, "--allow", "laptop", LOOPBACK]);
    let other_end = listen.other_end().await;
    let mut arguments: Vec<&str> = other_end.iter().map(String::as_str).collect();
    let refused = stranger.start(&arguments);
    assert_eq!(ending(&mut refused.connect().await).await.1, Ending::Reset);
    arguments.push(&key);
    let forward = laptop.start(&arguments);
    assert_eq!(forward.line("peer id ").await, id);
    soon("an echo", ping(&mut forward.connect().await)).await.unwrap();
    assert!(listen.line("connected to ").await.starts_with("laptop ("), "{}", listen.said());
    assert_eq!(fs::metadata(laptop.path("keys/laptop.key")).unwrap().permissions().mode() & 0o777, 0o600);

    fs::set_permissions(laptop.path("keys/laptop.key"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(laptop.run(&["forward", "/x/echo", "127.0.0.1:0", unknown, &key]).await.0, 77);
    let nowhere = ["forward", "/x/echo", "127.0.0.1:0", unknown, "--identity", "/proc/no/key"];
    assert_eq!(laptop.run(&nowhere).await.0, 73);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_can_not_be_bound() {
    let (person, target) = (Person::new(), Target::bind());
    let taken = target.address.to_string();
    let unknown = "/ip4/127.0.0.1/tcp/9/p2p/12D3KooWJpUikX2teHCrRgFNaZHTyG3nrPNdpa7ANSqMEYpW9zqi";
    let (code, said) = person.run(&["forward", "/x/echo", &taken, unknown]).await;
    assert_eq!(
        (code, said.as_str()),
        (69, &*format!("p2ptun: can't listen on {taken}: Address already in use (os error 98)\n"))
    );
    let address = format!("/ip4/127.0.0.1/tcp/{}", target.address.port());
    let listen = ["listen", "/x/echo", &taken, "--allow", "anyone", LOOPBACK, "--listen-address", &address];
    let (code, said) = person.run(&listen).await;
    assert_eq!(code, 69, "{said}");
    assert!(said.contains(&format!("p2ptun: can't listen on {address}: Address already in use")), "{said}");
    assert!(!said.contains("peer id"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_argument_is_named() {
    let person = Person::new();
    let id = "12D3KooWJpUikX2teHCrRgFNaZHTyG3nrPNdpa7ANSqMEYpW9zqi";
    let good = format!("/ip4/127.0.0.1/tcp/9/p2p/{id}");
    let forward = |arguments: &[&str]| [&["forward"], arguments].concat().join(" ");
    let cases = [
        ("listen /x/ssh 127.0.0.1:22".to_owned(), "--allow <PEER>"),
        ("listen /x/ssh --allow anyone".to_owned(), "<TARGET>"),
        ("listen ssh 127.0.0.1:22 --allow anyone".to_owned(), "PROTO: `ssh` does not begin with a slash"),
        ("listen /ssh 127.0.0.1:22 --allow anyone".to_owned(), "give --allow-custom-protocol"),
        ("listen /x/ssh 127.0.0.1:0 --allow anyone".to_owned(), "TARGET: `127.0.0.1:0` has port 0"),
        ("listen /x/ssh 127.0.0.1:22 --allow laptop".to_owned(), "--allow: `laptop` is no peer id"),
        ("listen /x/ssh 127.0.0.1:22 --allow anyone,anyone".to_owned(), "--allow: \"anyone\" stands by itself"),
        (
            "listen /x/ssh 127.0.0.1:22 --allow anyone --proxy-protocol v3".to_owned(),
            "--proxy-protocol: unknown value `v3`",
        ),
        (
            "listen /x/ssh 127.0.0.1:22 --allow anyone --connect-timeout 5".to_owned(),
            "--connect-timeout: `5` is no duration",
        ),
        (
            "listen /x/ssh 127.0.0.1:22 --allow anyone --max-connections 0".to_owned(),
            "--max-connections: must lie between",
        ),
        (
            "listen /x/ssh 127.0.0.1:22 --allow anyone --max-connections-per-peer 0".to_owned(),
            "--max-connections-per-peer: must",
        ),
        (
            "listen /x/ssh 127.0.0.1:22 --allow anyone --listen-address /ip4/0.0.0.0/udp/1".to_owned(),
            "--listen-address: ",
        ),
        ("listen /x/ssh 127.0.0.1:22 --allow anyone --save x --identity k".to_owned(), "cannot be used with"),
        (forward(&["/x/ssh", "127.0.0.1:1"]), "<PEER>"),
        (forward(&["/x/ssh", "2222", &good]), "BIND: `2222` has no host"),
        (
            forward(&["/x/ssh", "127.0.0.1:1", "/ip4/127.0.0.1/tcp/1"]),
            "PEER: `/ip4/127.0.0.1/tcp/1` does not say which peer",
        ),
        (forward(&["/x/ssh", "127.0.0.1:1", &good, "--bind-mode", "0600"]), "--bind-mode: only the socket file"),
        (forward(&["/x/ssh", "unix:/x/y", &good, "--bind-group", "a b"]), "--bind-group: `a b` is no name"),
        (forward(&["/x/ssh", "127.0.0.1:1", &good, "--relay", "perhaps"]), "--relay: unknown value `perhaps`"),
        (
            forward(&["/x/ssh", "127.0.0.1:1", &good, "--open-timeout", "never"]),
            "--open-timeout: `never` is no duration",
        ),
        (
            forward(&["/x/ssh", "127.0.0.1:1", &good, "--peer-address", "home"]),
            "--peer-address: `home` is no multiaddr",
        ),
        (forward(&["/x/ssh", "127.0.0.1:1", &good, "--peer-address", &format!("/p2p/{id}")]), "has no address in it"),
        (
            forward(&[
                "/x/ssh",
                "127.0.0.1:1",
                &good,
                "--peer-address",
                "/ip4/1.2.3.4/tcp/1/p2p/12D3KooWG97QDNz8rkB5vKh3QfS8WRZDocwcrmw2AXyHyCJkU3KD",
            ]),
            "is an address of another peer than PEER",
        ),
    ];
    for (arguments, words) in cases {
        // "a b" is the one argument with a space.
        let arguments: Vec<_> =
            arguments.replace("a b", "a\u{1}b").split(' ').map(|word| word.replace('\u{1}', " ")).collect();
        let (code, said) = person.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await;
        assert_eq!(code, 64, "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
        assert!(!said.contains("foreground") && !said.contains("table"), "{said}");
    }
    assert_eq!(person.left_behind(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_read_for_names_and_only_for_them() {
    let person = Person::new();
    person.write("p2ptun.toml", "this is no TOML");
    let (code, said) = person.run(&["forward", "/x/ssh", "127.0.0.1:0", "home"]).await;
    assert_eq!((code, said.contains("p2ptun.toml:1:")), (78, true), "{said}");
    let known = "/ip4/127.0.0.1/tcp/9/p2p/12D3KooWJpUikX2teHCrRgFNaZHTyG3nrPNdpa7ANSqMEYpW9zqi";
    let forward = person.start(&["forward", "/x/ssh", "127.0.0.1:0", known]);
    forward.bound().await;
    forward.ends_by(Signal::SIGINT).await;
    person.write("p2ptun.toml", "[peers.home]\nid = '12D3KooWJpUikX2teHCrRgFNaZHTyG3nrPNdpa7ANSqMEYpW9zqi'\n");
    let (code, said) = person.run(&["forward", "/x/ssh", "127.0.0.1:0", "hoem"]).await;
    assert_eq!((code, said.as_str()), (64, "p2ptun: PEER: unknown peer `hoem`; did you mean `home`?\n"));
    let forward = person.start(&["forward", "/x/ssh", "127.0.0.1:0", "home"]);
    assert_eq!(forward.line("no address of ").await, "home is known; give one with --peer-address");
    // Before that it catches no signals.
    forward.bound().await;
    forward.ends_by(Signal::SIGINT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_do_what_the_keys_of_the_file_do() {
    let (listener, visitor) = (Person::new(), Person::new());
    let target = Target::bind();
    let address = target.address.to_string();
    let listen = ["listen", "/echo", &address, "--allow", "anyone", LOOPBACK, "--allow-custom-protocol", "-r"];
    let listen =
        listener.start(&[&listen[..], &["--proxy-protocol", "v1", "--max-connections-per-peer", "1"]].concat());
    let other_end = listen.other_end().await;
    let (peer_address, id) = other_end[3].split_once("/p2p/").unwrap();
    let socket = visitor.path("s.sock");
    let bind = format!("unix:{}", socket.display());
    let forward = ["forward", "/echo", &bind, id, "--allow-custom-protocol", "--peer-address", peer_address];
    let forward = visitor.start(&[&forward[..], &["--bind-mode", "0660", "--open-timeout", "20s"]].concat());
    let own = forward.line("peer id ").await;
    forward.line("forwarding ").await;
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    let mut client = soon("the forward accepts", UnixStream::connect(&socket)).await.unwrap();
    client.write_all(b"hello").await.unwrap();
    client.shutdown().await.unwrap();
    let (heard, _) = ending(&mut target.accept().await).await;
    let heard = String::from_utf8(heard).unwrap();
    assert!(heard.starts_with("PROXY TCP4 127.0.0.1 ") && heard.ends_with(&format!("{own}\nhello")), "{heard:?}");
    forward.ends_by(Signal::SIGTERM).await;
    assert!(!socket.exists(), "the socket is gone with the command");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_peers_the_first_that_answers_is_taken() {
    let (listener, visitor) = (Person::new(), Person::new());
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("echo.sock");
    let _service = UnixService::echo(&socket);
    let target = format!("unix:{}", socket.display());
    let listen = listener.start(&["listen", "/x/echo", &target, "--allow", "anyone", LOOPBACK]);
    let there = listen.other_end().await[3].clone();
    let nobody = "12D3KooWJpUikX2teHCrRgFNaZHTyG3nrPNdpa7ANSqMEYpW9zqi";
    let hint = format!("--peer-address=/ip4/127.0.0.1/tcp/9/p2p/{nobody}");
    let forward = visitor.start(&["forward", "/x/echo", "127.0.0.1:0", nobody, &there, &hint]);
    soon("an echo", ping(&mut forward.connect().await)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_other_wishes_it_listens_on_tcp_and_quic() {
    let (person, service) = (Person::new(), Service::echo());
    let target = service.address.to_string();
    let listen = person.start(&[
        "listen",
        "/x/echo",
        &target,
        "--allow",
        "12D3KooWJpUikX2teHCrRgFNaZHTyG3nrPNdpa7ANSqMEYpW9zqi",
    ]);
    let id = listen.line("peer id ").await;
    listen.other_end().await;
    let said = listen.said();
    let addresses: Vec<&str> = said.lines().map(str::trim).filter(|line| line.starts_with("/ip")).collect();
    assert!(addresses.iter().all(|address| address.ends_with(&format!("/p2p/{id}"))), "{said}");
    let on_loopback =
        |transport: &str| addresses.iter().any(|address| address.starts_with(&format!("/ip4/127.0.0.1/{transport}/")));
    assert!(on_loopback("tcp") && on_loopback("udp"), "{said}");
    listen.ends_by(Signal::SIGINT).await;
}
