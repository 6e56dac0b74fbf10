//! Following `include`.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use glob::MatchOptions;

use super::{
    diagnostics::Wrong,
    printable::quoted,
    section::{Section, Value},
    sources::{self, FileId, Pattern, Sources},
    units,
};

/// A leading dot must be written out, and `*` stays within a folder.
const MATCHING: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// Reads the files that `include` names into `sources`; whether all of them could be read.
///
/// Each file counts once, however many paths lead to it, and the main file, whose identity is `main`, never.
pub(super) fn follow(include: Value<'_>, main: FileId, sources: &mut Sources) -> bool {
    let mut followed = Followed { base: base(sources.main()), seen: vec![main], complete: true, sources };
    for item in include.items().unwrap_or_default() {
        match item.as_str() {
            Some(pattern) if pattern.contains(['*', '?', '[']) => followed.glob(&item, pattern),
            _ => {
                if let Some(path) = item.text(units::path) {
                    let path = followed.base.join(path);
                    followed.file(&item, &path, false);
                }
            }
        }
    }
    followed.complete
}

/// The folder that relative paths begin at: that of the path as given, symlinks unresolved.
fn base(main: &Path) -> PathBuf {
    main.parent().map(Path::to_owned).unwrap_or_default()
}

struct Followed<'s> {
    base: PathBuf,
    seen: Vec<FileId>,
    complete: bool,
    sources: &'s mut Sources,
}

impl Followed<'_> {
    fn glob(&mut self, item: &Value<'_>, written: &str) {
        let pattern = match self.pattern(written) {
            Ok(pattern) => pattern,
            Err(wrong) => {
                self.complete = false;
                return item.note(wrong);
            }
        };
        for path in matches(&pattern) {
            match path {
                Ok(path) if is_skipped(&path) => {}
                Ok(path) => self.file(item, &path, true),
                Err(error) => {
                    self.complete = false;
                    item.note(Wrong::new(format!(
                        "the folder {} can't be read: {}",
                        shown(error.path()),
                        error.error()
                    )));
                }
            }
        }
        self.sources.patterns.push(Pattern { folders: folders(&pattern), pattern });
    }

    /// The pattern with the folder of the main file, whose own name is no pattern, before it.
    fn pattern(&self, written: &str) -> Result<String, Wrong> {
        if let Err(error) = glob::Pattern::new(written) {
            let message = format!("{} is no pattern: {}", quoted(written), error.msg);
            return Err(Wrong::new(message)
                .help("`*`, `?`, `[a-z]` and `**` have a meaning here; to name such a character write `[*]`"));
        }
        if Path::new(written).is_absolute() || self.base.as_os_str().is_empty() {
            return Ok(written.to_owned());
        }
        let Some(base) = self.base.to_str() else {
            let message = format!("a pattern does not work below {}, whose name is not UTF-8", shown(&self.base));
            return Err(Wrong::new(message).help("name the files one by one, or move the configuration"));
        };
        Ok(format!("{}/{written}", glob::Pattern::escape(base.trim_end_matches('/'))))
    }

    fn file(&mut self, item: &Value<'_>, path: &Path, globbed: bool) {
        match sources::read(path) {
            Ok((_, id)) if self.seen.contains(&id) => {}
            Ok((file, id)) => {
                self.seen.push(id);
                self.sources.files.push(Arc::new(file));
            }
            // It vanished between the look into the folder and now: as if the look had come later.
            Err(error) if globbed && error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_err() => {
            }
            Err(error) => {
                self.complete = false;
                self.sources.unreadable.push((path.to_owned(), error.to_string()));
                let wrong = Wrong::new(format!("{} can't be read: {error}", shown(path)));
                item.note(match error.kind() {
                    io::ErrorKind::NotFound if !globbed => {
                        wrong.help("a file that may be missing is named by a pattern, such as \"p2ptun.d/*.toml\"")
                    }
                    _ => wrong,
                });
            }
        }
    }
}

/// Hidden files are the business of editors and package managers, folders that of deeper patterns.
fn is_skipped(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    hidden || path.is_dir()
}

fn matches(pattern: &str) -> impl Iterator<Item = glob::GlobResult> {
    // The pattern has been parsed before; one that fails nevertheless matches nothing.
    glob::glob_with(pattern, MATCHING).into_iter().flatten()
}

/// The folders whose contents decide what `pattern` matches: the one before the first wildcard, and all that match a
/// beginning of the pattern.
fn folders(pattern: &str) -> Vec<PathBuf> {
    let parts: Vec<Component<'_>> = Path::new(pattern).components().collect();
    let is_wild = |part: &Component<'_>| part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    // An escaped folder name, `[[]x]`, looks wild as well; to match it finds just that folder.
    let first = parts.iter().position(is_wild).unwrap_or(parts.len());
    let mut folders = Vec::new();
    for end in first..parts.len() {
        let beginning: PathBuf = parts[..end].iter().collect();
        if end == first {
            folders.push(if end == 0 { PathBuf::from(".") } else { beginning });
        } else {
            folders.extend(matches(&beginning.to_string_lossy()).flatten().filter(|path| path.is_dir()));
        }
    }
    folders
}

fn shown(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// Notes what belongs into the main file only.
pub(super) fn refuse_settings(included: &mut Section<'_>) {
    if let Some(include) = included.value("include") {
        let wrong = Wrong::new("an included file can't include others");
        include.note_key(wrong.help("name them in the `include` of the main file"));
    }
    for key in ["watch", "node", "discovery", "nat", "relay_service", "metrics", "log"] {
        if let Some(setting) = included.value(key) {
            let wrong = Wrong::new("belongs into the main file");
            setting.note_key(wrong.help("an included file holds peers and tunnels only"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_watched_in_every_folder_that_it_looks_into() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["a/x", "b/x", "c"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let below = |path: &str| root.path().join(path);
        let watched = folders(&format!("{}/*/x/*.toml", root.path().display()));
        assert_eq!(watched, [root.path().to_owned(), below("a"), below("b"), below("c"), below("a/x"), below("b/x")]);
        assert_eq!(folders("d/*.toml"), [PathBuf::from("d")], "also where there is none yet");
        assert_eq!(folders("*.toml"), [PathBuf::from(".")]);
    }
}
