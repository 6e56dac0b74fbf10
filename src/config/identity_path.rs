//! Where a configuration keeps the node's key, whatever else is wrong with it.

use std::path::{Path, PathBuf};

use super::{Reason, Refused, load};

/// The `identity` of `[node]` in the file at `path`, absolute; `None` where it names none.
///
/// A file that is not finished will do: two machines whose files name each other need each other's id first.
///
/// # Errors
///
/// Where the file can't be read, or is no TOML, or `identity` is no text.
pub fn identity_path(path: &Path) -> Result<Option<PathBuf>, Refused> {
    let refused = match load(path) {
        Ok(loaded) => return Ok(loaded.desired.node.identity),
        Err(refused) => refused,
    };
    match &refused.reason {
        Reason::Invalid(_) => named_in(path, &refused).ok_or(refused),
        Reason::Unreadable(_) => Err(refused),
    }
}

fn named_in(path: &Path, refused: &Refused) -> Option<Option<PathBuf>> {
    let (_, text) = refused.sources.files().next()?;
    let file: toml::Table = text.parse().ok()?;
    let Some(node) = file.get("node") else { return Some(None) };
    let Some(identity) = node.as_table()?.get("identity") else { return Some(None) };
    let identity = path.parent()?.join(identity.as_str()?);
    std::path::absolute(identity).ok().map(Some)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn found(text: &str) -> Option<Option<PathBuf>> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("p2ptun.toml");
        fs::write(&file, text).unwrap();
        let identity = identity_path(&file).ok()?;
        Some(identity.map(|path| path.strip_prefix(folder.path()).unwrap_or(&path).to_owned()))
    }

    #[test]
    fn the_identity_is_found_in_a_file_that_is_not_finished() {
        let unfinished = "[node]\nidentity = \"my.key\"\n[peers.home]\nid = \"not known yet\"\n";
        assert_eq!(found(unfinished), Some(Some("my.key".into())));
        assert_eq!(found("[node]\nidentity = \"/var/my.key\"\n"), Some(Some("/var/my.key".into())));
        assert_eq!(found("[peers.home]\n"), Some(None));
        assert_eq!(found(""), Some(None));
    }

    #[test]
    fn where_the_identity_can_not_be_made_out_the_file_is_refused() {
        assert_eq!(found("[node\nidentity = \"my.key\"\n"), None);
        assert_eq!(found("[node]\nidentity = 5\n"), None);
    }
}
