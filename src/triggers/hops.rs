//! From a path to where it leads, symlink by symlink.

use std::{
    ffi::OsString,
    fs, iter,
    path::{Path, PathBuf},
};

/// As many as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Follows the absolute `path` as the kernel would, through symlinks in any of its components, and returns where it
/// leads; where a component is missing, the path of that one.
///
/// `watch` is called with every directory in which a change could make `path` lead elsewhere: the one that holds the
/// file, those that hold the symlinks on the way, and the one in which a component is missing. It is called before the
/// entry is looked at, so what changes later is seen.
pub(super) fn follow(path: &Path, mut watch: impl FnMut(&Path)) -> PathBuf {
    let mut here = PathBuf::from("/");
    let mut ahead: Vec<OsString> = backwards(path).collect();
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        if name == ".." {
            here.pop();
            continue;
        }
        // For the root this is the root.
        let next = here.join(name);
        if ahead.is_empty() || !is_there(&next) || next.is_symlink() {
            watch(&here);
        }
        match fs::read_link(&next) {
            Ok(target) if links < MAX_LINKS => {
                links += 1;
                ahead.extend(backwards(&target));
            }
            _ if is_there(&next) => here = next,
            _ => return next,
        }
    }
    here
}

/// Whether there is anything at `path`, be it a symlink to nowhere.
fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// The components of `path`, the last one first; `..` stays, for it means what it means only once links are followed.
fn backwards(path: &Path) -> impl Iterator<Item = OsString> {
    let mut components = path.components();
    iter::from_fn(move || components.next_back().map(|component| component.as_os_str().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, os::unix::fs::symlink};

    use super::*;

    /// Where `path` leads and what is watched for it, both relative to `root`.
    fn followed(root: &Path, path: &str) -> (String, Vec<String>) {
        let relative = |path: &Path| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let mut watched = BTreeSet::new();
        let end = follow(&root.join(path), |directory| {
            watched.insert(relative(directory));
        });
        (relative(&end), watched.into_iter().collect())
    }

    fn root() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        (directory, root)
    }

    fn expected(end: &str, watched: &[&str]) -> (String, Vec<String>) {
        (end.into(), watched.iter().map(|&path| path.into()).collect())
    }

    #[test]
    fn a_plain_file_is_watched_in_its_directory() {
        let (_directory, root) = root();
        fs::create_dir(root.join("etc")).unwrap();
        fs::write(root.join("etc/p2ptun.toml"), "").unwrap();
        assert_eq!(followed(&root, "etc/p2ptun.toml"), expected("etc/p2ptun.toml", &["etc"]));
    }

    #[test]
    fn every_link_of_a_config_map_is_watched() {
        let (_directory, root) = root();
        fs::create_dir_all(root.join("map/..1")).unwrap();
        fs::write(root.join("map/..1/p2ptun.toml"), "").unwrap();
        symlink("..1", root.join("map/..data")).unwrap();
        symlink("..data/p2ptun.toml", root.join("map/p2ptun.toml")).unwrap();
        assert_eq!(followed(&root, "map/p2ptun.toml"), expected("map/..1/p2ptun.toml", &["map", "map/..1"]));
    }

    #[test]
    fn links_among_the_directories_are_watched_as_on_nixos() {
        let (_directory, root) = root();
        fs::create_dir_all(root.join("store/one")).unwrap();
        fs::create_dir(root.join("etc")).unwrap();
        fs::write(root.join("store/one/p2ptun.toml"), "").unwrap();
        symlink(root.join("store/one"), root.join("etc/static")).unwrap();
        symlink("./static/../one/p2ptun.toml", root.join("etc/p2ptun.toml")).unwrap();
        assert_eq!(followed(&root, "etc/p2ptun.toml"), expected("store/one/p2ptun.toml", &["etc", "store/one"]));
    }

    #[test]
    fn where_something_is_missing_the_nearest_directory_is_watched() {
        let (_directory, root) = root();
        fs::create_dir(root.join("etc")).unwrap();
        assert_eq!(followed(&root, "etc/p2ptun.d/a.toml"), expected("etc/p2ptun.d", &["etc"]));
        symlink("nowhere/at/all", root.join("etc/p2ptun.toml")).unwrap();
        assert_eq!(followed(&root, "etc/p2ptun.toml"), expected("etc/nowhere", &["etc"]));
    }

    #[test]
    fn links_in_a_circle_come_to_an_end() {
        let (_directory, root) = root();
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        let (_, watched) = followed(&root, "a");
        assert_eq!(watched, [""]);
    }
}
