//! How a command ends: an exit code, and words where it did not do what was asked.

use crate::{
    config::{Reason, Refused},
    control::{ClientError, SocketError},
    node::identity::IdentityError,
};

/// How a command ends; the numbers are those of sysexits(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Ok = 0,
    /// `status --check`: a declared tunnel is not ready, or the file was refused.
    NotReady = 3,
    Usage = 64,
    NoInput = 66,
    Unavailable = 69,
    Os = 71,
    CannotCreate = 73,
    Permission = 77,
    Config = 78,
}

impl From<&Refused> for Exit {
    fn from(refused: &Refused) -> Self {
        match refused.reason {
            Reason::Unreadable(_) => Exit::NoInput,
            Reason::Invalid(_) => Exit::Config,
        }
    }
}

/// Why a command did not do what was asked, in words for the person who asked.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        let exit = match error {
            IdentityError::Missing(_) => Exit::NoInput,
            IdentityError::InUse(_) => Exit::Unavailable,
            IdentityError::NoPlace | IdentityError::CannotCreate { .. } => Exit::CannotCreate,
            IdentityError::Unreadable { .. } | IdentityError::TooOpen(_) => Exit::Permission,
            IdentityError::NotAFile { .. } | IdentityError::Malformed { .. } => Exit::Config,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = match error {
            ClientError::NoService(_)
            | ClientError::NoAnswer { .. }
            | ClientError::BrokenOff { .. }
            | ClientError::NotDone { .. }
            | ClientError::Unexpected { .. } => Exit::Unavailable,
            ClientError::NoAccess { .. } => Exit::Permission,
            ClientError::Refused(_) => Exit::Config,
            ClientError::NoSuchStream(_) => Exit::NoInput,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<SocketError> for Failure {
    fn from(error: SocketError) -> Self {
        let exit = match error {
            SocketError::InUse(_) => Exit::Unavailable,
            SocketError::NotASocket(_) | SocketError::Untrusted(_) | SocketError::CannotCreate { .. } => {
                Exit::CannotCreate
            }
        };
        Self::new(exit, error.to_string())
    }
}
