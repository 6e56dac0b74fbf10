//! Names of tunnels and peers.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// Declares a name type: short, lower case, safe in logs, file names and unit names.
macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = InvalidName;

            fn try_from(text: &str) -> Result<Self, InvalidName> {
                check_name(text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::try_from(text.as_str())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name_type! {
    /// The name of a tunnel, unique across all kinds of tunnel.
    ///
    /// ```
    /// use p2ptun::spec::TunnelName;
    /// assert_eq!(TunnelName::try_from("home-ssh")?.as_str(), "home-ssh");
    /// assert!(TunnelName::try_from("Home SSH").is_err());
    /// # Ok::<(), p2ptun::spec::InvalidName>(())
    /// ```
    TunnelName
}
name_type! {
    /// The name that the file gives to a peer.
    PeerName
}

/// A name that does not match `[a-z0-9][a-z0-9_-]{0,62}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name is 1 to 63 characters of a-z, 0-9, '_' and '-', and begins with a letter or a digit")]
pub struct InvalidName;

fn check_name(text: &str) -> Result<(), InvalidName> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut bytes = text.bytes();
    let begins_well = bytes.next().is_some_and(plain);
    let goes_on_well = bytes.all(|b| plain(b) || b == b'_' || b == b'-');
    if begins_well && goes_on_well && text.len() <= 63 { Ok(()) } else { Err(InvalidName) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_lower_case_and_at_most_63_characters() {
        for good in ["a", "0", "home-ssh", "a_b-c", &"x".repeat(63)] {
            assert!(TunnelName::try_from(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "_a", "A", "a b", "a.b", "ä", &"x".repeat(64)] {
            assert_eq!(TunnelName::try_from(bad), Err(InvalidName), "{bad}");
        }
    }
}
