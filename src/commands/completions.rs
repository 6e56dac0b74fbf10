//! `p2ptun completions`: scripts by which shells complete command lines.

use clap::Args;
use clap_complete::Shell;

use super::terminal::print;
use crate::commands::outcome::{Exit, Failure};

#[derive(Debug, Args)]
pub struct Completions {
    /// The shell that is to read the script
    shell: Shell,
}

impl Completions {
    /// Prints the script for `program`.
    pub fn run(self, mut program: clap::Command) -> Result<Exit, Failure> {
        let name = program.get_name().to_owned();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut program, name, &mut script);
        let mut script = String::from_utf8_lossy(&script).into_owned();
        if self.shell == Shell::Fish {
            script.push_str(&words_for_fish(&program));
        }
        print(&script)?;
        Ok(Exit::Ok)
    }
}

/// What clap_complete leaves out for fish: the words that an argument without a name can be.
fn words_for_fish(program: &clap::Command) -> String {
    let name = program.get_name();
    let mut lines = String::new();
    for command in program.get_subcommands() {
        for arg in command.get_positionals() {
            let words = arg.get_possible_values();
            let words: Vec<_> = words.iter().map(|word| word.get_name()).collect();
            if !words.is_empty() {
                lines.push_str(&format!(
                    "complete -c {name} -n \"__fish_{name}_using_subcommand {}\" -f -a \"{}\"\n",
                    command.get_name(),
                    words.join(" ")
                ));
            }
        }
    }
    lines
}
