//! A node: the real binary, with its own folder, file, identity and control socket.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File, Permissions},
    io::{self, Write},
    net::SocketAddr,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Gid, Group, Pid, getegid, geteuid},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::{
    PATIENCE, Transport, control, eventually, outsider, soon,
    traffic::{Ending, ending},
    within,
};

/// Variables by which the caller's surroundings could reach a node.
const FOREIGN: [&str; 12] = [
    "P2PTUN_CONFIG",
    "P2PTUN_SOCKET",
    "RUNTIME_DIRECTORY",
    "STATE_DIRECTORY",
    "CREDENTIALS_DIRECTORY",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "JOURNAL_STREAM",
    "P2PTUN_LOG",
    "P2PTUN_LOG_FORMAT",
    "CLICOLOR_FORCE",
    "WATCHDOG_PID",
];

/// The table that declares a peer.
pub fn peer(name: &str, id: &str, addresses: &[String]) -> String {
    format!("[peers.{name}]\nid = \"{id}\"\naddresses = {addresses:?}\n")
}

/// One node. Killed when dropped; its log is printed if the test fails.
pub struct Node {
    name: &'static str,
    /// The peer id.
    pub id: String,
    /// Keys before the first table. By default the file is not watched, so that a test knows who made it be read.
    pub top: String,
    /// More keys of `[node]`.
    pub node_keys: String,
    pub listen_address: String,
    /// Peers and tunnels.
    pub body: String,
    /// The path that the service is given.
    pub config: PathBuf,
    /// More options of `p2ptun run`.
    pub options: Vec<&'static str>,
    /// More of its environment.
    pub variables: Vec<(&'static str, String)>,
    dir: TempDir,
    process: Mutex<Option<Child>>,
}

impl Node {
    /// A node with an identity; it does not run yet.
    pub async fn prepare(name: &'static str, transport: Transport) -> Self {
        let dir = tempfile::Builder::new().prefix("p2ptun-test-").tempdir().unwrap();
        let mut node = Self {
            name,
            id: String::new(),
            top: "watch = false\n".to_owned(),
            node_keys: String::new(),
            listen_address: transport.any_port().to_owned(),
            body: String::new(),
            config: dir.path().join("p2ptun.toml"),
            options: Vec::new(),
            variables: Vec::new(),
            dir,
            process: Mutex::new(None),
        };
        node.write();
        node.id = node.create_identity().await;
        node
    }

    /// Makes the key that the file names, and tells its peer id.
    pub async fn create_identity(&self) -> String {
        let arguments: [&OsStr; 4] = ["id".as_ref(), "--create".as_ref(), "-c".as_ref(), self.config.as_ref()];
        let output = self.binary(&arguments).await;
        assert!(output.status.success(), "p2ptun id --create: {output:?}");
        let id = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        assert!(id.parse::<libp2p::PeerId>().is_ok(), "p2ptun id printed {id:?}");
        id
    }

    /// The node's own folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn socket(&self) -> PathBuf {
        self.dir().join("control.sock")
    }

    /// The whole file, as the fields of this node make it.
    pub fn text(&self) -> String {
        let Self { top, node_keys, listen_address, body, .. } = self;
        let identity = self.dir().join("identity.key");
        format!(
            "{top}\n[node]\nidentity = {identity:?}\nlisten_addresses = [\"{listen_address}\"]\n{node_keys}\n\
             [discovery]\ndht = \"off\"\nmdns = false\n\n[nat]\nupnp = false\nhole_punching = false\nrelays = \"off\"\n\n\
             {body}"
        )
    }

    /// Writes the file in place.
    pub fn write(&self) {
        fs::write(&self.config, self.text()).unwrap();
    }

    /// Changes peers and tunnels, and writes the file.
    pub fn edit(&mut self, change: impl FnOnce(&str) -> String) {
        let body = change(&self.body);
        assert_ne!(body, self.body, "an edit that changes nothing");
        self.body = body;
        self.write();
    }

    /// Writes the file, starts the service, and waits until every tunnel and listener has made up its mind.
    pub async fn start(&mut self) {
        self.write();
        self.spawn();
        self.wait_until("every tunnel has started", |status| {
            let settled = |of: &str| status[of].as_array().unwrap().iter().all(|part| part["state"] != "starting");
            status["config"]["loaded_at"].is_string() && settled("tunnels") && settled("listeners")
        })
        .await;
    }

    /// Starts the service with the file as it is, without waiting for anything.
    pub fn spawn(&mut self) {
        let mut log = File::options().create(true).append(true).open(self.log()).unwrap();
        writeln!(log, "--- p2ptun run").unwrap();
        self.spawn_writing_to(log);
    }

    /// Starts the service with another place for what it writes.
    pub fn spawn_writing_to(&mut self, stderr: impl Into<Stdio>) {
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let mut command = self.run_command();
        let child = command.stdin(Stdio::null()).stdout(log).stderr(stderr).spawn().unwrap();
        self.adopt(child);
    }

    /// `p2ptun run`, as this node is to run it.
    pub fn run_command(&self) -> Command {
        let mut command = self.command();
        command.envs(self.variables.iter().cloned());
        command.arg("run").arg("-c").arg(&self.config).arg("--socket").arg(self.socket()).args(&self.options);
        command
    }

    /// Takes a running service as this node's.
    pub fn adopt(&mut self, child: Child) {
        let earlier = self.process.lock().unwrap().replace(child);
        assert!(earlier.is_none(), "{} runs already", self.name);
    }

    /// The binary, kept away from whatever else is on this machine.
    pub fn command(&self) -> Command {
        self.surround(Command::new(env!("CARGO_BIN_EXE_p2ptun")))
    }

    /// The same for a user who may do nothing here that is not allowed to everybody: `nobody` where the test is root's,
    /// else whoever runs the test, for whom root's exemption does not count either.
    pub fn command_of_an_outsider(&self) -> Command {
        fs::set_permissions(self.dir(), Permissions::from_mode(0o755)).unwrap();
        self.surround(outsider::binary())
    }

    /// Makes the control socket one for a group that the outsider is not in; returns the group's name.
    pub fn admit_members_only(&self) -> String {
        let mut gid = getegid();
        if geteuid().is_root() {
            gid = Gid::from_raw(1);
            chown(self.socket(), None, Some(1)).unwrap();
        }
        // Neither for the owner nor for everybody: the outsider is one or the other.
        fs::set_permissions(self.socket(), Permissions::from_mode(0o060)).unwrap();
        Group::from_gid(gid).unwrap().expect("the group has a name").name
    }

    fn surround(&self, mut command: Command) -> Command {
        for variable in FOREIGN {
            command.env_remove(variable);
        }
        for variable in ["HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME"] {
            command.env(variable, self.dir());
        }
        command.env("NO_COLOR", "1").current_dir(self.dir());
        command
    }

    /// Runs the binary to its end.
    pub async fn binary<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Output {
        let mut command = tokio::process::Command::from(self.command());
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        soon("a command of p2ptun ends", command.output()).await.unwrap()
    }

    /// `p2ptun reload`.
    pub async fn reload(&self) -> Output {
        let socket = self.socket();
        self.binary::<&OsStr>(&["reload".as_ref(), "--socket".as_ref(), socket.as_ref()]).await
    }

    /// `p2ptun reload`, which must succeed.
    pub async fn reload_applied(&self) {
        let output = self.reload().await;
        assert_eq!(output.status.code(), Some(0), "p2ptun reload: {output:?}");
    }

    /// A request to the control socket.
    pub async fn request(&self, method: &str, path: &str) -> (u16, Value) {
        soon("an answer of the control socket", control::request(&self.socket(), method, path)).await.unwrap()
    }

    pub async fn status(&self) -> Value {
        let (code, status) = self.request("GET", "/v1/status").await;
        assert_eq!(code, 200, "{status}");
        status
    }

    /// The live streams, as the control socket lists them.
    pub async fn streams(&self) -> Vec<Value> {
        let (code, streams) = self.request("GET", "/v1/streams").await;
        assert_eq!(code, 200, "{streams}");
        streams.as_array().unwrap().clone()
    }

    /// The status of the one tunnel of this name.
    pub async fn tunnel(&self, name: &str) -> Value {
        let status = self.status().await;
        tunnel(&status, name).unwrap_or_else(|| panic!("{} has no tunnel {name}: {status:#}", self.name)).clone()
    }

    /// Asks for the status until it is as wanted.
    pub async fn wait_until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.wait_until_within(PATIENCE, what, wanted).await
    }

    pub async fn wait_until_within(&self, limit: Duration, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = None;
        let asking = async {
            loop {
                self.assert_running();
                match control::request(&self.socket(), "GET", "/v1/status").await {
                    Ok((200, status)) if wanted(&status) => break status,
                    Ok((code, status)) => last = Some(format!("{code} {status:#}")),
                    Err(error) => last = Some(error.to_string()),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(limit, asking).await {
            Ok(status) => status,
            Err(_) => panic!("{}: not within {limit:?}: {what}; last: {}", self.name, last.unwrap_or_default()),
        }
    }

    /// Waits until a tunnel's status is as wanted.
    pub async fn wait_for_tunnel(&self, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let status = self.wait_until(what, |status| tunnel(status, name).is_some_and(&wanted)).await;
        tunnel(&status, name).unwrap().clone()
    }

    /// Where the node can be dialled, without its peer id.
    pub async fn addresses(&self) -> Vec<String> {
        let listed = |status: &Value| status["addresses"].as_array().unwrap().clone();
        let status = self.wait_until("the node has an address", |status| !listed(status).is_empty()).await;
        let own = format!("/p2p/{}", self.id);
        let dialled = |address: &Value| {
            let address = address.as_str().unwrap();
            address.strip_suffix(&own).unwrap_or_else(|| panic!("{address} should end in {own}")).to_owned()
        };
        listed(&status).iter().map(dialled).collect()
    }

    /// Where a forward of this node accepts connections.
    pub async fn bind(&self, name: &str) -> SocketAddr {
        let tunnel = self.wait_for_tunnel(name, "the forward is bound", |tunnel| tunnel["state"] == "ready").await;
        tunnel["bind"].as_str().unwrap().parse().unwrap()
    }

    /// A connection to a forward of this node.
    pub async fn connect(&self, name: &str) -> TcpStream {
        let address = self.bind(name).await;
        soon("a forward accepts", TcpStream::connect(address)).await.unwrap()
    }

    /// How a connection to a forward ends for a client that sends nothing.
    pub async fn ending_of_a_connection(&self, name: &str) -> (Vec<u8>, Ending) {
        let address = self.bind(name).await;
        match soon("a forward accepts", TcpStream::connect(address)).await {
            Ok(mut client) => ending(&mut client).await,
            // A connection that is turned away at once may be gone before `connect` has returned.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => (vec![], Ending::Reset),
            Err(error) => panic!("{address} does not accept: {error}"),
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.lock().unwrap().as_ref().expect("the node runs").id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal).unwrap();
    }

    /// Ends the service without a warning.
    pub async fn kill9(&mut self) {
        self.signal(Signal::SIGKILL);
        self.exit().await;
    }

    /// Ends the service as a service manager does.
    pub async fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.exit().await;
        assert_eq!(status.code(), Some(0), "{} after SIGTERM: {status}", self.name);
    }

    /// Waits for the service to end.
    pub async fn exit(&mut self) -> ExitStatus {
        self.exit_within(PATIENCE).await
    }

    pub async fn exit_within(&mut self, limit: Duration) -> ExitStatus {
        let ended = eventually("the service ends", || {
            let status = self.process.lock().unwrap().as_mut().expect("the node runs").try_wait().unwrap();
            async move { status }
        });
        let status = within(limit, "the service ends", ended).await;
        self.process.lock().unwrap().take();
        status
    }

    fn assert_running(&self) {
        if let Some(status) = self.process.lock().unwrap().as_mut().and_then(|child| child.try_wait().unwrap()) {
            panic!("{} has ended: {status}", self.name);
        }
    }

    fn log(&self) -> PathBuf {
        self.dir().join("log")
    }

    /// What the service has written so far, over all its runs.
    pub fn log_text(&self) -> String {
        match fs::read_to_string(self.log()) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => panic!("{}: {error}", self.log().display()),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.process.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            // Neither fails for a child that nobody has waited for; there is nothing to do about it if it did.
            let _ = child.kill();
            let _ = child.wait();
        }
        let log = self.log_text();
        if std::thread::panicking() {
            eprintln!("===== {} ({}) wrote:\n{log}=====", self.name, self.id);
        } else {
            assert!(!log.contains("panicked at"), "{} panicked:\n{log}", self.name);
        }
    }
}

/// The one entry of a tunnel in a status.
fn tunnel<'a>(status: &'a Value, name: &str) -> Option<&'a Value> {
    let mut named = status["tunnels"].as_array().unwrap().iter().filter(|tunnel| tunnel["name"] == name);
    let first = named.next();
    assert!(named.next().is_none(), "two entries for {name}: {status:#}");
    first
}
