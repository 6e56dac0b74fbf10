//! `p2ptun man`: the pages of the manual, made of what `--help` says and of the reference of the file.

use clap::{Args, ValueEnum};

use super::terminal::print;
use crate::commands::outcome::{Exit, Failure};

mod p2ptun_1;
mod p2ptun_toml_5;
mod page;

/// When the text of the pages was last worked on, as the head of a page tells it.
const DATE: &str = "2026-11-21";

#[derive(Debug, Args)]
pub struct Man {
    /// Which page
    #[arg(value_enum, default_value_t = Which::Commands)]
    page: Which,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    /// The command line
    #[value(name = "p2ptun.1")]
    Commands,
    /// The configuration file
    #[value(name = "p2ptun.toml.5")]
    File,
}

impl Man {
    /// Prints the page; that of the command line is about `program`.
    pub fn run(self, program: clap::Command) -> Result<Exit, Failure> {
        print(&match self.page {
            Which::Commands => p2ptun_1::page(program),
            Which::File => p2ptun_toml_5::page(),
        })?;
        Ok(Exit::Ok)
    }
}
