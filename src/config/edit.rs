//! A tunnel into the file, and out of it: the one place that writes a configuration.
//!
//! The result is validated, includes and all, before a byte is written. Who edits holds a lock on the file's folder, so
//! that edits at the same time follow one another; what an editor saves meanwhile is noticed, and the edit begins anew.
//! That comparison also has to do where the lock can't be had.

use std::{
    fmt, io,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use super::{
    Loaded, Refused, argument::Declaration, diagnostics::nearest, load, load_by, printable::quoted, printable_path,
};
use crate::spec::{Desired, TunnelName};

mod replace;
mod text;

use replace::{Held, Replaced};
use text::Lines;

/// How often to begin anew where somebody else is faster.
const ATTEMPTS: usize = 10;

/// What an edit did.
#[derive(Debug)]
pub struct Edited {
    /// The file that was written, symlinks resolved.
    pub file: PathBuf,
    /// Whether there was none before.
    pub is_new: bool,
    /// What could not be kept of the old file, a sentence each.
    pub losses: Vec<String>,
    /// The configuration as it is now.
    pub loaded: Loaded,
}

/// Why a file was not edited. It is as it was.
#[derive(Debug)]
pub enum EditError {
    /// What is there is broken.
    Refused(Refused),
    /// What is there would be broken by the new tunnel.
    WouldBreak(Refused),
    NameTaken {
        name: String,
        by: String,
        /// File and line.
        at: Option<(PathBuf, usize)>,
    },
    NoSuchTunnel {
        name: String,
        main: PathBuf,
        meant: Option<String>,
    },
    CannotWrite {
        file: PathBuf,
        why: String,
        by_hand: ByHand,
    },
}

/// What a person can do where this program can't.
#[derive(Debug)]
pub enum ByHand {
    Add(String),
    /// Lines, counted from 1.
    TakeOut(Vec<RangeInclusive<usize>>),
}

/// Writes `tunnel` into the main file at `path`, which is made if its folder is there.
///
/// # Errors
///
/// Where the name is taken or anything else is wrong with the result, and where the file can't be written.
pub fn save(path: &Path, tunnel: &Declaration) -> Result<Edited, EditError> {
    let cannot = |file: &Path, why: String| EditError::CannotWrite {
        file: file.to_owned(),
        why,
        by_hand: ByHand::Add(tunnel.table()),
    };
    let mut existed = false;
    for _ in 0..ATTEMPTS {
        let held = Held::new(path).map_err(|error| cannot(path, error.to_string()))?;
        let cannot = |why| cannot(held.real(), why);
        if std::mem::replace(&mut existed, !held.is_new()) && held.is_new() {
            return Err(cannot("somebody has just removed it".to_owned()));
        }
        let before = load_held(path, &held, held.bytes())?;
        if let Some((name, taken)) = before.desired.tunnels.iter().find(|(name, _)| name.as_str() == tunnel.name()) {
            let at = place(&before, &taken.kind().to_string(), name.as_str());
            let at = at.map(|(file, lines)| (file, lines.first));
            return Err(EditError::NameTaken { name: name.to_string(), by: format!("[{}.{name}]", taken.kind()), at });
        }
        let added =
            text::add(&String::from_utf8_lossy(held.bytes()), tunnel).map_err(|error| cannot(error.to_string()))?;
        let after = load_held(path, &held, added.as_bytes()).map_err(EditError::WouldBreak)?;
        let name = TunnelName::try_from(tunnel.name()).ok();
        let mut expected = before.desired;
        expected.tunnels.extend(name.and_then(|name| Some((name.clone(), after.desired.tunnels.get(&name)?.clone()))));
        if let Some(edited) = put(&held, &added, &expected, after).map_err(|why| cannot(why.to_string()))? {
            return Ok(edited);
        }
    }
    Err(cannot(path, BUSY.to_owned()))
}

/// Takes the tunnel `name` out of the file that holds it: the main one at `path`, or one that it includes.
///
/// # Errors
///
/// Where there is none, where the configuration is broken, and where the file can't be written.
pub fn remove(path: &Path, name: &str) -> Result<Edited, EditError> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let Place { file, kind, lines } = find(path, name)?;
        let cannot = |file: &Path, why: String| EditError::CannotWrite {
            file: file.to_owned(),
            why,
            by_hand: ByHand::TakeOut(lines.clone()),
        };
        let held = Held::new(&file).map_err(|error| cannot(&file, error.to_string()))?;
        let cannot = |why| cannot(held.real(), why);
        let mut expected = load_held(path, &held, held.bytes())?.desired;
        let text = String::from_utf8_lossy(held.bytes());
        let removed = text::remove(&text, &kind, name).map_err(|error| cannot(error.to_string()))?;
        // It was there a moment ago.
        if let Some(removed) = removed {
            // Of a tunnel that is gone nothing can be wrong: what is, is the cut.
            let after = load_held(path, &held, removed.as_bytes()).map_err(|_| cannot(ENTANGLED.to_owned()))?;
            expected.tunnels.retain(|tunnel, _| tunnel.as_str() != name);
            if let Some(edited) = put(&held, &removed, &expected, after).map_err(|why| cannot(why.to_string()))? {
                return Ok(edited);
            }
        }
        last = Some(cannot(BUSY.to_owned()));
    }
    Err(last.unwrap_or_else(|| no_such_tunnel(path, name, &Desired::default())))
}

const BUSY: &str = "other programs change it again and again";
const ENTANGLED: &str = "it is written in a way in which an edit would change more than this tunnel";

/// Where a tunnel is declared.
struct Place {
    file: PathBuf,
    kind: String,
    lines: Vec<RangeInclusive<usize>>,
}

fn find(path: &Path, name: &str) -> Result<Place, EditError> {
    let loaded = load(path)?;
    let declared = loaded.desired.tunnels.iter().find(|(tunnel, _)| tunnel.as_str() == name);
    let Some((_, tunnel)) = declared else { return Err(no_such_tunnel(path, name, &loaded.desired)) };
    let kind = tunnel.kind().to_string();
    let (file, lines) = place(&loaded, &kind, name).ok_or_else(|| no_such_tunnel(path, name, &loaded.desired))?;
    Ok(Place { file, kind, lines: lines.all })
}

/// The file that holds a tunnel, and where it stands in it.
fn place(loaded: &Loaded, kind: &str, name: &str) -> Option<(PathBuf, Lines)> {
    let mut files = loaded.sources.files();
    files.find_map(|(file, text)| Some((file.to_owned(), text::lines_of(text, kind, name)?)))
}

fn no_such_tunnel(main: &Path, name: &str, desired: &Desired) -> EditError {
    let meant = nearest(name, desired.tunnels.keys().map(TunnelName::as_str)).map(str::to_owned);
    EditError::NoSuchTunnel { name: name.to_owned(), main: main.to_owned(), meant }
}

/// Loads the configuration at `main` as if the file held `bytes`.
fn load_held(main: &Path, held: &Held, bytes: &[u8]) -> Result<Loaded, Refused> {
    load_by(main, &|path| held.read_with(bytes, path))
}

/// Writes `text` if it says what is expected. `None`: somebody else was faster.
fn put(held: &Held, text: &str, expected: &Desired, after: Loaded) -> io::Result<Option<Edited>> {
    if after.desired != *expected {
        return Err(io::Error::other(ENTANGLED));
    }
    Ok(match held.replace(text)? {
        Replaced::Overtaken => None,
        Replaced::Done(losses) => {
            Some(Edited { file: held.real().to_owned(), is_new: held.is_new(), losses, loaded: after })
        }
    })
}

impl From<Refused> for EditError {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) | Self::WouldBreak(refused) => refused.fmt(f),
            Self::NameTaken { name, by, at } => {
                write!(f, "the name {} is taken by {by}", quoted(name))?;
                if let Some((file, line)) = at {
                    write!(f, " at {}:{line}", printable_path(file))?;
                }
                write!(f, "; choose another, or `p2ptun remove {name}` first")
            }
            Self::NoSuchTunnel { name, main, meant } => {
                write!(f, "{} and what it includes hold no tunnel {}", printable_path(main), quoted(name))?;
                match meant {
                    Some(meant) => write!(f, "; did you mean {}?", quoted(meant)),
                    None => Ok(()),
                }
            }
            Self::CannotWrite { file, why, by_hand } => {
                let shown = printable_path(file);
                writeln!(f, "can't write {shown}: {why}")?;
                if let Some(remedy) = remedy(file) {
                    writeln!(f, "{remedy}")?;
                }
                match by_hand {
                    ByHand::Add(table) => write!(f, "Nothing was saved. To be added by hand:\n\n{}", table.trim_end()),
                    ByHand::TakeOut(lines) => {
                        writeln!(f, "Nothing was removed. To be taken out by hand:")?;
                        for lines in lines {
                            write!(f, "\n{shown}:{}", lines.start())?;
                            if lines.end() > lines.start() {
                                write!(f, "-{}", lines.end())?;
                            }
                        }
                        Ok(())
                    }
                }
            }
        }
    }
}

impl std::error::Error for EditError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(refused) | Self::WouldBreak(refused) => Some(refused),
            Self::NameTaken { .. } | Self::NoSuchTunnel { .. } | Self::CannotWrite { .. } => None,
        }
    }
}

/// What is known of files that a program made.
fn remedy(file: &Path) -> Option<&'static str> {
    if file.starts_with("/nix/store") {
        return Some(
            "It is part of the Nix store: declare the tunnel where the file is made from, such as \
             `services.p2ptun.settings` of a NixOS configuration.",
        );
    }
    file.starts_with("/gnu/store").then_some("It is part of the Guix store: change what the file is made from.")
}

#[cfg(test)]
mod tests;
