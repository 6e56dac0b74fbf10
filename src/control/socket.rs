//! Where the control socket is, and how it gets there.

use std::{
    env,
    ffi::OsString,
    fs::{self, DirBuilder, Permissions},
    io,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
            net,
        },
    },
    path::{Path, PathBuf},
};

use nix::{
    sys::stat::{Mode, fchmod},
    unistd::{Uid, geteuid},
};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

const FILE: &str = "control.sock";

/// Owner and group.
const SOCKET_MODE: u32 = 0o660;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// Why the service has no control socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("p2ptun is already running: it answers at {}", .0.display())]
    InUse(PathBuf),
    #[error("cannot put the control socket at {}: there is a file that is not a socket; move it away", .0.display())]
    NotASocket(PathBuf),
    #[error(
        "cannot put the control socket into {}: it must be a directory that only this user can enter; remove it, or \
         name another place with --socket",
        .0.display()
    )]
    Untrusted(PathBuf),
    #[error("cannot create the control socket {}: {source}", path.display())]
    CannotCreate { path: PathBuf, source: io::Error },
}

/// A place for the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    directory: PathBuf,
    access: Access,
}

impl Place {
    fn socket(&self) -> PathBuf {
        self.directory.join(FILE)
    }
}

/// Who is to get into the directory that holds the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// Whoever made the directory has decided.
    Given,
    /// Everybody may enter, for the socket has its own mode: so a client can tell "no access" from "no service".
    Enter,
    /// The user alone.
    Private,
    /// The user alone, in a directory where anyone could have made it first.
    PrivateAmongStrangers,
}

/// Every place where a socket may be, in the order in which they are looked at.
struct Places {
    given: Option<Place>,
    system: Place,
    user: Option<Place>,
    temporary: Place,
}

impl Places {
    fn known() -> Self {
        Self::from(|name| env::var_os(name), env::temp_dir(), geteuid())
    }

    fn from(variable: impl Fn(&str) -> Option<OsString>, temporary: PathBuf, user: Uid) -> Self {
        // systemd lists several directories with colons between them.
        let first = |name| {
            let list = variable(name)?;
            env::split_paths(&list).find(|path| path.is_absolute())
        };
        Self {
            given: first("RUNTIME_DIRECTORY").map(|directory| Place { directory, access: Access::Given }),
            system: Place { directory: "/run/p2ptun".into(), access: Access::Enter },
            user: first("XDG_RUNTIME_DIR")
                .map(|directory| Place { directory: directory.join("p2ptun"), access: Access::Private }),
            temporary: Place {
                directory: temporary.join(format!("p2ptun-{user}")),
                access: Access::PrivateAmongStrangers,
            },
        }
    }

    fn for_service(self, is_root: bool) -> Place {
        let system = is_root.then_some(self.system);
        self.given.or(system).or(self.user).unwrap_or(self.temporary)
    }

    fn for_client(self) -> impl Iterator<Item = Place> {
        self.given.into_iter().chain([self.system]).chain(self.user).chain([self.temporary])
    }
}

/// Where the service puts its socket, `named` if somebody named it. Makes the directory where that is ours to make.
pub fn service_path(named: Option<&Path>) -> Result<PathBuf, SocketError> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let place = Places::known().for_service(geteuid().is_root());
    prepare(&place)?;
    Ok(place.socket())
}

/// Where clients look for the service: at `named` alone if somebody named it, for another service than that one would
/// be the wrong one.
pub(super) fn client_paths(named: Option<&Path>) -> Vec<PathBuf> {
    match named {
        Some(named) => vec![named.to_owned()],
        // A stranger's folder may hold a stranger's service.
        None => {
            let trusted = |place: &Place| place.access != Access::PrivateAmongStrangers || is_private(&place.directory);
            Places::known().for_client().filter(trusted).map(|place| place.socket()).collect()
        }
    }
}

fn prepare(place: &Place) -> Result<(), SocketError> {
    let mode = match place.access {
        Access::Given => return Ok(()),
        Access::Enter => 0o755,
        Access::Private | Access::PrivateAmongStrangers => 0o700,
    };
    let cannot = |source| SocketError::CannotCreate { path: place.socket(), source };
    match DirBuilder::new().mode(mode).create(&place.directory) {
        // The umask may have taken away what `mode` gives.
        Ok(()) => fs::set_permissions(&place.directory, Permissions::from_mode(mode)).map_err(cannot)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(cannot(error)),
    }
    if place.access == Access::PrivateAmongStrangers && !is_private(&place.directory) {
        return Err(SocketError::Untrusted(place.directory.clone()));
    }
    Ok(())
}

/// Whether `directory` is one that only this user can enter.
fn is_private(directory: &Path) -> bool {
    fs::symlink_metadata(directory)
        .is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == geteuid().as_raw() && metadata.mode() & 0o077 == 0)
}

/// A bound control socket; its file goes with it.
pub(super) struct ControlSocket {
    /// Goes first: for as long as the listener is open, its inode number is not another file's.
    pub(super) file: SocketFile,
    pub(super) listener: UnixListener,
}

impl ControlSocket {
    /// Binds `path`, in place of a socket that nobody listens on any more.
    ///
    /// Two services that do so in the same instant may not notice each other here; the lock on their identity tells
    /// them apart before they come here.
    pub(super) fn bind(path: &Path) -> Result<Self, SocketError> {
        let cannot = |source| SocketError::CannotCreate { path: path.to_owned(), source };
        let address = SockAddr::unix(path).map_err(cannot)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(cannot)?;
        // On Linux the file gets the socket's mode, less the umask. Elsewhere this may fail, and the file be wider for
        // a moment: nobody can connect before `listen` all the same.
        let _ = fchmod(&socket, Mode::from_bits_truncate(SOCKET_MODE));
        match socket.bind(&address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                remove_stale(path, &address)?;
                socket.bind(&address).map_err(cannot)?;
            }
            bound => bound.map_err(cannot)?,
        }
        let file = SocketFile::at(path).map_err(cannot)?;
        fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE)).map_err(cannot)?;
        socket.listen(BACKLOG).map_err(cannot)?;
        socket.set_nonblocking(true).map_err(cannot)?;
        let listener = UnixListener::from_std(net::UnixListener::from(OwnedFd::from(socket))).map_err(cannot)?;
        Ok(Self { file, listener })
    }
}

/// Removes the socket file that a service left behind when it was killed.
fn remove_stale(path: &Path, address: &SockAddr) -> Result<(), SocketError> {
    let cannot = |source| SocketError::CannotCreate { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => return Err(SocketError::NotASocket(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(cannot(error)),
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(cannot)?;
    // A live service whose backlog is full would make a blocking connect wait.
    probe.set_nonblocking(true).map_err(cannot)?;
    match probe.connect(address).map_err(|error| (error.kind(), error)) {
        Ok(()) | Err((io::ErrorKind::WouldBlock, _)) => Err(SocketError::InUse(path.to_owned())),
        Err((io::ErrorKind::ConnectionRefused, _)) => fs::remove_file(path).map_err(cannot),
        Err((io::ErrorKind::NotFound, _)) => Ok(()),
        Err((_, error)) => Err(cannot(error)),
    }
}

/// The file of a bound socket; removed when dropped, unless another one has taken its place.
pub(super) struct SocketFile {
    pub(super) path: PathBuf,
    device_and_inode: (u64, u64),
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), device_and_inode: device_and_inode(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if device_and_inode(&self.path).is_ok_and(|now| now == self.device_and_inode)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(file = %self.path.display(), %error, "can't remove the control socket");
        }
    }
}

fn device_and_inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(variables: &[(&str, &str)]) -> Places {
        let variable = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
        Places::from(variable, "/tmp".into(), Uid::from_raw(1000))
    }

    fn service(variables: &[(&str, &str)], is_root: bool) -> PathBuf {
        places(variables).for_service(is_root).socket()
    }

    #[test]
    fn the_service_takes_the_first_place_that_is_set() {
        let all = [("RUNTIME_DIRECTORY", "/run/a:/run/b"), ("XDG_RUNTIME_DIR", "/run/user/1000")];
        assert_eq!(service(&all, true), Path::new("/run/a/control.sock"));
        assert_eq!(service(&all[1..], true), Path::new("/run/p2ptun/control.sock"));
        assert_eq!(service(&all[1..], false), Path::new("/run/user/1000/p2ptun/control.sock"));
        assert_eq!(service(&[], false), Path::new("/tmp/p2ptun-1000/control.sock"));
    }

    #[test]
    fn clients_look_wherever_a_service_may_be() {
        let looked: Vec<PathBuf> =
            places(&[("XDG_RUNTIME_DIR", "/run/user/1000")]).for_client().map(|place| place.socket()).collect();
        let expected =
            ["/run/p2ptun/control.sock", "/run/user/1000/p2ptun/control.sock", "/tmp/p2ptun-1000/control.sock"];
        assert_eq!(looked, expected.map(PathBuf::from));
        assert_eq!(client_paths(Some(Path::new("/named"))), [PathBuf::from("/named")]);
    }

    #[test]
    fn a_folder_among_strangers_must_be_private() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place { directory: directory.path().join("p2ptun-1000"), access: Access::PrivateAmongStrangers };
        prepare(&place).unwrap();
        assert_eq!(fs::metadata(&place.directory).unwrap().mode() & 0o777, 0o700);
        prepare(&place).unwrap();
        fs::set_permissions(&place.directory, Permissions::from_mode(0o770)).unwrap();
        assert!(matches!(prepare(&place), Err(SocketError::Untrusted(_))));
        fs::remove_dir(&place.directory).unwrap();
        std::os::unix::fs::symlink("/", &place.directory).unwrap();
        assert!(matches!(prepare(&place), Err(SocketError::Untrusted(_))));
    }

    #[tokio::test]
    async fn a_socket_is_for_owner_and_group_and_goes_with_the_service() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let socket = ControlSocket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_live_service_keeps_its_socket_and_a_stale_one_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let ControlSocket { file, listener } = ControlSocket::bind(&path).unwrap();
        assert!(matches!(ControlSocket::bind(&path), Err(SocketError::InUse(_))));
        // What a kill leaves: nobody listens, and the file is there.
        drop(listener);
        std::mem::forget(file);
        ControlSocket::bind(&path).unwrap();
    }

    #[tokio::test]
    async fn a_service_does_not_remove_the_socket_of_its_successor() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let first = ControlSocket::bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let second = ControlSocket::bind(&path).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        fs::write(&path, "precious").unwrap();
        assert!(matches!(ControlSocket::bind(&path), Err(SocketError::NotASocket(_))));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        let nowhere = directory.path().join("no/where");
        assert!(matches!(ControlSocket::bind(&nowhere), Err(SocketError::CannotCreate { .. })));
    }
}
