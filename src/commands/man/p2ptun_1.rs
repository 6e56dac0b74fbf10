//! p2ptun(1): every command and option, as the command line itself knows them.

use clap::{Arg, ArgAction, Command};

use super::page::Page;
use crate::commands::{
    manual::{self, ENTRIES, ENVIRONMENT, EXITS, Entry, Example, FILES, Said},
    outcome::Exit,
};

pub(super) fn page(mut program: Command) -> String {
    program.build();
    let mut page = Page::new("p2ptun", "1", "keeps libp2p tunnels exactly as a file declares them");
    page.section("SYNOPSIS");
    page.paragraph("`p2ptun` [*OPTIONS*] *COMMAND*");
    page.section("DESCRIPTION");
    page.paragraphs(manual::entry("").map_or(&[], |entry| entry.details));
    page.paragraph(
        "What is to be kept up stands in one file, /etc/p2ptun.toml, which p2ptun.toml(5) describes. `p2ptun run` is the \
         service; most other commands ask it something, over a unix socket on this machine.",
    );
    page.section("COMMANDS");
    commands(&mut page, &program, "");
    page.section("OPTIONS");
    page.paragraph("Every command takes these, before its name or after it.");
    for arg in program.get_arguments().filter(|arg| is_common(arg)) {
        argument(&mut page, arg);
    }
    page.section("EXIT STATUS");
    page.paragraph("Those of sysexits(3), and 3. What a command means by its own stands with the command.");
    exits(&mut page, EXITS);
    page.section("ENVIRONMENT");
    said(&mut page, ENVIRONMENT);
    said(&mut page, MORE_ENVIRONMENT);
    page.paragraph("A variable that is empty counts as one that is not set.");
    page.section("FILES");
    said(&mut page, FILES);
    page.paragraphs(PLACES);
    page.section("SIGNALS");
    said(&mut page, SIGNALS);
    page.section("CONTROL SOCKET");
    page.paragraphs(CONTROL);
    for (request, answer) in REQUESTS {
        page.item(request, answer);
    }
    page.block("curl --unix-socket /run/p2ptun/control.sock http://p2ptun/v1/status");
    page.section("EXAMPLES");
    for entry in ENTRIES.iter().filter(|entry| entry.command.is_empty()) {
        examples(&mut page, entry);
    }
    page.section("SEE ALSO");
    page.paragraph("p2ptun.toml(5), ssh(1), curl(1), systemd.service(5)");
    page.render()
}

/// Every command below `parent`, whose words are `path`.
fn commands(page: &mut Page, parent: &Command, path: &str) {
    let mut commands: Vec<_> =
        parent.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help").collect();
    commands.sort_by_key(|command| command.get_display_order());
    for command in commands {
        let name = format!("{path} {}", command.get_name()).trim_start().to_owned();
        if command.get_subcommands().next().is_none() || !command.is_subcommand_required_set() {
            one_command(page, command, &name);
        }
        self::commands(page, command, &name);
    }
}

fn one_command(page: &mut Page, command: &Command, name: &str) {
    let own = || {
        let own = |is_positional| {
            command.get_arguments().filter(move |arg| !is_common(arg) && arg.is_positional() == is_positional)
        };
        own(false).chain(own(true))
    };
    let mut title = format!("p2ptun {name}");
    for arg in own() {
        title.push(' ');
        title.push_str(&shape(arg));
    }
    page.subsection(&title);
    page.paragraph(&format!("{}.", command.get_about().map(ToString::to_string).unwrap_or_default()));
    let entry = manual::entry(name);
    page.paragraphs(entry.map_or(&[], |entry| entry.details));
    for arg in own() {
        argument(page, arg);
    }
    if let Some(entry) = entry {
        page.paragraph("Exit status:");
        exits(page, entry.exits);
        examples(page, entry);
    }
}

/// Whether every command takes `arg`, so that it need not be told for each.
fn is_common(arg: &Arg) -> bool {
    use ArgAction::{Help, HelpLong, HelpShort, Version};
    arg.is_global_set() || matches!(arg.get_action(), Help | HelpLong | HelpShort | Version)
}

/// How `arg` stands in a synopsis.
fn shape(arg: &Arg) -> String {
    let plain = arg.to_string().replace(['<', '>'], "");
    match arg.is_required_set() || plain.starts_with('[') {
        true => plain,
        false => format!("[{plain}]"),
    }
}

fn argument(page: &mut Page, arg: &Arg) {
    let value = match arg.get_value_names() {
        Some([name, ..]) if arg.get_action().takes_values() => Some(name.as_str()),
        _ => None,
    };
    let names: Vec<_> = [arg.get_short().map(|c| format!("`-{c}`")), arg.get_long().map(|name| format!("`--{name}`"))]
        .into_iter()
        .flatten()
        .collect();
    let tag = match value {
        Some(value) if names.is_empty() => format!("*{value}*"),
        Some(value) if arg.is_require_equals_set() => format!("{}[=*{value}*]", names.join(", ")),
        Some(value) => format!("{} *{value}*", names.join(", ")),
        None => names.join(", "),
    };
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut paragraphs = help.split("\n\n").map(|text| text.replace('\n', " "));
    page.item(&tag, &sentence(&paragraphs.next().unwrap_or_default()));
    for paragraph in paragraphs {
        page.more(&sentence(&paragraph));
    }
    let words = arg.get_possible_values();
    let shown: Vec<_> =
        words.iter().filter(|word| !word.is_hide_set()).map(|word| format!("`{}`", word.get_name())).collect();
    if !shown.is_empty() && value.is_some() {
        page.more(&format!("One of {}.", shown.join(", ")));
    }
}

/// Help has no full stop, and names variables in brackets; prose has and doesn't.
fn sentence(help: &str) -> String {
    let (text, notes) = help.split_once(" [").map_or((help, ""), |(text, notes)| (text, notes.trim_end_matches(']')));
    let mut sentence = format!("{}.", text.trim_end_matches('.'));
    for note in notes.split("] [").filter(|note| !note.is_empty() && !note.contains("p2ptun(1)")) {
        let (what, value) = note.split_once(": ").unwrap_or((note, ""));
        let what = match what {
            "env" => "Environment",
            "default" => "Default",
            other => other,
        };
        sentence.push_str(&format!(" {what}: `{value}`."));
    }
    sentence
}

fn exits(page: &mut Page, exits: &[(Exit, &str)]) {
    for (exit, text) in exits {
        page.item(&format!("`{}`", *exit as u8), &sentence_of(text));
    }
}

/// `text` from a table as prose.
fn sentence_of(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| format!("{}{}.", first.to_uppercase(), letters.as_str())).unwrap_or_default()
}

fn examples(page: &mut Page, entry: &Entry) {
    for Example { line, does } in entry.examples {
        page.paragraph(&format!("{does}:"));
        page.block(line);
    }
}

fn said(page: &mut Page, said: &[Said]) {
    for (name, text) in said {
        page.item(&format!("`{name}`"), &sentence_of(text));
    }
}

const MORE_ENVIRONMENT: &[Said] = &[
    ("XDG_CONFIG_HOME", "where a user's p2ptun.toml is, in place of ~/.config"),
    ("XDG_STATE_HOME", "where a user's p2ptun/identity.key is, in place of ~/.local/state"),
    ("XDG_RUNTIME_DIR", "where a user's p2ptun/control.sock is"),
    ("RUNTIME_DIRECTORY, STATE_DIRECTORY, CREDENTIALS_DIRECTORY", "set by systemd, see below"),
];

const PLACES: &[&str] = &[
    "The identity, where the file names none, is the first of: $CREDENTIALS_DIRECTORY/identity.key if it exists, \
     $STATE_DIRECTORY/identity.key, /var/lib/p2ptun/identity.key for root, $XDG_STATE_HOME/p2ptun/identity.key. It is an \
     Ed25519 key in libp2p's encoding, or one that a Kubo had. One that every user can read or change is refused; one \
     that its group can is warned of. Whoever has the key is this node: keep a copy in a safe place, and let no two \
     nodes share it.",
    "The control socket is the first of: what --socket or P2PTUN_SOCKET names, $RUNTIME_DIRECTORY/control.sock, \
     /run/p2ptun/control.sock for root, $XDG_RUNTIME_DIR/p2ptun/control.sock, and control.sock in the folder `p2ptun-`*UID* \
     of the temporary directory, which must be the user's alone. Commands look in the same places, and ask the first \
     service that answers.",
];

const SIGNALS: &[Said] = &[
    ("SIGHUP", "the file is read again; what is wrong with it goes into the log"),
    (
        "SIGTERM, SIGINT",
        "the service stops: no new streams, and those that are open may end within `stop_timeout`. A second one ends it at \
         once, and open streams are reset",
    ),
];

const CONTROL: &[&str] = &[
    "The service answers HTTP with JSON on its control socket, one request on each connection. Who may ask is who may write \
     to the socket file: its owner and its group (0660). An answer that is no success is {\"error\": \"...\"}.",
];

const REQUESTS: &[(&str, &str)] = &[
    ("`GET /v1/status`", "What `p2ptun status --json` prints."),
    (
        "`POST /v1/reload`",
        "Reads the file again; answers when the new set is applied: 200 with the names of tunnels `added`, `removed`, `changed`, \
         and those `failed` each with its error; 422 if the file is refused.",
    ),
    ("`GET /v1/streams`", "A list of live streams: id, tunnel, peer, path, when it was opened, bytes in and out."),
    ("`DELETE /v1/streams/`*ID*", "Cuts a stream: 204, or 404 if there is none of this id."),
];
