//! That help helps: about every command, every option, every exit code.

use clap::{ArgAction, Command};

use super::*;
use crate::commands::manual::{ENTRIES, EXITS};

/// Every command that help shows, with its words after `p2ptun`.
fn commands() -> Vec<(String, Command)> {
    let mut program = program();
    program.build();
    let mut found = vec![(String::new(), program)];
    let mut next = 0;
    while let Some((path, command)) = found.get(next).cloned() {
        let children = command.get_subcommands().filter(|child| !child.is_hide_set() && child.get_name() != "help");
        found.extend(
            children.map(|child| (format!("{path} {}", child.get_name()).trim_start().to_owned(), child.clone())),
        );
        next += 1;
    }
    found
}

#[test]
fn every_command_is_in_the_manual_and_the_manual_knows_no_other() {
    let commands = commands();
    assert!(commands.len() > 8, "only {}", commands.len());
    for (path, command) in &commands {
        assert!(command.get_about().is_some(), "`p2ptun {path}` has no line of text");
        let entry = manual::entry(path);
        assert!(entry.is_some(), "commands/manual.rs has no entry for `p2ptun {path}`");
        let entry = entry.unwrap();
        assert!(!entry.examples.is_empty(), "`p2ptun {path}` has no example");
        assert!(path.is_empty() || !entry.exits.is_empty(), "`p2ptun {path}` has no exit codes");
    }
    for entry in ENTRIES {
        let count = commands.iter().filter(|(path, _)| path == entry.command).count();
        assert_eq!(count, 1, "an entry of commands/manual.rs for `p2ptun {}`", entry.command);
    }
}

#[test]
fn every_argument_says_what_it_is() {
    let mut seen = 0;
    for (path, command) in commands() {
        for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            let name = format!("`p2ptun {path}`: {arg}");
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(!help.is_empty(), "{name} says nothing of itself");
            assert!(!help.ends_with('.'), "{name} ends in a full stop, unlike the others: {help}");
            // Names of variables and defaults of paths are told by hand, for an empty variable counts as none.
            assert!(arg.get_env().is_none(), "{name} reads a variable by itself");
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen}");
}

#[test]
fn every_example_is_a_command_line_that_is_accepted() {
    let mut tried = 0;
    for entry in ENTRIES {
        for example in entry.examples {
            assert!(example.line.contains(format!("p2ptun {}", entry.command).trim_end()), "{}", example.line);
            for part in example.line.split(['|', '&', ';']) {
                let is_setting = |word: &&str| word.split_once('=').is_some_and(|(name, _)| !name.contains('-'));
                let words = part.split_whitespace().skip_while(is_setting).skip_while(|word| *word == "sudo");
                let words: Vec<_> = words.take_while(|word| !word.starts_with(['>', '<'])).collect();
                if words.first() == Some(&"p2ptun") {
                    let understood = program().try_get_matches_from(&words);
                    assert!(understood.is_ok(), "{}: {}", example.line, understood.unwrap_err());
                    tried += 1;
                }
            }
        }
    }
    assert!(tried >= ENTRIES.len(), "only {tried}");
}

#[test]
fn help_fits_eighty_columns_and_keeps_its_lines() {
    for (path, mut command) in commands() {
        let (short, long) = (command.render_help().to_string(), command.render_long_help().to_string());
        for line in short.lines().chain(long.lines()) {
            assert!(line.chars().count() <= 80, "`p2ptun {path} --help`: {line}");
        }
        // What is laid out by hand must not be wrapped.
        let footer = command.get_after_long_help().unwrap().to_string();
        assert!(long.contains(footer.trim_end()), "`p2ptun {path} --help` wraps:\n{footer}");
        assert!(long.len() > short.len(), "`p2ptun {path}`: --help says no more than -h");
    }
}

#[test]
fn commands_stand_in_the_order_of_the_manual() {
    let help = program().render_help().to_string();
    let shown = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let shown = shown.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    let shown: Vec<_> = shown.filter_map(|line| line.split(' ').next()).filter(|name| *name != "help").collect();
    let told: Vec<_> =
        ENTRIES.iter().map(|entry| entry.command).filter(|name| !name.is_empty() && !name.contains(' ')).collect();
    assert_eq!(shown, told);
    assert_eq!(told[..4], ["demo", "run", "check", "reload"]);
}

#[test]
fn every_exit_code_of_a_command_is_in_the_list_of_all() {
    for entry in ENTRIES {
        for (exit, _) in entry.exits {
            assert!(EXITS.iter().any(|(known, _)| known == exit), "`p2ptun {}`: {exit:?}", entry.command);
        }
    }
    assert!(EXITS.is_sorted_by_key(|(exit, _)| *exit as u8));
}

#[test]
fn flags_and_values_are_told_apart() {
    for (path, command) in commands() {
        for arg in command.get_arguments().filter(|arg| matches!(arg.get_action(), ArgAction::Set | ArgAction::Append))
        {
            let name =
                arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string).unwrap_or_default();
            assert!(name.chars().all(|c| c.is_ascii_uppercase() || c == '_'), "`p2ptun {path}`: {arg}: {name}");
        }
    }
}
