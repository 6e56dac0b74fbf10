//! What `--help` and the manual page p2ptun(1) say beyond the names and the one-line texts of commands and options.
//!
//! One table, so that it reads like the manual it is. Its order is the order in which help shows the commands. Tests see
//! to it that every command has an entry, that every example is one the command line accepts, and, in
//! `tests/exit_codes.rs`, that each exit code that is listed here can be had.

use clap::Command;

use crate::commands::outcome::Exit;

/// No line of help is longer.
const WIDTH: usize = 80;

/// What there is to know about one command.
pub struct Entry {
    /// The words after `p2ptun`: `"status"`; empty for p2ptun itself.
    pub command: &'static str,
    /// Paragraphs that follow the one line of text that the command's arguments are declared with.
    pub details: &'static [&'static str],
    pub examples: &'static [Example],
    /// Those that this command has a use for, beside [`Exit::Usage`] and [`Exit::Os`], which any command can end with.
    pub exits: &'static [(Exit, &'static str)],
}

/// A command line, and what it is good for.
pub struct Example {
    pub line: &'static str,
    pub does: &'static str,
}

const fn example(line: &'static str, does: &'static str) -> Example {
    Example { line, does }
}

const NO_SERVICE: (Exit, &str) = (Exit::Unavailable, "no service answers");
const NO_ACCESS: (Exit, &str) = (Exit::Permission, "the control socket is not for this user");

const TUNNEL_EXITS: &[(Exit, &str)] = &[
    (Exit::Ok, "ended by a signal; or saved"),
    (Exit::Unavailable, "an address is taken, or the identity is in use"),
    (Exit::CannotCreate, "the identity can't be made, or the file can't be written"),
    (Exit::Permission, "the identity can't be read, or can be read by everybody"),
    (Exit::Config, "the file is wrong; with --save: an argument is, or the name is taken"),
];

pub const ENTRIES: &[Entry] = &[
    Entry {
        command: "",
        details: &[
            "A tunnel joins a local port or unix socket to a service on another machine. The other machine is found and \
             authenticated by its key, and only peers that are named may use a service. Edit the file and the running \
             service follows, without disturbing the streams that are open. The far end may be a Kubo (`ipfs p2p`).",
        ],
        examples: &[
            example("p2ptun demo", "See it at work on this machine: no root, no network"),
            example("sudo p2ptun id --create", "Make this node's key and print its peer id, for the files of others"),
            example("p2ptun check", "Find every mistake in the file before the service sees it"),
            example("sudo p2ptun run", "Run the service in the foreground"),
            example("sudo p2ptun status", "See what became of each tunnel"),
        ],
        exits: &[],
    },
    Entry {
        command: "demo",
        details: &[
            "Two full nodes run in this process, each with its own file, and a small web page travels between them. It \
             prints the page's address, the two files to edit, and how to ask each node for its status. Everything is \
             on loopback and in a temporary folder, which is removed at the end.",
        ],
        examples: &[
            example("p2ptun demo", "Start it; Ctrl-C ends it"),
            example("TMPDIR=/dev/shm p2ptun demo", "Put the folder somewhere else"),
        ],
        exits: &[
            (Exit::Ok, "ended by Ctrl-C or SIGTERM"),
            (Exit::CannotCreate, "the temporary folder or what goes into it can't be made"),
        ],
    },
    Entry {
        command: "run",
        details: &[
            "The first start makes the node's key. A tunnel that can't start is shown as failed and tried again; the \
             others are not touched. What follows a change of the file, and what does not, is in p2ptun.toml(5).",
            "SIGHUP reads the file again. SIGTERM and SIGINT stop the service: streams may end within `stop_timeout`, \
             and a second signal cuts what is left.",
        ],
        examples: &[
            example("sudo p2ptun run", "Serve /etc/p2ptun.toml"),
            example("p2ptun run --config my.toml", "Serve another file, without root"),
            example("P2PTUN_LOG=debug p2ptun run -c my.toml", "The same, with more in the log"),
        ],
        exits: &[
            (Exit::Ok, "stopped by SIGTERM or SIGINT"),
            (Exit::NoInput, "the file is missing or can't be read"),
            (Exit::Unavailable, "a service runs already, with this identity or at this control socket"),
            (Exit::CannotCreate, "the identity or the control socket can't be made"),
            (Exit::Permission, "the identity can't be read, or can be read by everybody"),
            (Exit::Config, "the file is wrong, or the identity is not a key"),
        ],
    },
    Entry {
        command: "check",
        details: &[
            "Prints every problem with its line and column, and what to write instead. It reads only the file and its \
             includes: no network, no identity, no running service.",
        ],
        examples: &[
            example("p2ptun check", "Check the file that the service reads"),
            example(
                "p2ptun check new.toml && sudo cp new.toml /etc/p2ptun.toml",
                "Check a file before it is put in place",
            ),
            example("p2ptun check --print | less", "See what the file comes to, every default filled in"),
        ],
        exits: &[
            (Exit::Ok, "the file is right; there may be warnings"),
            (Exit::NoInput, "the file is missing or can't be read"),
            (Exit::Config, "the file is wrong"),
        ],
    },
    Entry {
        command: "reload",
        details: &[
            "Rarely needed, for the service watches its files by itself. It prints what changed: `+ added`, `- removed`, \
             `~ changed`, and `! failed` with the reason. Tunnels that failed are tried again. A tunnel that fails to \
             start does not make the reload fail.",
            "If the file is wrong, everything stays as it is, and the reason is printed.",
        ],
        examples: &[
            example("sudo p2ptun reload", "Have the service read its file now, and wait until that is done"),
            example("p2ptun reload --socket /tmp/my.sock", "Ask another service than that of this machine"),
        ],
        exits: &[
            (Exit::Ok, "applied; tunnels that failed are named"),
            NO_SERVICE,
            NO_ACCESS,
            (Exit::Config, "refused; the old set stays in force"),
        ],
    },
    Entry {
        command: "status",
        details: &[
            "The first line says whether all is well. Whatever isn't says why, since when, and when it is tried again. \
             IN is what came from the peer, OUT what went to it.",
            "The JSON keeps its keys in later versions; new keys, kinds and states may come.",
        ],
        examples: &[
            example("sudo p2ptun status", "Show tunnels and peers, and what is wrong with them"),
            example("sudo p2ptun status --watch", "The same, every second anew, until Ctrl-C"),
            example("p2ptun status --check >/dev/null || echo not well", "Probe the service from a script"),
            example("p2ptun status --json | jq '.tunnels[] | {name, state, error}'", "Pick from all that is known"),
        ],
        exits: &[
            (Exit::Ok, "answered"),
            (Exit::NotReady, "with --check: a tunnel is not ready, or the file was refused"),
            NO_SERVICE,
            NO_ACCESS,
        ],
    },
    Entry {
        command: "streams",
        details: &["A stream is one connection through a tunnel. `p2ptun streams close` cuts some."],
        examples: &[
            example("sudo p2ptun streams", "List the live streams, oldest first"),
            example("sudo p2ptun streams --tunnel ssh --peer laptop", "Only those of one tunnel, and of one peer"),
        ],
        exits: &[(Exit::Ok, "listed; there may be none"), NO_SERVICE, NO_ACCESS],
    },
    Entry {
        command: "streams close",
        details: &["Where several are named, each is tried, and those that are cut are printed."],
        examples: &[example("sudo p2ptun streams close 7 12", "Cut the streams 7 and 12")],
        exits: &[(Exit::Ok, "cut"), (Exit::NoInput, "one of them is not there"), NO_SERVICE, NO_ACCESS],
    },
    Entry {
        command: "listen",
        details: &[
            "It runs a node of its own, beside any service, with a new identity each time unless --identity names a \
             key, and prints what to run at the other end. It ends at Ctrl-C, or with the terminal, and resets what is \
             open then; under nohup(1) it stays.",
            "With --save it runs nothing: the tunnel goes into the file, and a running service follows.",
        ],
        examples: &[
            example(
                "p2ptun listen /x/ssh 127.0.0.1:22 --allow laptop",
                "The SSH server of this machine, for the peer that the file calls laptop",
            ),
            example(
                "p2ptun listen /x/web localhost:80 --allow anyone",
                "A web server, for everybody who learns this node's id",
            ),
            example(
                "sudo p2ptun listen /x/ssh 127.0.0.1:22 --allow laptop --save ssh",
                "The first one for good, as [listen.ssh] in the file",
            ),
        ],
        exits: TUNNEL_EXITS,
    },
    Entry {
        command: "forward",
        details: &[
            "It runs a node of its own, beside any service, with a new identity each time unless --identity names a \
             key. It ends at Ctrl-C, or with the terminal, and resets what is open then; under nohup(1) it stays.",
            "With --save it runs nothing: the tunnel goes into the file, and a running service follows.",
        ],
        examples: &[
            example(
                "p2ptun forward /x/ssh 127.0.0.1:2222 home",
                "Port 2222 leads to what the peer called home in the file offers as /x/ssh",
            ),
            example(
                "p2ptun forward /x/ssh 127.0.0.1:0 /ip4/192.0.2.7/tcp/5460/p2p/12D3...",
                "Any free port, to a peer that no file knows",
            ),
            example(
                "sudo p2ptun forward /x/ssh 127.0.0.1:2222 home office --save ssh",
                "To the first of two that answers, for good, as [forward.ssh] in the file",
            ),
        ],
        exits: TUNNEL_EXITS,
    },
    Entry {
        command: "remove",
        details: &[
            "The comment directly above the tunnel goes with it, and those between its keys; all others stay. A running \
             service lets open streams finish within `drain_timeout`.",
        ],
        examples: &[
            example(
                "sudo p2ptun remove ssh",
                "Take [listen.ssh], or whatever kind it is, out of the file that holds it",
            ),
            example("p2ptun remove ssh --config my.toml", "Out of another file, or what it includes"),
        ],
        exits: &[
            (Exit::Ok, "removed"),
            (Exit::NoInput, "no tunnel has this name, or there is no file"),
            (Exit::CannotCreate, "the file can't be written; what to remove by hand is printed"),
            (Exit::Config, "the file is wrong, or would be without it; nothing is touched"),
        ],
    },
    Entry {
        command: "id",
        details: &[
            "With --config or P2PTUN_CONFIG, and without --socket, it is the id of the key that this file names. Else \
             the running service is asked, and where none runs, the key in the default place is read.",
        ],
        examples: &[
            example("p2ptun id", "Print the peer id that others put into their files"),
            example("sudo p2ptun id --create", "The same, and make the key before the first start"),
            example("p2ptun id --addresses", "Print where this node can be reached, as the service sees it"),
        ],
        exits: &[
            (Exit::Ok, "printed"),
            (Exit::NoInput, "there is no key, or the named file is missing"),
            (Exit::Unavailable, "with --addresses or a named socket: no service answers"),
            (Exit::CannotCreate, "with --create: the key can't be made"),
            (Exit::Permission, "the key or the control socket is not for this user"),
            (Exit::Config, "the named file is wrong, or the key is not a key"),
        ],
    },
    Entry {
        command: "completions",
        details: &["It goes to standard output. Packages put it in place; without one, choose a line below."],
        examples: &[
            example("source <(p2ptun completions bash)", "bash: as a line of ~/.bashrc, for every shell to come"),
            example("p2ptun completions zsh >~/.zfunc/_p2ptun", "zsh, where ~/.zfunc is in $fpath before compinit"),
            example("p2ptun completions fish >~/.config/fish/completions/p2ptun.fish", "fish"),
        ],
        exits: &[(Exit::Ok, "printed")],
    },
    Entry {
        command: "man",
        details: &["The pages are those that packages install."],
        examples: &[
            example("p2ptun man | man -l -", "Read p2ptun(1) without having it installed"),
            example("p2ptun man p2ptun.toml.5 | man -l -", "The same of the file's manual"),
        ],
        exits: &[(Exit::Ok, "printed")],
    },
];

/// What a variable of the environment does, or a file is for.
pub type Said = (&'static str, &'static str);

pub const ENVIRONMENT: &[Said] = &[
    ("P2PTUN_CONFIG", "the configuration file, where --config names none"),
    ("P2PTUN_SOCKET", "the control socket, where --socket names none"),
    ("P2PTUN_LOG", "what is logged: `debug`, or `p2ptun=debug,libp2p=info`"),
    ("P2PTUN_LOG_FORMAT", "the form of the log, as --log-format"),
    ("NO_COLOR", "if set, nothing is coloured"),
    ("TOKIO_WORKER_THREADS", "threads of the service, if not half the processors"),
];

pub const FILES: &[Said] = &[
    ("/etc/p2ptun.toml", "what to keep up; see p2ptun.toml(5)"),
    ("~/.config/p2ptun.toml", "that of a user, if it exists"),
    ("/var/lib/p2ptun/identity.key", "the node's key, made at the first start"),
    ("~/.local/state/p2ptun/identity.key", "that of a user's node"),
    ("/run/p2ptun/control.sock", "the control socket of the service"),
];

/// What each exit code means, whatever the command.
pub const EXITS: &[(Exit, &str)] = &[
    (Exit::Ok, "done, or ended as asked"),
    (Exit::NotReady, "`status --check`: not everything is up"),
    (Exit::Usage, "the command line is wrong"),
    (Exit::NoInput, "what was asked for is not there: a file, a key, a name"),
    (Exit::Unavailable, "no service answers, or one is in the way"),
    (Exit::Os, "the system failed, or standard output can't be written to"),
    (Exit::CannotCreate, "a file, a folder or a socket can't be made"),
    (Exit::Permission, "not allowed, or a key that is open to everybody"),
    (Exit::Config, "the configuration is wrong, or a reload was refused"),
];

/// The entry of a command, by its words after `p2ptun`.
pub fn entry(command: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.command == command)
}

/// Adds to `program` what this manual says of it and of its commands.
pub fn dress(program: Command) -> Command {
    let program =
        program.max_term_width(WIDTH).after_help("`p2ptun help COMMAND` has examples; `p2ptun demo` shows it at work.");
    dress_command(program, "")
}

fn dress_command(command: Command, path: &str) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let command = names.iter().fold(command, |command, name| {
        let path = if path.is_empty() { name.clone() } else { format!("{path} {name}") };
        command.mut_subcommand(name, |command| dress_command(command, &path))
    });
    // Options that every command knows would otherwise stand among its own.
    let command = command.mut_args(|arg| if arg.is_global_set() { arg.help_heading("Global options") } else { arg });
    let Some((order, entry)) = ENTRIES.iter().enumerate().find(|(_, entry)| entry.command == path) else {
        return command;
    };
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let long = [&[about.as_str()], entry.details].concat().join("\n\n");
    command.display_order(order).long_about(long).after_long_help(footer(entry))
}

/// What stands below the options in the long help.
fn footer(entry: &Entry) -> String {
    let mut parts = Vec::new();
    let examples: Vec<_> =
        entry.examples.iter().map(|Example { line, does }| format!("  {line}\n      {does}")).collect();
    parts.push(format!("Examples:\n{}", examples.join("\n")));
    if entry.command.is_empty() {
        parts.push(format!("Environment:\n{}", list(ENVIRONMENT)));
        parts.push(format!("Files:\n{}", list(FILES)));
        parts.push(format!("Exit codes:\n{}", exits(EXITS)));
        parts.push("The manual: `man p2ptun`, `man p2ptun.toml`; or `p2ptun man | man -l -`".into());
    } else {
        parts.push(format!("Exit codes:\n{}", exits(entry.exits)));
    }
    parts.join("\n\n")
}

fn list(said: &[Said]) -> String {
    let width = said.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let lines: Vec<_> = said.iter().map(|(name, text)| format!("  {name:width$}  {text}")).collect();
    lines.join("\n")
}

fn exits(exits: &[(Exit, &str)]) -> String {
    let lines: Vec<_> = exits.iter().map(|(exit, text)| format!("  {:2}  {text}", *exit as u8)).collect();
    lines.join("\n")
}
