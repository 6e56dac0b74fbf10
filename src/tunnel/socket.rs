//! The local sockets that forwards listen on. A socket may be handed from one tunnel to another without ever being
//! closed, so that no client meets a refused connection in between.

use std::{
    io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    libc::{EINVAL, EPERM},
    unistd::{Group, User, geteuid},
};
use socket2::{Domain, SockAddr, Socket as RawSocket, Type};
use tokio::{
    net::{TcpListener, UnixListener},
    time::timeout,
};

use super::endpoint::{Local, resolve};
use crate::spec::{Bind, HostPort};

/// Clients that may wait to be accepted; the kernel caps it (`net.core.somaxconn`).
const BACKLOG: i32 = 4_096;

/// How long to wait for the addresses of a name. One for this machine is in `/etc/hosts`, as a rule.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a socket could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("can't listen on {bind}: {source}")]
    Bind { bind: String, source: io::Error },
    #[error("can't listen on {path}: a file that is not a socket is in the way; move it or choose another path", path = .0.display())]
    NotASocket(PathBuf),
    #[error("can't listen on {path}: another process serves this socket", path = .0.display())]
    Served(PathBuf),
    #[error("can't give {path} to the group {group}: {reason}", path = .path.display())]
    Group { path: PathBuf, group: String, reason: String },
}

impl BindError {
    /// Whether somebody else holds the address.
    pub fn is_in_use(&self) -> bool {
        match self {
            Self::Bind { source, .. } => source.kind() == io::ErrorKind::AddrInUse,
            Self::Served(_) => true,
            Self::NotASocket(_) | Self::Group { .. } => false,
        }
    }
}

/// A bound, listening socket.
pub struct Socket {
    listener: Listener,
    bound: String,
}

enum Listener {
    Tcp(TcpListener),
    Unix { listener: UnixListener, file: SocketFile },
}

impl Socket {
    /// Binds and listens.
    ///
    /// # Errors
    ///
    /// Where the address is taken, not this machine's, or not permitted.
    pub async fn bind(bind: &Bind) -> Result<Self, BindError> {
        match bind {
            Bind::Tcp(address) => {
                let failed = |source| BindError::Bind { bind: bind.to_string(), source };
                let listener = bind_tcp(address).await.map_err(failed)?;
                let bound = listener.local_addr().map_err(failed)?.to_string();
                Ok(Self { listener: Listener::Tcp(listener), bound })
            }
            Bind::Unix { path, mode, group } => {
                let listener = bind_unix(path, *mode, group.as_deref())?;
                Ok(Self { listener, bound: bind.to_string() })
            }
            Bind::Udp(_) => Err(BindError::Bind { bind: bind.to_string(), source: io::ErrorKind::Unsupported.into() }),
        }
    }

    /// The address as a client would write it, port 0 resolved.
    pub fn bound(&self) -> &str {
        &self.bound
    }

    /// Gives a unix socket the mode and group that `bind` asks for, when only those have changed.
    pub fn set_access(&self, bind: &Bind) -> Result<(), BindError> {
        match (bind, &self.listener) {
            (Bind::Unix { path, mode, group }, Listener::Unix { file, .. }) => {
                set_access(path, *mode, group.as_deref(), file.group)
            }
            _ => Ok(()),
        }
    }

    /// The next client.
    pub async fn accept(&self) -> io::Result<Local> {
        match &self.listener {
            Listener::Tcp(listener) => Local::tcp(listener.accept().await?.0),
            Listener::Unix { listener, .. } => Ok(Local::unix(listener.accept().await?.0)),
        }
    }
}

async fn bind_tcp(address: &HostPort) -> io::Result<TcpListener> {
    let mut last = None;
    // Whoever binds is the one loop of the service, which has signals and other tunnels to attend to.
    let addresses = timeout(RESOLVE_TIMEOUT, resolve(address)).await.unwrap_or_else(|_| Err(no_name_server()))?;
    for address in addresses {
        match listen_tcp(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::other("the name stands for no address")))
}

fn no_name_server() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no name server says in time what the name stands for")
}

fn listen_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` means IPv6, and leaves the same port of 0.0.0.0 to another tunnel.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn bind_unix(path: &Path, mode: u32, group: Option<&str>) -> Result<Listener, BindError> {
    let failed = |source| BindError::Bind { bind: format!("unix:{}", path.display()), source };
    remove_stale(path)?;
    let socket = RawSocket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    socket.bind(&SockAddr::unix(path).map_err(failed)?).map_err(failed)?;
    let file = SocketFile::new(path).map_err(failed)?;
    // Before it listens, so that at no time can anyone connect who may not.
    set_access(path, mode, group, file.group)?;
    socket.listen(BACKLOG).map_err(failed)?;
    let listener = UnixListener::from_std(socket.into()).map_err(failed)?;
    Ok(Listener::Unix { listener, file })
}

/// A socket file outlives the process that made it, and stands in the way for ever. One that nobody serves is removed.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    let failed = |source| BindError::Bind { bind: format!("unix:{}", path.display()), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(file) if !file.file_type().is_socket() => return Err(BindError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    let probe = RawSocket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    probe.set_nonblocking(true).map_err(failed)?;
    match probe.connect(&SockAddr::unix(path).map_err(failed)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path).map_err(failed),
        _ => Err(BindError::Served(path.to_owned())),
    }
}

/// `own_group`: the group that the file gets where no other is named.
fn set_access(path: &Path, mode: u32, group: Option<&str>, own_group: u32) -> Result<(), BindError> {
    let failed = |source| BindError::Bind { bind: format!("unix:{}", path.display()), source };
    if group.is_none() && std::fs::symlink_metadata(path).map_err(failed)?.gid() != own_group {
        std::os::unix::fs::chown(path, None, Some(own_group)).map_err(failed)?;
    }
    if let Some(name) = group {
        let failed = |reason: String| BindError::Group { path: path.to_owned(), group: name.to_owned(), reason };
        let group = Group::from_name(name).map_err(|error| failed(error.to_string()))?;
        let group = group.ok_or_else(|| failed("there is no such group".to_owned()))?.gid.as_raw();
        // Not what is so already: a sandbox may forbid the call whatever it would change.
        if std::fs::symlink_metadata(path).map_err(|error| failed(error.to_string()))?.gid() != group {
            std::os::unix::fs::chown(path, None, Some(group)).map_err(|error| failed(cannot_give(name, &error)))?;
        }
    }
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).map_err(failed)
}

/// Why a file can't be given to the group `name`, and what to do about it.
fn cannot_give(name: &str, error: &io::Error) -> String {
    match error.raw_os_error() {
        // Not a member of the group, or (EPERM, EINVAL) in a sandbox that lets the service know no group but its own.
        Some(EPERM | EINVAL) => {
            let user = User::from_uid(geteuid()).ok().flatten().map_or_else(|| geteuid().to_string(), |user| user.name);
            format!(
                "{error}; under systemd, install the drop-in `unix-groups.conf`, which lets the service out of the user \
                 namespace that hides other groups; have `{user}` be in the group (`sudo usermod -aG {name} {user}`); \
                 and restart the service"
            )
        }
        _ => error.to_string(),
    }
}

/// Removes the file of a unix socket with the socket, unless somebody else's stands there by then.
struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
    /// The group that it was made with.
    group: u32,
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        let group = std::fs::symlink_metadata(path)?.gid();
        Ok(Self { inode: inode(path)?, path: path.to_owned(), group })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|now| now == self.inode)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(file = %self.path.display(), %error, "can't remove a socket that is no longer served");
        }
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix(path: &Path) -> Bind {
        Bind::Unix { path: path.to_owned(), mode: 0o600, group: None }
    }

    #[tokio::test]
    async fn port_0_is_resolved_and_a_taken_port_says_so() {
        let any = Bind::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)).into());
        let first = Socket::bind(&any).await.unwrap();
        let taken: SocketAddr = first.bound().parse().unwrap();
        assert_ne!(taken.port(), 0);
        let error = Socket::bind(&Bind::Tcp(taken.into())).await.err().unwrap();
        assert!(error.is_in_use(), "{error}");
    }

    #[tokio::test]
    async fn a_stale_unix_socket_is_replaced_and_a_live_one_or_another_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let socket = Socket::bind(&unix(&path)).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert!(matches!(Socket::bind(&unix(&path)).await, Err(BindError::Served(_))));
        drop(socket);
        assert!(!path.exists());
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(Socket::bind(&unix(&path)).await, Err(BindError::NotASocket(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn a_socket_gets_its_group_back_when_none_is_named_any_more() {
        let Some(other) = nix::unistd::getgroups()
            .unwrap()
            .into_iter()
            .chain([1.into()])
            .find(|gid| *gid != nix::unistd::getegid() && (nix::unistd::geteuid().is_root() || gid.as_raw() != 1))
        else {
            return; // A user of one group can't give a file to another.
        };
        let Some(name) = Group::from_gid(other).unwrap().map(|group| group.name) else { return };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let socket = Socket::bind(&unix(&path)).await.unwrap();
        let own = std::fs::metadata(&path).unwrap().gid();
        socket.set_access(&Bind::Unix { path: path.clone(), mode: 0o660, group: Some(name) }).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().gid(), other.as_raw());
        socket.set_access(&unix(&path)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().gid(), own);
    }

    #[test]
    fn what_a_sandbox_forbids_names_the_drop_in_and_what_else_to_do() {
        for denied in [EPERM, EINVAL] {
            let reason = cannot_give("web", &io::Error::from_raw_os_error(denied));
            assert!(reason.contains("`unix-groups.conf`") && reason.contains("`sudo usermod -aG web "), "{reason}");
        }
        assert!(!cannot_give("web", &io::Error::from_raw_os_error(nix::libc::EROFS)).contains("unix-groups"));
    }

    #[tokio::test]
    async fn a_group_that_does_not_exist_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let bind = Bind::Unix { path: dir.path().join("s"), mode: 0o660, group: Some("no-such-group".into()) };
        let error = Socket::bind(&bind).await.err().unwrap().to_string();
        assert!(error.contains("no-such-group: there is no such group"), "{error}");
        assert!(!dir.path().join("s").exists());
    }
}
