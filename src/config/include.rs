//! Following `include`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use glob::Pattern;

use super::{
    diagnostics::Wrong,
    printable::{quoted, toml_string},
    reason,
    section::{Section, Value},
    sources::{FileId, ReadFile, Sources, Wildcard},
    units,
};

/// Reads the files that `include` names into `sources`; whether all of them could be read.
///
/// Each file counts once, however many paths lead to it, and the main file, whose identity is `main`, never.
pub(super) fn follow(include: Value<'_>, main: FileId, read: ReadFile<'_>, sources: &mut Sources) -> bool {
    let base = folder_of(sources.main());
    let base_is_implied = sources.main().parent().is_none_or(|folder| folder.as_os_str().is_empty());
    let mut reader = Reader { base, base_is_implied, seen: vec![main], complete: true, read, sources };
    for item in include.items().unwrap_or_default() {
        match item.as_str() {
            Some(pattern) if is_wild(pattern) => reader.wildcard(&item, pattern),
            _ => reader.literal(&item),
        }
    }
    reader.complete
}

/// The folder that relative paths begin at: that of the path as given, symlinks unresolved.
fn folder_of(main: &Path) -> PathBuf {
    match main.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn is_wild(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

struct Reader<'s> {
    base: PathBuf,
    /// Whether `base` is the working directory because the main file is named without any: it is not shown then.
    base_is_implied: bool,
    seen: Vec<FileId>,
    complete: bool,
    read: ReadFile<'s>,
    sources: &'s mut Sources,
}

impl Reader<'_> {
    fn literal(&mut self, item: &Value<'_>) {
        match item.text(units::path) {
            None => self.complete = false,
            Some(path) => {
                let path = self.base.join(path);
                if let Err(error) = self.file(&path) {
                    let wrong = self.unread(&path, &error);
                    let all_in_it =
                        || toml_string(&format!("{}/*.toml", item.as_str().unwrap_or_default().trim_end_matches('/')));
                    item.note(match error.kind() {
                        io::ErrorKind::NotFound => wrong
                            .help("create it; files that may be missing are named by a pattern: \"p2ptun.d/*.toml\""),
                        io::ErrorKind::IsADirectory => wrong.help("did you mean all files in it?").instead(all_in_it()),
                        _ => wrong,
                    });
                }
            }
        }
    }

    fn wildcard(&mut self, item: &Value<'_>, written: &str) {
        let parts = match units::path(written).and_then(|_| parts(written)) {
            Ok(parts) => parts,
            Err(wrong) => {
                self.complete = false;
                return item.note(wrong);
            }
        };
        let mut search = Search::default();
        search.walk(&self.base, &parts);
        for (folder, error) in search.unread {
            item.note(self.unread(&folder, &error));
        }
        search.found.sort();
        for path in search.found {
            match self.file(&path) {
                Ok(()) => {}
                // It vanished between the look into the folder and now: as if the look had come later.
                Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(&path).is_err() => {}
                Err(error) => item.note(self.unread(&path, &error)),
            }
        }
        self.sources.wildcards.push(Wildcard { pattern: written.to_owned(), folders: search.folders });
    }

    fn file(&mut self, path: &Path) -> io::Result<()> {
        let path = if self.base_is_implied { path.strip_prefix(".").unwrap_or(path) } else { path };
        let (file, id) = (self.read)(path)?;
        if !self.seen.contains(&id) {
            self.seen.push(id);
            self.sources.files.push(Arc::new(file));
        }
        Ok(())
    }

    fn unread(&mut self, path: &Path, error: &io::Error) -> Wrong {
        self.complete = false;
        self.sources.unreadable.push((path.to_owned(), error.to_string()));
        let shown = if self.base_is_implied { path.strip_prefix(".").unwrap_or(path) } else { path };
        Wrong::new(format!("{} can't be read: {}", quoted(&shown.to_string_lossy()), reason(error)))
    }
}

/// One name in a path.
enum Part {
    Literal(String),
    Wild(Pattern),
}

fn parts(written: &str) -> Result<Vec<Part>, Wrong> {
    let wrong = |why: &str| Wrong::new(format!("{} is no pattern: {why}", quoted(written)));
    if written.contains("**") {
        return Err(
            wrong("`**` is not known here").help("`*` stands for any text within one name: write one for each folder")
        );
    }
    // An absolute pattern begins with an empty name, which as `/` replaces the base when it is joined.
    let part = |(index, name): (usize, &str)| match name {
        "" if index == 0 => Ok(Part::Literal("/".into())),
        name if is_wild(name) => Pattern::new(name).map(Part::Wild).map_err(|_| {
            wrong("a `[` is not closed").help("[a-z] stands for one letter, and [[] for the bracket itself")
        }),
        name => Ok(Part::Literal(name.into())),
    };
    written.split('/').enumerate().map(part).collect()
}

/// A walk through the folders in which files could match.
///
/// It is our own because that of the `glob` crate panics at names that are not UTF-8, and does not say where it has
/// been, which is where a new file could turn up.
#[derive(Default)]
struct Search {
    found: Vec<PathBuf>,
    folders: Vec<PathBuf>,
    unread: Vec<(PathBuf, io::Error)>,
}

impl Search {
    fn walk(&mut self, base: &Path, parts: &[Part]) {
        match parts {
            // Folders are the business of deeper patterns.
            [] => {
                if !base.is_dir() && fs::symlink_metadata(base).is_ok() {
                    self.found.push(base.to_owned());
                }
            }
            [Part::Literal(name), rest @ ..] => {
                // Below a wildcard even a file with a fixed name may come and go.
                if rest.is_empty() && base.is_dir() {
                    self.folders.push(base.to_owned());
                }
                self.walk(&base.join(name), rest);
            }
            [Part::Wild(pattern), rest @ ..] => {
                self.folders.push(base.to_owned());
                match names(base) {
                    Ok(names) => {
                        for name in names.filter(|name| is_match(pattern, name)) {
                            self.walk(&base.join(name), rest);
                        }
                    }
                    Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                    Err(error) => self.unread.push((base.to_owned(), error)),
                }
            }
        }
    }
}

fn names(folder: &Path) -> io::Result<impl Iterator<Item = std::ffi::OsString>> {
    let mut names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names.into_iter())
}

/// Hidden files never match: they are the business of editors and package managers.
fn is_match(pattern: &Pattern, name: &std::ffi::OsStr) -> bool {
    let name = name.to_string_lossy();
    !name.starts_with('.') && pattern.matches(&name)
}

/// Notes what belongs in the main file only.
pub(super) fn refuse_settings(included: &mut Section<'_>) {
    if let Some(include) = included.misplaced("include") {
        let wrong = Wrong::new("an included file can't include others");
        include.note_key(wrong.help("name them in the `include` of the main file"));
    }
    for key in ["watch", "node", "discovery", "nat", "relay_service", "metrics", "log"] {
        if let Some(setting) = included.misplaced(key) {
            let wrong = Wrong::new("belongs in the main file");
            setting.note_key(wrong.help("an included file holds peers and tunnels only"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(base: &Path, pattern: &str) -> Search {
        let mut search = Search::default();
        search.walk(base, &parts(pattern).unwrap());
        search
    }

    #[test]
    fn a_search_tells_every_folder_in_which_a_match_could_turn_up() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["a/x", "b/x", "c", ".hidden/x"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let below = |path: &str| root.path().join(path);
        let at = |pattern: &str| search(root.path(), pattern).folders;
        assert_eq!(at("*/x/*.toml"), [root.path().to_owned(), below("a/x"), below("b/x"), below("c/x")]);
        assert_eq!(at("*/f.toml"), [root.path().to_owned(), below("a"), below("b"), below("c")]);
        assert_eq!(at("none/*.toml"), [below("none")], "also where there is none yet");
        assert_eq!(at(&format!("{}/*", below("a").display())), [below("a")]);
    }

    #[test]
    fn names_that_are_not_utf_8_are_matched_too() {
        use std::os::unix::ffi::OsStrExt;
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9.toml"));
        fs::write(&path, "").unwrap();
        assert_eq!(search(root.path(), "*.toml").found, [path]);
    }

    #[test]
    fn a_malformed_pattern_is_refused() {
        assert!(parts("a/[").is_err());
        assert!(parts("a/**/b").is_err());
    }
}
