//! The command line: what can be asked, and the exit codes that answer.

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::{self, global::Global, manual, outcome::Exit};

#[cfg(test)]
mod tests;

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
    /// Show the live streams, or cut some
    Streams(commands::streams::Streams),
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
    /// Print a script that completes command lines in a shell
    Completions(commands::completions::Completions),
    /// Print a page of the manual, in roff
    Man(commands::man::Man),
}

/// The command line as a whole, with all that its help says.
fn program() -> clap::Command {
    manual::dress(Cli::command())
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let cli = match program().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches)) {
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
        Command::Streams(command) => command.run(&cli.global),
        Command::Id(command) => command.run(&cli.global),
        Command::Listen(command) => command.run(&cli.global),
        Command::Forward(command) => command.run(&cli.global),
        Command::Remove(command) => command.run(&cli.global),
        Command::Demo(command) => command.run(&cli.global),
        Command::Completions(command) => command.run(program()),
        Command::Man(command) => command.run(program()),
    };
    match outcome {
        Ok(exit) => code(exit),
        Err(failure) => {
            let message = commands::terminal::clean_lines(&failure.message, "");
            commands::terminal::complain(true, &format!("p2ptun: {message}\n"));
            code(failure.exit)
        }
    }
}

fn code(exit: Exit) -> ExitCode {
    ExitCode::from(exit as u8)
}
