//! Where the identity is kept when the file names no place.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;

use super::IdentityError;

const FILE: &str = "identity.key";

/// A systemd credential if there is one, else the service's state directory, else that of the user.
pub fn default_path() -> Result<PathBuf, IdentityError> {
    place(|name| env::var_os(name), env::home_dir(), geteuid().is_root()).ok_or(IdentityError::NoPlace)
}

/// Whether systemd put `path` where it is.
pub(super) fn is_credential(path: &Path) -> bool {
    env::var_os("CREDENTIALS_DIRECTORY").is_some_and(|directory| path.starts_with(directory))
}

fn place(variable: impl Fn(&str) -> Option<OsString>, home: Option<PathBuf>, is_root: bool) -> Option<PathBuf> {
    let directory = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    // A credential that cannot be looked at counts: to make another identity instead would be a surprise.
    let credential = directory("CREDENTIALS_DIRECTORY")
        .map(|directory| directory.join(FILE))
        .filter(|path| path.try_exists().unwrap_or(true));
    // systemd lists several directories with colons between them.
    let state = || {
        let list = variable("STATE_DIRECTORY")?;
        env::split_paths(&list).find(|path| path.is_absolute())
    };
    let of_root = || is_root.then(|| PathBuf::from("/var/lib/p2ptun"));
    let of_user = || {
        let state = directory("XDG_STATE_HOME").or_else(|| Some(home?.join(".local/state")))?;
        Some(state.join("p2ptun"))
    };
    credential.or_else(|| state().or_else(of_root).or_else(of_user).map(|directory| directory.join(FILE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place_with(variables: &[(&str, &str)], is_root: bool) -> Option<PathBuf> {
        let variable = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
        place(variable, Some("/home/me".into()), is_root)
    }

    #[test]
    fn a_credential_counts_only_where_it_exists() {
        let directory = tempfile::tempdir().unwrap();
        let variables = [("CREDENTIALS_DIRECTORY", directory.path().to_str().unwrap()), ("STATE_DIRECTORY", "/state")];
        assert_eq!(place_with(&variables, true), Some("/state/identity.key".into()));
        let key = directory.path().join(FILE);
        std::fs::write(&key, "").unwrap();
        assert_eq!(place_with(&variables, true), Some(key));
    }

    #[test]
    fn the_state_directory_goes_before_those_of_root_and_user() {
        assert_eq!(place_with(&[("STATE_DIRECTORY", "/a:/b")], false), Some("/a/identity.key".into()));
        assert_eq!(place_with(&[("XDG_STATE_HOME", "/x")], true), Some("/var/lib/p2ptun/identity.key".into()));
        assert_eq!(place_with(&[("XDG_STATE_HOME", "/x")], false), Some("/x/p2ptun/identity.key".into()));
        assert_eq!(place_with(&[], false), Some("/home/me/.local/state/p2ptun/identity.key".into()));
    }

    #[test]
    fn without_a_home_there_is_no_place() {
        assert_eq!(place(|_| None, None, false), None);
    }
}
