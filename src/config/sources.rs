//! The files that a configuration was read from.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::libc::{O_NOCTTY, O_NONBLOCK};

use super::printable_path;

/// The size in bytes above which a file is taken for something else than a configuration: 4 MiB.
pub const MAX_FILE_SIZE: u64 = 4 << 20;

/// The files of one look at the configuration, with their contents, and the places where more could turn up.
///
/// Two looks that saw the same are equal, so `before == now` means that nothing needs to be done. A refused
/// configuration has sources too: what is broken must be watched until it is mended.
#[derive(Clone, Debug, PartialEq)]
pub struct Sources {
    main: PathBuf,
    pub(super) files: Vec<Arc<File>>,
    /// Files that are named, and folders that are searched, which could not be read, with the reason.
    pub(super) unreadable: Vec<(PathBuf, String)>,
    pub(super) wildcards: Vec<Wildcard>,
}

/// An `include` with wildcards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wildcard {
    /// The pattern as the file writes it.
    pub pattern: String,
    /// The folders in which a file that matches could turn up. They exist, except perhaps the first.
    pub folders: Vec<PathBuf>,
}

/// One file and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) path: PathBuf,
    /// Without a byte order mark. What is not UTF-8 is replaced by U+FFFD.
    pub(super) text: String,
    /// Where the first byte stands that is not UTF-8, if there is one.
    pub(super) broken_at: Option<usize>,
    /// Where each line but the first begins: of thousands of problems each is asked for its line.
    lines: Vec<usize>,
}

impl Sources {
    pub(super) fn new(main: &Path) -> Self {
        Self { main: main.to_owned(), files: Vec::new(), unreadable: Vec::new(), wildcards: Vec::new() }
    }

    /// The path of the main file, as given.
    pub fn main(&self) -> &Path {
        &self.main
    }

    /// The files that were read, the main one first, with their text.
    pub fn files(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.files.iter().map(|file| (file.path.as_path(), file.text.as_str()))
    }

    /// Every file that is named or found, whether or not it could be read. Symlinks are not resolved.
    pub fn named(&self) -> impl Iterator<Item = &Path> {
        let read = self.files.iter().map(|file| file.path.as_path()).filter(|path| *path != self.main);
        let others = self.unreadable.iter().map(|(path, _)| path.as_path()).filter(|path| *path != self.main);
        std::iter::once(self.main()).chain(read).chain(others)
    }

    /// The includes with wildcards, in file order: a new file that matches one of them changes the configuration.
    pub fn wildcards(&self) -> &[Wildcard] {
        &self.wildcards
    }

    /// A file that has zero bytes now and had some `before`: more likely caught in the middle of being written than
    /// meant.
    pub fn emptied_since(&self, before: &Sources) -> Option<&Path> {
        let had_text = |path: &Path| before.files().any(|(before, text)| before == path && !text.is_empty());
        self.files().find(|(path, text)| text.is_empty() && had_text(path)).map(|(path, _)| path)
    }
}

impl File {
    #[cfg(test)]
    pub(super) fn new(path: &str, text: &str) -> Self {
        Self::of_text(path.as_ref(), text.into(), None)
    }

    fn of_text(path: &Path, text: String, broken_at: Option<usize>) -> Self {
        let lines = text.match_indices('\n').map(|(newline, _)| newline + 1).collect();
        Self { path: path.into(), text, broken_at, lines }
    }

    /// Which line `offset` is on, from 1, and where that line begins.
    pub(super) fn line_at(&self, offset: usize) -> (usize, usize) {
        let before = self.lines.partition_point(|start| *start <= offset);
        let start = before.checked_sub(1).and_then(|last| self.lines.get(last)).copied().unwrap_or_default();
        (before + 1, start)
    }

    pub(super) fn from_bytes(path: &Path, bytes: Vec<u8>) -> Self {
        let (text, broken_at) = match String::from_utf8(bytes) {
            Ok(text) => (text, None),
            // Up to the first broken byte the lossy text is the text, so the offset holds in it.
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                (String::from_utf8_lossy(error.as_bytes()).into_owned(), Some(at))
            }
        };
        match text.strip_prefix('\u{feff}') {
            Some(rest) => Self::of_text(path, rest.to_owned(), broken_at.map(|at| at - 3)),
            None => Self::of_text(path, text, broken_at),
        }
    }
}

/// Which file a path leads to: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId(u64, u64);

impl FileId {
    /// Of text that is in no file.
    pub(super) const NONE: Self = Self(0, 0);

    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

/// How a file is read: [`read`], or another way where a file is taken for what an edit would make of it.
pub(super) type ReadFile<'r> = &'r dyn Fn(&Path) -> io::Result<(File, FileId)>;

/// Reads a regular file of at most [`MAX_FILE_SIZE`] bytes; never waits for a FIFO or a device.
pub(super) fn read(path: &Path) -> io::Result<(File, FileId)> {
    let (bytes, metadata) = read_bytes(path)?;
    Ok((File::from_bytes(path, bytes), FileId::of(&metadata)))
}

/// [`read`], byte for byte.
pub(super) fn read_bytes(path: &Path) -> io::Result<(Vec<u8>, fs::Metadata)> {
    // Asked before it is opened: to open a device can already do something.
    check_regular(&fs::metadata(path).map_err(|error| dangling(path).unwrap_or(error))?)?;
    let opened = OpenOptions::new().read(true).custom_flags(O_NONBLOCK | O_NOCTTY).open(path)?;
    let metadata = opened.metadata()?;
    check_regular(&metadata)?;
    let mut bytes = Vec::new();
    opened.take(MAX_FILE_SIZE + 1).read_to_end(&mut bytes)?;
    check_size(bytes.len() as u64)?;
    Ok((bytes, metadata))
}

pub(super) fn check_size(bytes: u64) -> io::Result<()> {
    if bytes > MAX_FILE_SIZE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 4 MiB, so hardly a configuration"));
    }
    Ok(())
}

/// A symlink is there and its file is not: who looks for the missing file sees it, and wonders.
fn dangling(path: &Path) -> Option<io::Error> {
    if fs::exists(path).is_ok_and(|exists| !exists) {
        let target = fs::read_link(path).ok()?;
        let what = format!("it is a symlink to {}, which is missing", printable_path(&target));
        return Some(io::Error::new(io::ErrorKind::NotFound, what));
    }
    None
}

fn check_regular(metadata: &fs::Metadata) -> io::Result<()> {
    if metadata.is_dir() {
        Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"))
    } else if !metadata.is_file() {
        let kind = metadata.file_type();
        let what = match () {
            () if kind.is_fifo() => "a pipe",
            () if kind.is_socket() => "a socket",
            () => "a device",
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is no regular file but {what}")))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(files: &[(&str, &str)]) -> Sources {
        let mut sources = Sources::new(Path::new("main.toml"));
        sources.files = files.iter().map(|(path, text)| Arc::new(File::new(path, text))).collect();
        sources
    }

    #[test]
    fn a_file_that_lost_all_its_text_is_found_and_one_that_never_had_any_is_not() {
        let before = sources(&[("main.toml", "a"), ("b.toml", "b"), ("c.toml", "")]);
        let after = sources(&[("main.toml", "a"), ("b.toml", ""), ("c.toml", ""), ("new.toml", "")]);
        assert_eq!(after.emptied_since(&before), Some(Path::new("b.toml")));
        assert_eq!(before.emptied_since(&before), None);
        assert_eq!(sources(&[("main.toml", "a")]).emptied_since(&before), None, "a file that is gone is not empty");
    }

    #[test]
    fn a_byte_order_mark_is_dropped_and_offsets_count_without_it() {
        let file = File::from_bytes(Path::new("x"), b"\xef\xbb\xbfa = \xff".to_vec());
        assert_eq!((file.text.as_str(), file.broken_at), ("a = \u{fffd}", Some(4)));
    }

    #[test]
    fn what_is_no_regular_file_is_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [folder.path(), &pipe, Path::new("/dev/zero")] {
            assert!(read(path).is_err(), "{}", path.display());
        }
    }

    #[test]
    fn a_file_of_more_than_4_mib_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        fs::write(&path, vec![b'#'; MAX_FILE_SIZE as usize]).unwrap();
        assert_eq!(read(&path).unwrap().0.text.len() as u64, MAX_FILE_SIZE);
        fs::write(&path, vec![b'#'; MAX_FILE_SIZE as usize + 1]).unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
