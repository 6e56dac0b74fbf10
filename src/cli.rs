//! The command line: what can be asked, and the exit codes that answer.

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::{
    commands,
    config::{Reason, Refused},
    control::{ClientError, SocketError},
    node::identity::IdentityError,
};

/// Keeps libp2p tunnels exactly as a TOML file declares them.
#[derive(Debug, Parser)]
#[command(name = "p2ptun", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command understands.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// The configuration file [env: P2PTUN_CONFIG] [default: /etc/p2ptun.toml]
    #[arg(short, long, global = true, value_name = "PATH")]
    config: Option<PathBuf>,
    /// The control socket of the service [env: P2PTUN_SOCKET] [default: see p2ptun(1)]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl Global {
    /// The configuration file, if one is named.
    pub fn config(&self) -> Option<PathBuf> {
        self.config.clone().or_else(|| variable("P2PTUN_CONFIG"))
    }

    /// The control socket, if one is named.
    pub fn socket(&self) -> Option<PathBuf> {
        self.socket.clone().or_else(|| variable("P2PTUN_SOCKET"))
    }

    /// Whether the command line itself names the control socket.
    pub fn is_socket_given(&self) -> bool {
        self.socket.is_some()
    }
}

/// The path in the variable `name`. An empty one, as an environment file may hold it, names nothing.
fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service in the foreground
    Run(commands::run::Run),
    /// Validate the configuration and show every problem
    Check(commands::check::Check),
    /// Have the service read its configuration again; returns when the new set is applied
    Reload(commands::reload::Reload),
    /// Show what the service is doing
    Status(commands::status::Status),
    /// Show the peer id of this node
    Id(commands::id::Id),
    /// Show two nodes at work on this machine, without root and without a network
    Demo(commands::demo::Demo),
}

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

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let asked_for = !error.use_stderr();
            // Where help cannot be printed there is nowhere left to say so.
            let _ = error.print();
            return code(if asked_for { Exit::Ok } else { Exit::Usage });
        }
    };
    let outcome = match cli.command {
        Command::Run(command) => command.run(&cli.global),
        Command::Check(command) => command.run(&cli.global),
        Command::Reload(command) => command.run(&cli.global),
        Command::Status(command) => command.run(&cli.global),
        Command::Id(command) => command.run(&cli.global),
        Command::Demo(command) => command.run(&cli.global),
    };
    match outcome {
        Ok(exit) => code(exit),
        Err(failure) => {
            // Where nobody listens, the exit code still tells.
            let message = commands::terminal::clean_lines(&failure.message, "");
            let _ = writeln!(anstream::stderr(), "p2ptun: {message}");
            code(failure.exit)
        }
    }
}

fn code(exit: Exit) -> ExitCode {
    ExitCode::from(exit as u8)
}
