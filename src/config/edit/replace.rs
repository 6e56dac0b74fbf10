//! Replacing a file: complete or not at all, as it was but for its text, and never over what somebody else wrote
//! meanwhile.

use std::{
    fs::{self, File, Metadata, OpenOptions, Permissions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::libc::O_NONBLOCK;
use tempfile::NamedTempFile;
use xattr::FileExt;

use super::super::sources::{self, FileId};

/// How long to wait for others that edit files of the same folder; each takes milliseconds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// Of a file that is made new.
const NEW_MODE: u32 = 0o644;

/// The extended attribute that holds the access list of a file.
const ACCESS_LIST: &str = "system.posix_acl_access";

/// A file that is being edited. While this lives, nobody else who uses this module edits a file of its folder, unless the
/// lock on it could not be had.
pub(super) struct Held {
    given: PathBuf,
    /// Symlinks resolved, so that a link stays a link.
    real: PathBuf,
    folder: PathBuf,
    bytes: Vec<u8>,
    /// `None`: there is no such file yet.
    metadata: Option<Metadata>,
    /// The folder, which unlike the file is never replaced, so that its lock is the same for everybody.
    lock: File,
}

/// What became of an edit.
pub(super) enum Replaced {
    /// With what could not be kept of the old file.
    Done(Vec<String>),
    /// Somebody else has changed the file meanwhile; nothing was done.
    Overtaken,
}

impl Held {
    /// Waits until nobody else edits, and reads the file at `path`, which need not exist.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        let real = resolve(path)?;
        let folder = real.parent().unwrap_or(Path::new("/")).to_owned();
        let lock = lock(&folder, LOCK_TIMEOUT)?;
        let (bytes, metadata) = match sources::read_bytes(&real) {
            Ok((bytes, metadata)) => (bytes, Some(metadata)),
            Err(error) if error.kind() == ErrorKind::NotFound => (Vec::new(), None),
            Err(error) => return Err(error),
        };
        Ok(Self { given: path.to_owned(), real, folder, bytes, metadata, lock })
    }

    /// The file itself, not a symlink to it.
    pub(super) fn real(&self) -> &Path {
        &self.real
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn is_new(&self) -> bool {
        self.metadata.is_none()
    }

    /// Reads files as if this one held `bytes`, under whatever path it is named.
    pub(super) fn read_with(&self, bytes: &[u8], path: &Path) -> io::Result<(sources::File, FileId)> {
        let as_if = |id| Ok((sources::File::from_bytes(path, bytes.to_vec()), id));
        match (&self.metadata, sources::read(path)) {
            (Some(held), Ok((_, id))) if id == FileId::of(held) => as_if(id),
            (None, Err(error)) if error.kind() == ErrorKind::NotFound && path == self.given => as_if(FileId::NONE),
            (_, read) => read,
        }
    }

    /// Puts `text` in place of the file.
    pub(super) fn replace(&self, text: &str) -> io::Result<Replaced> {
        match self.try_to_replace(text) {
            // Editors also move files away for a moment.
            Err(_) if self.is_overtaken().unwrap_or_default() => Ok(Replaced::Overtaken),
            replaced => replaced,
        }
    }

    fn try_to_replace(&self, text: &str) -> io::Result<Replaced> {
        if let Some(metadata) = &self.metadata {
            self.check_writable(metadata)?;
        }
        sources::check_size(text.len() as u64)?;
        let name = self.real.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Hidden, so that no `include` takes it for one of its files.
        let mut file =
            tempfile::Builder::new().prefix(&format!(".{name}.")).tempfile_in(&self.folder).map_err(plain)?;
        file.write_all(text.as_bytes()).map_err(plain)?;
        let mut losses = Vec::new();
        match &self.metadata {
            None => file.as_file().set_permissions(Permissions::from_mode(NEW_MODE))?,
            Some(old) => self.keep(old, &file, &mut losses)?,
        }
        file.as_file().sync_all()?;
        if self.is_overtaken()? {
            return Ok(Replaced::Overtaken);
        }
        let put = if self.is_new() { file.persist_noclobber(&self.real) } else { file.persist(&self.real) };
        match put {
            Err(error) if self.is_new() && error.error.kind() == ErrorKind::AlreadyExists => {
                return Ok(Replaced::Overtaken);
            }
            Err(error) if error.error.kind() == ErrorKind::ResourceBusy => {
                let why = "it is a mount point, as in a container that was given this one file; edit it outside";
                return Err(io::Error::new(ErrorKind::ResourceBusy, why));
            }
            put => put?,
        };
        if let Err(error) = self.lock.sync_all() {
            losses.push(format!("written, though perhaps not yet to the disk itself: {error}"));
        }
        Ok(Replaced::Done(losses))
    }

    /// A file that nobody may write is replaced by nobody, though the folder would permit it, and though root may do
    /// anything: it is generated, and part of a store that others rely on.
    fn check_writable(&self, metadata: &Metadata) -> io::Result<()> {
        let denied = |why: &str| Err(io::Error::new(ErrorKind::PermissionDenied, why));
        if metadata.mode() & 0o222 == 0 {
            return denied("it is read-only");
        }
        if metadata.nlink() > 1 {
            return denied("it has several hard links, and the others would keep the old text");
        }
        OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(&self.real).map(drop)
    }

    /// Gives `new` the owner, the mode and the attributes of the file.
    fn keep(&self, old: &Metadata, new: &NamedTempFile, losses: &mut Vec<String>) -> io::Result<()> {
        let file = new.as_file();
        let made = file.metadata()?;
        if (made.uid(), made.gid()) != (old.uid(), old.gid()) {
            fchown(file, Some(old.uid()), Some(old.gid())).map_err(|error| {
                io::Error::new(error.kind(), format!("it belongs to somebody else, which could not be kept: {error}"))
            })?;
        }
        let attributes: Vec<_> = match xattr::list(&self.real) {
            Ok(attributes) => attributes.collect(),
            Err(error) if error.kind() == ErrorKind::Unsupported => Vec::new(),
            Err(error) => return Err(error),
        };
        // The default list of the folder, which the mode would put into force, is not that of the file.
        if !attributes.iter().any(|attribute| attribute == ACCESS_LIST) {
            drop_access_list(file)?;
        }
        for attribute in attributes {
            let Some(value) = xattr::get(&self.real, &attribute)? else { continue };
            if file.get_xattr(&attribute).is_ok_and(|kept| kept.as_ref() == Some(&value)) {
                continue;
            }
            match file.set_xattr(&attribute, &value) {
                Ok(()) => {}
                // Who may read the file is worth more than the edit.
                Err(error) if attribute == ACCESS_LIST => return Err(error),
                Err(error) => losses.push(format!("the attribute {} is lost: {error}", attribute.to_string_lossy())),
            }
        }
        // After the owner, whose change clears bits, and after an access list: until it stands, the mode says too much.
        file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))
    }

    /// Whether the file is no longer the one that was read: editors know nothing of the lock.
    fn is_overtaken(&self) -> io::Result<bool> {
        if resolve(&self.given)? != self.real {
            return Ok(true);
        }
        let state = |metadata: &Metadata| (FileId::of(metadata), metadata.mode(), metadata.uid(), metadata.gid());
        match (&self.metadata, sources::read_bytes(&self.real)) {
            (Some(old), Ok((bytes, now))) => Ok(bytes != self.bytes || state(old) != state(&now)),
            (None, Err(error)) if error.kind() == ErrorKind::NotFound => Ok(false),
            (Some(_), Err(error)) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(true),
        }
    }
}

fn drop_access_list(file: &File) -> io::Result<()> {
    match file.get_xattr(ACCESS_LIST) {
        Ok(Some(_)) => file.remove_xattr(ACCESS_LIST),
        // There is none, or the file system knows none.
        _ => Ok(()),
    }
}

/// The error without the name of the temporary file, which says nothing to anybody.
fn plain(error: io::Error) -> io::Error {
    let text = error.to_string();
    io::Error::new(error.kind(), text.split(" at path ").next().unwrap_or_default())
}

/// Where the file is that `path` leads to, or would be.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if fs::symlink_metadata(path).is_ok() {
                return Err(io::Error::new(ErrorKind::NotFound, "it is a symlink that leads nowhere"));
            }
            let absolute = std::path::absolute(path)?;
            let name = absolute.file_name().ok_or(error)?;
            Ok(fs::canonicalize(absolute.parent().unwrap_or(Path::new("/")))?.join(name))
        }
        resolved => resolved,
    }
}

/// Opens and locks `folder`. Where there is no lock to be had, the comparison before the rename is what is left: some file
/// systems know none, and who may read a folder can hold its lock, but must not keep others from editing.
fn lock(folder: &Path, patience: Duration) -> io::Result<File> {
    let opened = File::open(folder)?;
    let (done, outcome) = mpsc::sync_channel(1);
    // A lock has no deadline of its own. Whoever gives up ends soon, and the thread with the process.
    thread::spawn(move || {
        let locked = opened.lock();
        let _ = done.send((opened, locked));
    });
    match outcome.recv_timeout(patience) {
        Ok((folder, _)) => Ok(folder),
        Err(_) => File::open(folder),
    }
}

#[cfg(test)]
mod tests;
