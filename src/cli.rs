//! The command line: what can be asked, and the exit codes that answer.

use std::{io::Write, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::commands::{self, global::Global, outcome::Exit};

/// Keeps libp2p tunnels exactly as a TOML file declares them.
#[derive(Debug, Parser)]
#[command(name = "p2ptun", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
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
    /// Let peers reach a local service, until Ctrl-C; or save that into the file
    Listen(commands::listen::Listen),
    /// Reach the service of a peer, until Ctrl-C; or save that into the file
    Forward(commands::forward::Forward),
    /// Take a tunnel out of the file
    Remove(commands::remove::Remove),
    /// Show two nodes at work on this machine, without root and without a network
    Demo(commands::demo::Demo),
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
        Command::Listen(command) => command.run(&cli.global),
        Command::Forward(command) => command.run(&cli.global),
        Command::Remove(command) => command.run(&cli.global),
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
