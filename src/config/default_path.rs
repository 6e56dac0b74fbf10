//! Which file is meant when none is named.

use std::{
    env,
    path::{Path, PathBuf},
};

const SYSTEM: &str = "/etc/p2ptun.toml";
const NAME: &str = "p2ptun.toml";

/// The configuration file: `given` on the command line or by `P2PTUN_CONFIG`, else, for users other than root,
/// `$XDG_CONFIG_HOME/p2ptun.toml` (`~/.config/p2ptun.toml`) if there is one, else `/etc/p2ptun.toml`.
pub fn default_path(given: Option<&Path>) -> PathBuf {
    // `P2PTUN_CONFIG=` in an environment file means that it is not set.
    if let Some(path) = given.filter(|path| !path.as_os_str().is_empty()) {
        return path.to_owned();
    }
    let variable = |name| env::var_os(name).map(PathBuf::from);
    let own = if nix::unistd::geteuid().is_root() { None } else { own(variable("XDG_CONFIG_HOME"), variable("HOME")) };
    own.filter(|path| path.exists()).unwrap_or_else(|| SYSTEM.into())
}

/// The file of a user. The XDG base directory specification wants relative paths to be ignored.
fn own(config_home: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    let usable = |path: &PathBuf| path.is_absolute();
    let folder = config_home.filter(usable).or_else(|| Some(home.filter(usable)?.join(".config")))?;
    Some(folder.join(NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_given_is_taken_whether_or_not_it_exists() {
        assert_eq!(default_path(Some(Path::new("nowhere.toml"))), Path::new("nowhere.toml"));
        assert_ne!(default_path(Some(Path::new(""))), Path::new(""));
    }

    #[test]
    fn the_file_of_a_user_lies_in_the_configuration_folder() {
        let path = |config: Option<&str>, home: Option<&str>| own(config.map(Into::into), home.map(Into::into));
        assert_eq!(path(Some("/c"), Some("/h")), Some("/c/p2ptun.toml".into()));
        assert_eq!(path(None, Some("/h")), Some("/h/.config/p2ptun.toml".into()));
        assert_eq!(path(Some("relative"), Some("/h")), Some("/h/.config/p2ptun.toml".into()));
        assert_eq!(path(None, None), None);
    }
}
