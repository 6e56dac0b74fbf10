//! Every exit code that the manual lists for a command, had from the real binary.
//!
//! The table is made row by row, and in the end held against what each command's `--help` lists: a code that is listed and
//! has no row fails, and so does one that is had and not listed. Every command must have 64 and 71 as well.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use support::{Node, Pair, Service, Target, Transport, soon, traffic::ping};
use tokio::io::{AsyncBufReadExt, BufReader};

/// What was had so far.
#[derive(Default)]
struct Table {
    codes: BTreeSet<(String, i32)>,
    failures: Vec<String>,
}

impl Table {
    /// One row: `command` ended with `exit` and said `words`, on standard error unless it went well.
    fn row(&mut self, command: &str, exit: i32, words: &str, output: &Output) {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let said = if matches!(exit, 0 | 3) { &out } else { &err };
        if output.status.code() != Some(exit) || !said.contains(words) {
            self.failures.push(format!("{command}: expected {exit}, {words:?}; got {}\n{out}{err}", output.status));
        }
        self.codes.insert((command.to_owned(), exit));
    }
}

async fn end(mut command: Command) -> Output {
    command.stdin(Stdio::null());
    let mut command = tokio::process::Command::from(command);
    soon("a command of p2ptun ends", command.kill_on_drop(true).output()).await.unwrap()
}

fn with<S: AsRef<OsStr>>(mut command: Command, arguments: &[S]) -> Command {
    command.args(arguments);
    command
}

/// A node whose file has no tunnel.
async fn idle() -> Node {
    Node::prepare("node", Transport::Tcp).await
}

/// A node with nothing of its own: no file, no key.
async fn bare() -> Node {
    let node = idle().await;
    fs::remove_file(&node.config).unwrap();
    fs::remove_file(key(&node)).unwrap();
    node
}

fn key(node: &Node) -> PathBuf {
    node.dir().join("identity.key")
}

fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().to_str().unwrap().to_owned()
}

/// The options that lead a command to `node`.
fn to(node: &Node) -> [String; 2] {
    ["--socket".to_owned(), text(node.socket())]
}

fn of_file(node: &Node) -> [String; 2] {
    ["--config".to_owned(), text(&node.config)]
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A folder that nobody can put anything into.
fn locked(node: &Node) -> PathBuf {
    let folder = node.dir().join("locked");
    fs::create_dir(&folder).unwrap();
    mode(&folder, 0o555);
    folder
}

/// The codes that `command`'s help lists, and those of the commands below it.
async fn documented(command: &str) -> BTreeSet<(String, i32)> {
    let node = idle().await;
    let mut waiting = vec![command.to_owned()];
    let mut codes = BTreeSet::new();
    while let Some(command) = waiting.pop() {
        let words = command.split_whitespace().chain(["--help"]);
        let help = end(with(node.command(), &words.collect::<Vec<_>>())).await;
        let help = String::from_utf8(help.stdout).unwrap();
        let section = |title: &str| {
            let lines = help.lines().skip_while(|line| *line != title).skip(1).take_while(|line| !line.is_empty());
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        for line in section("Commands:").iter().filter_map(|line| line.strip_prefix("  ")) {
            match line.split(' ').next() {
                Some("" | "help") | None => {}
                Some(name) => waiting.push(format!("{command} {name}").trim().to_owned()),
            }
        }
        for line in section("Exit codes:").iter().filter(|_| !command.is_empty()) {
            let code = line.split_whitespace().next().unwrap().parse().unwrap();
            codes.insert((command.clone(), code));
        }
        if !command.is_empty() {
            codes.extend([(command.clone(), 64), (command, 71)]);
        }
    }
    codes
}

#[tokio::test(flavor = "multi_thread")]
async fn every_exit_code_of_every_command_can_be_had() {
    let mut table = Table::default();
    check(&mut table).await;
    run(&mut table).await;
    run_in_the_way(&mut table).await;
    reload(&mut table).await;
    status(&mut table).await;
    streams(&mut table).await;
    foreground(&mut table).await;
    save(&mut table).await;
    remove(&mut table).await;
    id(&mut table).await;
    demo(&mut table).await;
    printers(&mut table).await;
    assert!(table.failures.is_empty(), "{}", table.failures.join("\n"));
    assert_eq!(table.codes, documented("").await, "left: had by this test, right: listed by --help");
}

/// The code of a wrong command line, and that of an answer that can't be written.
async fn usual(table: &mut Table, command: &str, node: &Node, arguments: &[String]) {
    let words: Vec<_> = command.split_whitespace().collect();
    let with_mistake = with(with(node.command(), &words), &["--sockt", "x"]);
    table.row(command, 64, "a similar argument exists: '--socket'", &end(with_mistake).await);
    let mut to_full_disk = with(node.command(), &words);
    to_full_disk.args(arguments).stdout(File::options().write(true).open("/dev/full").unwrap()).stdin(Stdio::null());
    let output = tokio::process::Command::from(to_full_disk).stderr(Stdio::piped()).spawn().unwrap();
    let output = soon("a command of p2ptun ends", output.wait_with_output()).await.unwrap();
    table.row(command, 71, "No space left on device", &output);
}

async fn check(table: &mut Table) {
    let node = idle().await;
    let check = |path: &Path| with(node.command(), &["check", path.to_str().unwrap()]);
    table.row("check", 0, ": ok, 0 tunnels", &end(check(&node.config)).await);
    table.row("check", 66, "No such file", &end(check(&node.dir().join("missing.toml"))).await);
    table.row("check", 66, "it is a directory", &end(check(node.dir())).await);
    usual(table, "check", &node, &of_file(&node)).await;
    mode(&node.config, 0o000);
    let unreadable = with(node.command_of_an_outsider(), &["check", &text(&node.config)]);
    table.row("check", 66, "Permission denied", &end(unreadable).await);
    mode(&node.config, 0o600);
    fs::write(&node.config, "[listen.x]\n").unwrap();
    table.row("check", 78, "`target` and `allow` are missing", &end(check(&node.config)).await);
}

async fn run(table: &mut Table) {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut node = idle().await;
        node.start().await;
        node.signal(signal);
        let status = node.exit().await;
        table.row("run", 0, "", &Output { status, stdout: Vec::new(), stderr: node.log_text().into() });
    }

    let node = idle().await;
    let run = |command: Command| with(with(command, &["run"]), &[of_file(&node), to(&node)].concat());
    table.row("run", 64, "a similar argument exists", &end(with(node.command(), &["run", "--sockt"])).await);
    let few_files = Command::new("sh");
    let few_files = with(few_files, &["-c", "ulimit -n 5; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_p2ptun"), "run"]);
    table.row("run", 71, "Too many open files", &end(with(few_files, &of_file(&node))).await);

    mode(&key(&node), 0o644);
    table.row("run", 77, "can be read or changed by every user", &end(run(node.command())).await);
    mode(&key(&node), 0o000);
    mode(&node.config, 0o644);
    table.row("run", 77, "cannot read the identity", &end(run(node.command_of_an_outsider())).await);
    mode(&key(&node), 0o600);
    fs::write(key(&node), "not a key").unwrap();
    table.row("run", 78, "holds no private key", &end(run(node.command())).await);

    fs::write(&node.config, format!("[node]\nidentity = {:?}\n", locked(&node).join("identity.key"))).unwrap();
    table.row("run", 73, "cannot create the identity", &end(run(node.command_of_an_outsider())).await);
    fs::write(&node.config, "[node]\nidentty = 'x'\n").unwrap();
    table.row("run", 78, "did you mean `identity`?", &end(run(node.command())).await);
    fs::remove_file(&node.config).unwrap();
    table.row("run", 66, "No such file", &end(run(node.command())).await);
}

/// What else is there when the service starts.
async fn run_in_the_way(table: &mut Table) {
    let mut node = idle().await;
    node.start().await;
    let elsewhere = text(node.dir().join("other.sock"));
    let second = with(with(node.command(), &["run", "--socket", &elsewhere]), &of_file(&node));
    table.row("run", 69, "already running with the identity", &end(second).await);
    let other = idle().await;
    let run =
        |socket: &Path| with(with(other.command(), &["run", "--socket", socket.to_str().unwrap()]), &of_file(&other));
    table.row("run", 69, "already running: it answers at", &end(run(&node.socket())).await);
    let file = other.dir().join("precious");
    fs::write(&file, "").unwrap();
    table.row("run", 73, "not a socket", &end(run(&file)).await);
    table.row("run", 73, "cannot create the control socket", &end(run(Path::new("/proc/p2ptun/control.sock"))).await);
    node.stop().await;
}

async fn reload(table: &mut Table) {
    let mut node = idle().await;
    let reload = |command: Command| with(with(command, &["reload"]), &to(&node));
    let (ask, ask_again) = (reload(node.command()), reload(node.command()));
    table.row("reload", 69, "no service is running", &end(reload(node.command())).await);
    node.start().await;
    table.row("reload", 0, "no changes", &end(ask).await);
    usual(table, "reload", &node, &to(&node)).await;
    fs::write(&node.config, "x = 1\n").unwrap();
    table.row("reload", 78, "unknown key `x`", &end(ask_again).await);
    let group = node.admit_members_only();
    let outsider = with(with(node.command_of_an_outsider(), &["reload"]), &to(&node));
    table.row("reload", 77, &format!("join the group `{group}`"), &end(outsider).await);
}

async fn status(table: &mut Table) {
    let mut node = idle().await;
    let status = |node: &Node| with(with(node.command(), &["status"]), &to(node));
    table.row("status", 69, "no service is running", &end(status(&node)).await);
    let taken = Target::bind();
    node.body = format!("[forward.x]\nprotocol = '/x/x'\nbind = '{}'\npeer = '{}'\n", taken.address, node.id);
    node.start().await;
    table.row("status", 0, "x", &end(status(&node)).await);
    table.row("status", 3, "failed", &end(with(status(&node), &["--check"])).await);
    usual(table, "status", &node, &to(&node)).await;

    node.body.clear();
    node.write();
    node.reload_applied().await;
    table.row("status", 0, "", &end(with(status(&node), &["--check"])).await);
    fs::write(&node.config, "x = 1\n").unwrap();
    assert_eq!(node.reload().await.status.code(), Some(78));
    table.row("status", 3, "unknown key", &end(with(status(&node), &["--check"])).await);

    let group = node.admit_members_only();
    let outsider = with(with(node.command_of_an_outsider(), &["status"]), &to(&node));
    table.row("status", 77, &format!("join the group `{group}`"), &end(outsider).await);
}

async fn streams(table: &mut Table) {
    let service = Service::echo();
    let pair = Pair::echo(Transport::Tcp, service.address).await;
    let node = &pair.client;
    let mut ids = Vec::new();
    let mut clients = Vec::new();
    for number in 1..=2 {
        let mut client = node.connect("echo").await;
        soon("an echo", ping(&mut client)).await.unwrap();
        clients.push(client);
        let streams = node.streams().await;
        assert_eq!(streams.len(), number);
        ids.push(streams[number - 1]["id"].to_string());
    }
    let streams = |command: Command| with(with(command, &["streams"]), &to(node));
    let close = |command: Command, id: &str| with(with(command, &["streams", "close", id]), &to(node));
    table.row("streams", 0, "echo", &end(streams(node.command())).await);
    usual(table, "streams", node, &to(node)).await;
    table.row("streams close", 0, "closed", &end(close(node.command(), &ids[0])).await);
    table.row("streams close", 66, "there is no stream 999", &end(close(node.command(), "999")).await);
    usual(table, "streams close", node, &[&to(node)[..], &[ids[1].clone()]].concat()).await;

    let group = node.admit_members_only();
    for (command, outsider) in [
        ("streams", streams(node.command_of_an_outsider())),
        ("streams close", close(node.command_of_an_outsider(), "1")),
    ] {
        table.row(command, 77, &format!("join the group `{group}`"), &end(outsider).await);
    }
    let alone = idle().await;
    for command in ["streams", "streams close"] {
        let words = command.split_whitespace().map(str::to_owned).chain(to(&alone));
        let id = (command == "streams close").then(|| "1".to_owned());
        let asking = with(alone.command(), &words.chain(id).collect::<Vec<_>>());
        table.row(command, 69, "no service is running", &end(asking).await);
    }
}

/// Arguments of `listen` and `forward` that are right, but for what follows them.
fn tunnel(command: &str, node: &Node) -> Vec<String> {
    let words = match command {
        "listen" => ["listen", "/x/x", "127.0.0.1:1", "--allow=anyone", "--listen-address=/ip4/127.0.0.1/tcp/0"],
        _ => ["forward", "/x/x", "127.0.0.1:0", &node.id, "--listen-address=/ip4/127.0.0.1/tcp/0"],
    };
    words.map(str::to_owned).to_vec()
}

async fn foreground(table: &mut Table) {
    let mut node = idle().await;
    let foreign = Target::bind();
    for command in ["listen", "forward"] {
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            let command_line = with(node.command(), &tunnel(command, &node));
            let mut command_line = tokio::process::Command::from(command_line);
            let mut child =
                command_line.stdout(Stdio::piped()).stdin(Stdio::null()).kill_on_drop(true).spawn().unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let said = soon("it says who it is", lines.next_line()).await.unwrap().expect("it says something");
            kill(Pid::from_raw(child.id().unwrap() as i32), signal).unwrap();
            let status = soon("it ends", child.wait()).await.unwrap();
            table.row(command, 0, "peer id", &Output { status, stdout: said.into(), stderr: Vec::new() });
        }
        usual(table, command, &node, &tunnel(command, &node)[1..]).await;

        let identity = |file: &Path| vec!["--identity".to_owned(), text(file)];
        let with_identity =
            |command_line: Command, file: &Path| with(with(command_line, &tunnel(command, &node)), &identity(file));
        let open = node.dir().join(format!("{command}.key"));
        fs::write(&open, "").unwrap();
        mode(&open, 0o666);
        table.row(command, 77, "read or changed by every user", &end(with_identity(node.command(), &open)).await);
        let nowhere = node.dir().join(format!("{command}-locked"));
        fs::create_dir(&nowhere).unwrap();
        mode(&nowhere, 0o555);
        let outsider = with_identity(node.command_of_an_outsider(), &nowhere.join("key"));
        table.row(command, 73, "cannot create the identity", &end(outsider).await);
        let unknown = with(node.command(), &of_file(&node));
        let unknown = match command {
            "listen" => with(unknown, &["listen", "/x/x", "127.0.0.1:1", "--allow=nobody-knows"]),
            _ => with(unknown, &["forward", "/x/x", "127.0.0.1:0", "nobody-knows"]),
        };
        table.row(command, 64, "nobody-knows", &end(unknown).await);
    }
    let mut taken = tunnel("forward", &node);
    taken[2] = foreign.address.to_string();
    table.row("forward", 69, "in use", &end(with(node.command(), &taken)).await);
    let [in_use, other] = [text(key(&node)), format!("/ip4/127.0.0.1/tcp/{}", foreign.address.port())];
    let mut taken = tunnel("listen", &node);
    taken[4] = format!("--listen-address={other}");
    table.row("listen", 69, "in use", &end(with(node.command(), &taken)).await);
    node.start().await;
    for command in ["listen", "forward"] {
        let second = with(with(node.command(), &tunnel(command, &node)), &["--identity", &in_use]);
        table.row(command, 69, "already running with the identity", &end(second).await);
    }
}

async fn save(table: &mut Table) {
    let node = idle().await;
    for command in ["listen", "forward"] {
        let save = |command_line: Command, name: &str| {
            let mut arguments = tunnel(command, &node)[..4].to_vec();
            arguments[1] = format!("/x/{name}");
            with(with(with(command_line, &of_file(&node)), &arguments), &["--save", name])
        };
        table.row(command, 0, "written to", &end(save(node.command(), command)).await);
        table.row(command, 78, "taken", &end(save(node.command(), command)).await);
        mode(&node.config, 0o444);
        table.row(command, 73, "by hand", &end(save(node.command_of_an_outsider(), "another")).await);
        mode(&node.config, 0o644);
    }
}

async fn remove(table: &mut Table) {
    let mut node = idle().await;
    let forward = |name| format!("[forward.{name}]\nprotocol = '/x/x'\nbind = '127.0.0.1:0'\npeer = '{}'\n", node.id);
    node.body = ["a", "b"].map(forward).concat();
    node.write();
    let remove = |command: Command, name: &str| with(with(command, &["remove", name]), &of_file(&node));
    table.row("remove", 0, "removed a", &end(remove(node.command(), "a")).await);
    table.row("remove", 66, "c", &end(remove(node.command(), "c")).await);
    mode(&node.config, 0o444);
    table.row("remove", 73, "by hand", &end(remove(node.command_of_an_outsider(), "b")).await);
    mode(&node.config, 0o644);
    usual(table, "remove", &node, &[&of_file(&node)[..], &["b".to_owned()]].concat()).await;
    fs::write(&node.config, "x = 1\n").unwrap();
    table.row("remove", 78, "unknown key `x`", &end(remove(node.command(), "b")).await);
    fs::remove_file(&node.config).unwrap();
    table.row("remove", 66, "No such file", &end(remove(node.command(), "b")).await);
}

async fn id(table: &mut Table) {
    let mut node = idle().await;
    let id = |command: Command| with(with(command, &["id"]), &of_file(&node));
    table.row("id", 0, &node.id, &end(id(node.command())).await);
    usual(table, "id", &node, &of_file(&node)).await;
    mode(&node.config, 0o644);
    mode(&key(&node), 0o000);
    table.row("id", 77, "cannot read the identity", &end(id(node.command_of_an_outsider())).await);
    mode(&key(&node), 0o600);
    let original = fs::read(key(&node)).unwrap();
    fs::write(key(&node), "not a key").unwrap();
    table.row("id", 78, "holds no private key", &end(id(node.command())).await);
    fs::remove_file(key(&node)).unwrap();
    table.row("id", 66, "no identity at", &end(id(node.command())).await);
    fs::write(&node.config, "[node\n").unwrap();
    table.row("id", 78, "1 error", &end(id(node.command())).await);
    fs::write(&node.config, format!("[node]\nidentity = {:?}\n", locked(&node).join("identity.key"))).unwrap();
    let create = with(id(node.command_of_an_outsider()), &["--create"]);
    table.row("id", 73, "cannot create the identity", &end(create).await);
    fs::write(key(&node), original).unwrap();
    mode(&key(&node), 0o600);

    let ask = |node: &Node| with(with(node.command(), &["id", "--addresses"]), &to(node));
    table.row("id", 69, "no service is running", &end(ask(&node)).await);
    node.start().await;
    table.row("id", 0, "", &end(ask(&node)).await);
    let group = node.admit_members_only();
    let outsider = with(with(node.command_of_an_outsider(), &["id"]), &to(&node));
    table.row("id", 77, &format!("join the group `{group}`"), &end(outsider).await);

    let bare = bare().await;
    let of_nothing = with(with(bare.command(), &["id"]), &of_file(&bare));
    table.row("id", 66, "No such file", &end(of_nothing).await);
}

async fn demo(table: &mut Table) {
    let node = idle().await;
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut command = tokio::process::Command::from(with(node.command(), &["demo"]));
        let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = String::new();
        while !said.contains("Ctrl-C") {
            said += &soon("the demo says how it ends", lines.next_line()).await.unwrap().expect("the demo goes on");
        }
        kill(Pid::from_raw(child.id().unwrap() as i32), signal).unwrap();
        let status = soon("the demo ends", child.wait()).await.unwrap();
        table.row("demo", 0, "http://127.0.0.1:", &Output { status, stdout: said.into(), stderr: Vec::new() });
    }
    let mut nowhere = with(node.command(), &["demo"]);
    nowhere.env("TMPDIR", node.dir().join("missing"));
    table.row("demo", 73, "No such file", &end(nowhere).await);
    usual(table, "demo", &node, &[]).await;
}

async fn printers(table: &mut Table) {
    let node = idle().await;
    table.row("completions", 0, "complete -F", &end(with(node.command(), &["completions", "bash"])).await);
    table.row("completions", 64, "invalid value 'bsh'", &end(with(node.command(), &["completions", "bsh"])).await);
    usual(table, "completions", &node, &["bash".to_owned()]).await;
    table.row("man", 0, ".TH p2ptun 1", &end(with(node.command(), &["man"])).await);
    usual(table, "man", &node, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_command_line_is_told_what_was_meant() {
    let node = idle().await;
    for (arguments, meant) in [
        (&["stauts"][..], "'status'"),
        (&["relod"], "'reload'"),
        (&["status", "--jsn"], "'--json'"),
        (&["check", "--prnt"], "'--print'"),
        (&["completions", "fsh"], "'fish'"),
        (&["run", "--confg", "x"], "'--config'"),
    ] {
        let output = end(with(node.command(), arguments)).await;
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {err}");
        assert!(err.contains("similar") && err.contains(meant), "{arguments:?}: {err}");
        assert!(output.stdout.is_empty());
    }
    for arguments in [&[][..], &["status", "one", "too"], &["check", "a", "b"], &["completions"], &["--config"]] {
        assert_eq!(end(with(node.command(), arguments)).await.status.code(), Some(64), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn help_and_version_are_no_mistakes() {
    let node = idle().await;
    for arguments in [&["--help"][..], &["-h"], &["help"], &["help", "status"], &["status", "--help"], &["--version"]] {
        let output = end(with(node.command(), arguments)).await;
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{arguments:?}");
    }
}
