//! `--save` and `remove`: a tunnel into the file, and out of it, with all else as it was.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]
#![allow(dead_code, reason = "each test file uses a part of `folder`")]

mod folder;
mod support;

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
};

use folder::{Answer, Folder, HOME, p2ptun};
use support::{Node, Pair, Service, Transport, eventually, soon, traffic::ping};

const SAVED: &str = "[listen.web]\nprotocol = \"/x/web\"\ntarget = \"127.0.0.1:80\"\nallow = []\n";

impl Folder {
    fn run(&self, arguments: &[&str]) -> Answer {
        let mut command = p2ptun();
        command.env("P2PTUN_CONFIG", self.path("p2ptun.toml")).env("P2PTUN_SOCKET", self.path("no.sock"));
        command.args(arguments).output().unwrap().into()
    }

    fn save(&self, name: &str) -> Answer {
        self.run(&["listen", "/x/web", "127.0.0.1:80", "--allow", HOME, "--save", name])
    }

    fn remove(&self, name: &str) -> Answer {
        self.run(&["remove", name])
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// All names, hidden ones too.
    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.path("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }
}

fn saved(name: &str) -> String {
    SAVED.replace("listen.web", &format!("listen.{name}")).replace("[]\n", &format!("[\"{HOME}\"]\n"))
}

/// What a file is, but for its text.
fn owner_and_mode(path: &Path) -> (u32, u32, u32) {
    let file = fs::symlink_metadata(path).unwrap();
    (file.uid(), file.gid(), file.mode())
}

#[test]
fn a_tunnel_is_added_and_all_else_stays_byte_for_byte() {
    let text = "\u{feff}# mine\r\nwatch = true\r\n\r\n[peers.home]   # the server\r\nid = '{home}'\r\n";
    let folder = Folder::with(&[("p2ptun.toml", text)]);
    let before = folder.text("p2ptun.toml");
    fs::set_permissions(folder.path("p2ptun.toml"), fs::Permissions::from_mode(0o640)).unwrap();
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(folder.path("p2ptun.toml"), Some(1), Some(2)).unwrap();
    }
    let kept = owner_and_mode(&folder.path("p2ptun.toml"));
    let answer = folder.save("web");
    assert_eq!(answer.exit, Some(0), "{}", answer.err);
    assert_eq!(folder.text("p2ptun.toml"), format!("{before}\r\n{}", saved("web").replace('\n', "\r\n")));
    assert!(answer.out.contains(&saved("web")), "{}", answer.out);
    assert_eq!(folder.remove("web").exit, Some(0));
    assert_eq!(folder.text("p2ptun.toml"), before);
    assert_eq!(owner_and_mode(&folder.path("p2ptun.toml")), kept);
    assert_eq!(folder.names(), ["p2ptun.toml"]);
}

#[test]
fn every_flag_is_saved_under_its_key() {
    let folder = Folder::with(&[("p2ptun.toml", "[peers.home]\nid = '{home}'\n")]);
    let listen = "listen /web 127.0.0.1:80 --allow home,{laptop} --allow-custom-protocol --report-peer-id --proxy-protocol v2 \
                  --max-connections 9 --max-connections-per-peer 3 --connect-timeout 2s --save web";
    let forward = "forward /x/web unix:/run/web.sock home --open-timeout 5s --max-connections 7 --relay never \
                   --bind-mode 0660 --bind-group daemon --save out";
    let hinted =
        "forward /x/web 127.0.0.1:0 {laptop} home --peer-address /ip4/192.0.2.1/tcp/1/p2p/{laptop} --save hinted";
    let anyone = "listen /x/open 127.0.0.1:80 --allow anyone --save open";
    for line in [listen, forward, hinted, anyone] {
        let line = line.replace("{laptop}", folder::LAPTOP);
        let answer = folder.run(&line.split_whitespace().collect::<Vec<_>>());
        assert_eq!(answer.exit, Some(0), "{line}: {}", answer.err);
    }
    let expected = "[peers.home]\nid = '{home}'\n\n\
        [listen.web]\nallow_custom_protocol = true\nprotocol = \"/web\"\ntarget = \"127.0.0.1:80\"\n\
        allow = [\"home\", \"{laptop}\"]\nreport_peer_id = true\nproxy_protocol = \"v2\"\nmax_connections = 9\n\
        max_connections_per_peer = 3\nconnect_timeout = \"2s\"\n\n\
        [forward.out]\nprotocol = \"/x/web\"\nbind = \"unix:/run/web.sock\"\npeer = \"home\"\nopen_timeout = \"5s\"\n\
        max_connections = 7\nrelay = \"never\"\nbind_mode = \"0660\"\nbind_group = \"daemon\"\n\n\
        [forward.hinted]\nprotocol = \"/x/web\"\nbind = \"127.0.0.1:0\"\n\
        peers = [\"/ip4/192.0.2.1/tcp/1/p2p/{laptop}\", \"home\"]\n\n\
        [listen.open]\nprotocol = \"/x/open\"\ntarget = \"127.0.0.1:80\"\nallow = \"anyone\"\n";
    let expected = expected.replace("{home}", HOME).replace("{laptop}", folder::LAPTOP);
    assert_eq!(folder.text("p2ptun.toml"), expected);
    assert_eq!(folder.check("p2ptun.toml").exit, Some(0));
    let answer = folder.run(&[
        "forward",
        "/x/a",
        "127.0.0.1:0",
        "home",
        "--peer-address",
        "/ip4/192.0.2.1/tcp/1",
        "--save",
        "a",
    ]);
    assert_eq!(answer.exit, Some(64), "{}", answer.err);
    assert!(answer.err.contains("[peers.NAME]"), "{}", answer.err);
}

#[test]
fn symlinks_stay_and_what_they_lead_to_is_edited() {
    let folder = Folder::with(&[("store/v1/p2ptun.toml", "# v1\n"), ("etc/x", "")]);
    symlink("v1", folder.path("store/current")).unwrap();
    symlink("../store/current/p2ptun.toml", folder.path("etc/p2ptun.toml")).unwrap();
    symlink("etc/p2ptun.toml", folder.path("p2ptun.toml")).unwrap();
    let answer = folder.save("web");
    assert_eq!(answer.exit, Some(0), "{}", answer.err);
    for link in ["store/current", "etc/p2ptun.toml", "p2ptun.toml"] {
        assert!(fs::symlink_metadata(folder.path(link)).unwrap().is_symlink(), "{link}");
    }
    assert_eq!(folder.text("store/v1/p2ptun.toml"), format!("# v1\n\n{}", saved("web")));
    assert_eq!(fs::symlink_metadata(folder.path("store/v1/p2ptun.toml")).unwrap().nlink(), 1);
    assert!(answer.out.contains("store/v1/p2ptun.toml"), "{}", answer.out);
    assert_eq!(folder.remove("web").exit, Some(0));
    assert_eq!(folder.text("store/v1/p2ptun.toml"), "# v1\n");
}

#[test]
fn a_file_that_is_not_there_is_made_where_its_folder_is() {
    let folder = Folder::with(&[]);
    let answer = folder.save("web");
    assert_eq!(answer.exit, Some(0), "{}", answer.err);
    assert!(answer.out.contains("p2ptun.toml, which is new:"), "{}", answer.out);
    assert_eq!(folder.text("p2ptun.toml"), saved("web"));
    assert_eq!(owner_and_mode(&folder.path("p2ptun.toml")).2 & 0o7777, 0o644);
    let mut command = p2ptun();
    command.args([
        "-c",
        "/no/such/folder/p2ptun.toml",
        "listen",
        "/x/web",
        "127.0.0.1:80",
        "--allow",
        HOME,
        "--save",
        "web",
    ]);
    let answer = Answer::from(command.output().unwrap());
    assert_eq!(answer.exit, Some(73));
    assert!(answer.err.contains(saved("web").trim_end()), "{}", answer.err);
}

#[test]
fn twenty_at_once_lose_nothing() {
    let folder = Folder::with(&[("p2ptun.toml", "# all of them\n")]);
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_p2ptun"));
        command.env("P2PTUN_CONFIG", folder.path("p2ptun.toml")).env("P2PTUN_SOCKET", folder.path("no.sock"));
        command.args(arguments).stdout(std::process::Stdio::null()).spawn().unwrap()
    };
    let all = |run: &dyn Fn(u32) -> std::process::Child| {
        let children: Vec<_> = (0..20).map(run).collect();
        for mut child in children {
            assert_eq!(child.wait().unwrap().code(), Some(0));
        }
    };
    all(&|n| run(&["listen", &format!("/x/t{n}"), "127.0.0.1:80", "--allow", HOME, "--save", &format!("t{n}")]));
    let text = folder.text("p2ptun.toml");
    for n in 0..20 {
        assert!(text.contains(&format!("[listen.t{n}]\nprotocol = \"/x/t{n}\"\n")), "{n} is missing in\n{text}");
    }
    all(&|n| run(&["remove", &format!("t{n}")]));
    assert_eq!(
        (folder.text("p2ptun.toml").as_str(), folder.names()),
        ("# all of them\n", vec!["p2ptun.toml".to_owned()])
    );
}

#[test]
fn what_can_not_be_written_is_shown_to_be_added_by_hand() {
    let folder =
        Folder::with(&[("p2ptun.toml", "[listen.old]\ntarget = '127.0.0.1:1'\nallow = []\n"), ("linked.toml", "")]);
    let read_only = fs::Permissions::from_mode(0o444);
    fs::set_permissions(folder.path("p2ptun.toml"), read_only).unwrap();
    let before = folder.text("p2ptun.toml");
    let answer = folder.save("web");
    assert_eq!(answer.exit, Some(73), "{}", answer.err);
    assert!(answer.err.contains("it is read-only\n") && answer.err.contains(saved("web").trim_end()), "{}", answer.err);
    let answer = folder.remove("old");
    assert_eq!(answer.exit, Some(73), "{}", answer.err);
    assert!(answer.err.trim_end().ends_with("p2ptun.toml:1-3"), "{}", answer.err);
    assert_eq!(folder.text("p2ptun.toml"), before);
    // A folder in which not even root makes files.
    let mut command = p2ptun();
    command.args(["-c", "/sys/p2ptun.toml", "listen", "/x/web", "127.0.0.1:80", "--allow", HOME, "--save", "web"]);
    let answer = Answer::from(command.output().unwrap());
    assert_eq!(answer.exit, Some(73), "{}", answer.err);
    assert!(answer.err.contains("can't write /sys/p2ptun.toml: ") && !answer.err.contains("at path"), "{}", answer.err);
    assert!(answer.err.contains(saved("web").trim_end()), "{}", answer.err);
    // A link to nowhere.
    fs::remove_file(folder.path("p2ptun.toml")).unwrap();
    symlink("nowhere.toml", folder.path("p2ptun.toml")).unwrap();
    assert_eq!(folder.save("web").exit, Some(73));
    assert_eq!(folder.names(), ["linked.toml", "p2ptun.toml"]);
}

/// Saves by way of a shell that runs `prepare` first, with the file as `$0`.
fn save_after(prepare: &str, shell: &[&str], folder: &Folder) -> Answer {
    let file = folder.path("p2ptun.toml");
    let mut command = std::process::Command::new(shell[0]);
    command.args(&shell[1..]).args(["-c", &format!("{prepare} exec \"$@\"")]).arg(&file);
    command.args([env!("CARGO_BIN_EXE_p2ptun"), "-c"]).arg(&file);
    command.args(["listen", "/x/web", "127.0.0.1:80", "--allow", HOME, "--save", "web"]);
    command.output().unwrap().into()
}

#[test]
fn where_the_disk_is_full_the_file_stays_and_only_what_matters_is_told() {
    let folder = Folder::with(&[("p2ptun.toml", "# mine\n")]);
    let answer = save_after("trap '' XFSZ; ulimit -f 0;", &["sh"], &folder);
    assert_eq!(answer.exit, Some(73), "{}", answer.err);
    assert!(answer.err.contains("p2ptun.toml: File too large (os error 27)\n"), "{}", answer.err);
    assert_eq!((folder.text("p2ptun.toml").as_str(), folder.names()), ("# mine\n", vec!["p2ptun.toml".to_owned()]));
}

#[test]
fn a_file_that_is_a_mount_point_can_not_be_replaced_and_that_is_said() {
    let namespace = ["unshare", "--map-root-user", "--mount", "sh"];
    let mount = "mount --bind \"$0\" \"$0\" || exit 99;";
    let folder = Folder::with(&[("p2ptun.toml", "# mine\n")]);
    let answer = save_after(mount, &namespace, &folder);
    if !matches!(answer.exit, Some(0 | 73)) {
        return eprintln!("NOT TRIED: no mount namespace is to be had: {}", answer.err);
    }
    assert_eq!(answer.exit, Some(73), "{}", answer.err);
    assert!(answer.err.contains("p2ptun.toml: it is a mount point"), "{}", answer.err);
    assert_eq!((folder.text("p2ptun.toml").as_str(), folder.names()), ("# mine\n", vec!["p2ptun.toml".to_owned()]));
}

#[test]
fn a_clash_is_shown_as_check_shows_it_and_nothing_is_written() {
    let folder = Folder::with(&[
        (
            "p2ptun.toml",
            "include = ['more.toml']\n[forward.out]\nprotocol = '/x/a'\nbind = '127.0.0.1:2222'\npeer = '{home}'\n",
        ),
        ("more.toml", "\n[listen.web]\nprotocol = '/x/served'\ntarget = '127.0.0.1:1'\nallow = []\n"),
    ]);
    let before = (folder.text("p2ptun.toml"), fs::metadata(folder.path("p2ptun.toml")).unwrap().ino());
    let refused = |arguments: &[&str], words: &str| {
        let answer = folder.run(arguments);
        assert_eq!(answer.exit, Some(78), "{arguments:?}: {}", answer.err);
        assert!(answer.err.contains(words), "{arguments:?}: {}", answer.err);
    };
    let listen = ["listen", "/x/web", "127.0.0.1:80", "--allow", HOME, "--save"];
    refused(&[&listen[..], &["out"]].concat(), "the name `out` is taken by [forward.out] at ");
    refused(&[&listen[..], &["web"]].concat(), "more.toml:2; choose another");
    refused(&[&listen[..], &["Web"]].concat(), "the name: `Web` is no name; a name is 1 to 63 characters");
    refused(&["listen", "/x/served", "127.0.0.1:80", "--allow", HOME, "--save", "b"], "/x/served is already served by");
    refused(&["forward", "/x/a", "0.0.0.0:2222", HOME, "--save", "b"], "is taken by [forward.out]");
    refused(
        &["forward", "/x/a", "0.0.0.0:2222", HOME, "--save", "b"],
        "with the new tunnel it would have 1 error; nothing was",
    );
    refused(&["forward", "/x/a", "2222", HOME, "--save", "b"], "BIND: `2222` has no host");
    refused(&["forward", "/x/a", "127.0.0.1:1", "home", "--save", "b"], "PEER: unknown peer `home`");
    let after = (folder.text("p2ptun.toml"), fs::metadata(folder.path("p2ptun.toml")).unwrap().ino());
    assert_eq!(after, before);
    // What is broken already is not touched at all.
    folder.write("p2ptun.toml", "include = ['more.toml']\n[node]\nidentity = 5\n");
    refused(&[&listen[..], &["new"]].concat(), "p2ptun.toml:3:12");
    refused(&["remove", "web"], "p2ptun.toml:3:12");
    assert_eq!(folder.text("p2ptun.toml"), "include = ['more.toml']\n[node]\nidentity = 5\n");
}

#[test]
fn a_tunnel_is_removed_from_the_file_that_holds_it() {
    let main = "include = ['d/*.toml']\n\n# kept\n\n[socks.s]\nbind = '127.0.0.1:1'\ndestinations = []\n[socks.s.ports]\n22 = '/x/ssh'\n\n\
                [gateway]\ng = { bind = '127.0.0.1:2', destinations = [] }\n";
    let included = "# the head\n\n# on ssh\n[listen.ssh]\ntarget = '127.0.0.1:22'\nallow = []\n\n# on web\n[listen.web]\ntarget = '127.0.0.1:80'\nallow = []\n";
    let folder = Folder::with(&[("p2ptun.toml", main), ("d/more.toml", included)]);
    let answer = folder.remove("ssh");
    assert_eq!(answer.exit, Some(0), "{}", answer.err);
    assert!(answer.out.starts_with("removed ssh from ") && answer.out.contains("d/more.toml\n"), "{}", answer.out);
    assert_eq!(folder.text("p2ptun.toml"), main);
    assert_eq!(
        folder.text("d/more.toml"),
        "# the head\n\n# on web\n[listen.web]\ntarget = '127.0.0.1:80'\nallow = []\n"
    );
    assert_eq!(folder.remove("s").exit, Some(0));
    assert_eq!(folder.remove("g").exit, Some(0));
    assert_eq!(folder.text("p2ptun.toml"), "include = ['d/*.toml']\n\n# kept\n\n[gateway]\n");
}

#[test]
fn what_is_not_there_can_not_be_removed() {
    let folder = Folder::with(&[("p2ptun.toml", "[listen.web]\ntarget = '127.0.0.1:80'\nallow = []\n")]);
    let answer = folder.remove("wbe");
    assert_eq!(answer.exit, Some(66));
    assert!(answer.err.contains("no tunnel `wbe`; did you mean `web`?"), "{}", answer.err);
    fs::remove_file(folder.path("p2ptun.toml")).unwrap();
    let answer = folder.remove("web");
    assert_eq!(answer.exit, Some(66));
    assert!(answer.err.contains("p2ptun.toml can't be read: No such file"), "{}", answer.err);
    assert_eq!(folder.run(&["remove"]).exit, Some(64));
}

#[test]
fn without_a_watch_it_is_told_how_the_service_follows() {
    let folder = Folder::with(&[("p2ptun.toml", "watch = false\n")]);
    assert!(folder.save("web").out.contains("`p2ptun reload`"));
    assert!(folder.remove("web").out.contains("`p2ptun reload`"));
    folder.write("p2ptun.toml", "");
    assert!(!folder.save("web").out.contains("`p2ptun reload`"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_service_follows_while_its_streams_go_on() {
    let service = Service::echo();
    let mut pair = Pair::prepare(Transport::Tcp).await;
    pair.server.top.clear();
    pair.launch(&support::listen("echo", service.address), &support::forward("echo")).await;
    let mut client = pair.client.connect("echo").await;
    soon("an echo", ping(&mut client)).await.unwrap();
    let run = async |node: &Node, arguments: &[&str]| {
        let (config, socket) = (node.config.to_str().unwrap(), node.socket());
        let output = node.binary(&[arguments, &["-c", config, "--socket", socket.to_str().unwrap()]].concat()).await;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let target = service.address.to_string();
    let said = run(&pair.server, &["listen", "/x/more", &target, "--allow", "client", "--save", "more"]).await;
    assert!(said.contains("The running service follows by itself"), "{said}");
    pair.server.wait_for_tunnel("more", "the new tunnel is up", |tunnel| tunnel["state"] == "ready").await;
    soon("an echo of the old stream", ping(&mut client)).await.unwrap();
    run(&pair.client, &["forward", "/x/more", "127.0.0.1:0", "server", "--save", "more"]).await;
    pair.client.reload_applied().await;
    soon("an echo by the new tunnel", ping(&mut pair.client.connect("more").await)).await.unwrap();

    run(&pair.server, &["remove", "more"]).await;
    let gone = |status: &serde_json::Value| status["tunnels"].as_array().unwrap().len() == 1;
    pair.server.wait_until("the tunnel is gone", gone).await;
    soon("an echo of the old stream", ping(&mut client)).await.unwrap();
    assert_eq!(pair.server.tunnel("echo").await["streams_total"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_follows_also_when_its_last_tunnel_is_removed() {
    let mut node = Node::prepare("node", Transport::Tcp).await;
    node.top = "include = [\"one.toml\"]\n".to_owned();
    fs::write(node.dir().join("one.toml"), "[listen.a]\ntarget = \"127.0.0.1:1\"\nallow = []\n").unwrap();
    node.start().await;
    let config = node.config.to_str().unwrap().to_owned();
    assert!(node.binary(&["remove", "a", "-c", &config]).await.status.success());
    let status = node.wait_until("no tunnel is left", |status| status["tunnels"].as_array().unwrap().is_empty()).await;
    assert_eq!(status["config"]["error"], serde_json::Value::Null);
    eventually("nothing is left of the edit", || {
        let hidden = fs::read_dir(node.dir())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".one"));
        std::future::ready((hidden.count() == 0).then_some(()))
    })
    .await;
}
