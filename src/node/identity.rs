//! Who this node is: the file that holds its private key.
//!
//! The file holds the key in libp2p's protobuf encoding, either as bytes (what this module writes) or as one line of
//! base64. The latter is what Kubo keeps in `Identity.PrivKey` of its `config`, so a Kubo identity moves in with
//! `jq -r .Identity.PrivKey ~/.ipfs/config`.
//!
//! One running node per identity: two would answer for each other's connections. So the key file itself is locked
//! for as long as the [`Identity`] lives. It is put in place once and never renamed after that, and a read-only file,
//! such as a systemd credential, can be locked as well.

use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown},
    path::{Path, PathBuf},
};

use libp2p::{
    PeerId,
    identity::{DecodingError, Keypair},
};
use multibase::Base::Base64Pad;
use nix::{libc, unistd::geteuid};

mod place;

pub use place::default_path;

/// The longest key file that is read. An 8192-bit RSA key in base64 has some 6,500 bytes.
const MAX_LENGTH: u64 = 64 * 1024;

/// A key in use: nobody else runs with it while this value lives.
pub struct Identity {
    keypair: Keypair,
    /// What is not as it should be with the file, each a sentence for the log.
    pub warnings: Vec<String>,
    /// Holds the lock; it goes when the file is closed. `None`: the key is in no file.
    _locked: Option<File>,
}

impl Identity {
    /// A new identity that nobody keeps.
    pub fn ephemeral() -> Self {
        Self { keypair: Keypair::generate_ed25519(), warnings: Vec::new(), _locked: None }
    }

    pub fn keypair(&self) -> &Keypair {
        &self.keypair
    }

    pub fn peer_id(&self) -> PeerId {
        self.keypair.public().to_peer_id()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.peer_id()).finish()
    }
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error(
        "there is no place for the identity: neither $STATE_DIRECTORY nor a home directory is known; \
         name a file as `identity` in [node]"
    )]
    NoPlace,
    #[error("no identity at {}; `p2ptun id --create`, with the options given here, makes one", .0.display())]
    Missing(PathBuf),
    #[error("cannot read the identity {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the identity {} can be read or changed by every user; `chmod 600 {}`", .0.display(), .0.display())]
    TooOpen(PathBuf),
    #[error("the identity {} is {what}, not a file with a private key", path.display())]
    NotAFile { path: PathBuf, what: &'static str },
    #[error(
        "the identity {} holds no private key in libp2p's protobuf encoding, neither as bytes nor as base64 \
         (as Identity.PrivKey of a Kubo config): {source}; put the right key there, or move the file away to get a \
         new identity",
        path.display()
    )]
    Malformed { path: PathBuf, source: DecodeError },
    #[error("cannot create the identity {}: {source}", path.display())]
    CannotCreate { path: PathBuf, source: io::Error },
    #[error("p2ptun is already running with the identity {}", .0.display())]
    InUse(PathBuf),
}

/// Why the bytes of a key file are not a key. Says nothing of what the bytes are.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("the file is empty")]
    Empty,
    #[error("the file has more than {MAX_LENGTH} bytes")]
    TooLong,
    #[error(transparent)]
    Key(#[from] DecodingError),
}

/// The identity kept at `path`, made first if there is none, and locked.
pub fn load_or_create(path: &Path) -> Result<Identity, IdentityError> {
    let file = match KeyFile::open(path) {
        Err(IdentityError::Missing(_)) => {
            make(path)?;
            KeyFile::open(path)?
        }
        opened => opened?,
    };
    file.lock_and_read()
}

/// The peer id of the key at `path`, whether or not a node runs with it.
pub fn read_peer_id(path: &Path) -> Result<PeerId, IdentityError> {
    Ok(KeyFile::open(path)?.read()?.public().to_peer_id())
}

/// Makes a key at `path` unless there is one, and returns the peer id of the key that is there then.
pub fn create(path: &Path) -> Result<PeerId, IdentityError> {
    match read_peer_id(path) {
        Err(IdentityError::Missing(_)) => {
            make(path)?;
            read_peer_id(path)
        }
        read => read,
    }
}

/// Puts a new key at `path`, complete and private from the first moment that anyone can see it. A key that somebody
/// else put there meanwhile stays.
fn make(path: &Path) -> Result<(), IdentityError> {
    let cannot = |source| IdentityError::CannotCreate { path: path.to_owned(), source };
    let key = Keypair::generate_ed25519().to_protobuf_encoding().map_err(|error| cannot(io::Error::other(error)))?;
    put(path, &key).map_err(cannot)
}

fn put(path: &Path, key: &[u8]) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    // `tempfile` creates with mode 0600.
    let mut file = tempfile::Builder::new().prefix(".identity.").tempfile_in(directory)?;
    file.write_all(key)?;
    if geteuid().is_root() {
        // Root makes the key on behalf of the service, whose directory this is.
        let owner = fs::metadata(directory)?;
        fchown(file.as_file(), Some(owner.uid()), Some(owner.gid()))?;
    }
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => File::open(directory)?.sync_all(),
        // Somebody was faster, unless what is in the way is a symlink to nowhere.
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists && path.exists() => Ok(()),
        Err(error) => Err(error.error),
    }
}

/// An open key file whose kind and permissions were found right.
struct KeyFile {
    path: PathBuf,
    file: File,
    group_can_read: bool,
}

impl KeyFile {
    fn open(path: &Path) -> Result<Self, IdentityError> {
        let unreadable = |source| IdentityError::Unreadable { path: path.to_owned(), source };
        // Without O_NONBLOCK, a FIFO would keep us waiting for its writer.
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).map_err(
            |error| match error.kind() {
                io::ErrorKind::NotFound => IdentityError::Missing(path.to_owned()),
                _ => unreadable(error),
            },
        )?;
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            let what = if metadata.is_dir() { "a directory" } else { "a special file" };
            return Err(IdentityError::NotAFile { path: path.to_owned(), what });
        }
        if metadata.mode() & 0o006 != 0 {
            return Err(IdentityError::TooOpen(path.to_owned()));
        }
        // Under systemd's credentials the group bits are the mask of an access list that names the service's user.
        let group_can_read = metadata.mode() & 0o060 != 0 && !place::is_credential(path);
        Ok(Self { path: path.to_owned(), file, group_can_read })
    }

    fn lock_and_read(self) -> Result<Identity, IdentityError> {
        let mut warnings = Vec::new();
        let path = self.path.display();
        if self.group_can_read {
            warnings.push(format!("the identity {path} is open to its group; `chmod 600 {path}`"));
        }
        match self.file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(IdentityError::InUse(self.path)),
            Err(TryLockError::Error(error)) => warnings.push(format!(
                "the identity {path} cannot be locked ({error}), so nothing keeps a second node from running with it"
            )),
        }
        let keypair = self.read()?;
        Ok(Identity { keypair, warnings, _locked: Some(self.file) })
    }

    fn read(&self) -> Result<Keypair, IdentityError> {
        let mut bytes = Vec::new();
        (&self.file)
            .take(MAX_LENGTH + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| IdentityError::Unreadable { path: self.path.clone(), source })?;
        decode(&bytes).map_err(|source| IdentityError::Malformed { path: self.path.clone(), source })
    }
}

fn decode(bytes: &[u8]) -> Result<Keypair, DecodeError> {
    let text = bytes.trim_ascii();
    if text.is_empty() {
        return Err(DecodeError::Empty);
    }
    if bytes.len() as u64 > MAX_LENGTH {
        return Err(DecodeError::TooLong);
    }
    // No encoded key is base64 text as it stands: its first byte is a protobuf tag, 0x08.
    let key = std::str::from_utf8(text).ok().and_then(|text| Base64Pad.decode(text).ok());
    Ok(Keypair::from_protobuf_encoding(key.as_deref().unwrap_or(bytes))?)
}

#[cfg(test)]
mod tests;
