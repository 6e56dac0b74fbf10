//! Everything that `p2ptun check` says of a file, word for word.
//!
//! Each `tests/diagnostics/NAME.toml` is a configuration with something wrong or remarkable in it, `NAME.d/` holds the
//! files that it includes, and `NAME.snap` what `check` says. To add a case, write the file and run
//! `INSTA_UPDATE=always cargo test --test diagnostics`; after a change of words the same, and read the diff.
//! Files that git would not keep as they are, or that are no files, are made here, in [`MADE`].

#![allow(clippy::unwrap_used, reason = "a test that can't be set up has failed")]
#![allow(dead_code, reason = "each test file uses a part of `folder`")]

mod folder;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
};

use folder::{Answer, Folder, HOME, p2ptun};
use p2ptun::config::{self, Problem};

/// How many cases there are at least, so that a run that finds none does not pass.
const FILES: usize = 200;

/// How many of what they say holds a suggestion, at least.
const SUGGESTIONS: usize = 120;

type Make = fn(&Path);

/// Cases by their names, and how to make what is checked: `NAME.toml` in the folder that is handed in.
const MADE: [(&str, Make); 19] = [
    ("file-not-utf-8", |file| write(file, b"# office: caf\xe9\n[listen.ssh]\n")),
    ("file-utf-16", |file| {
        let text = "\u{feff}[listen.ssh]\r\nallow = []\r\n".encode_utf16().flat_map(u16::to_le_bytes);
        write(file, &text.collect::<Vec<_>>());
    }),
    ("file-utf-16-without-mark", |file| {
        write(file, &"[listen.ssh]\n".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>());
    }),
    ("file-byte-order-mark", |file| write(file, "\u{feff}wacth = true\n".as_bytes())),
    ("file-windows-line-ends", |file| {
        write(file, b"[listen.ssh]\r\ntarget = \"localhost\"\r\nallow = [\r\n  \"home\",\r\n]\r\n");
    }),
    ("file-old-mac-line-ends", |file| write(file, b"[listen.ssh]\rallow = []\r")),
    ("file-zero-byte", |file| write(file, b"watch = true\0\n")),
    ("file-control-characters", |file| {
        write(file, b"[node]\nidentity = \"/var/lib/\x1b[31mred.key\" # \x07\nstop_timeout = \"1s\" # a\x7fb\n");
    }),
    ("file-escape-sequences", |file| {
        write(file, "\"\u{9b}31m\u{202e}\" = 1\nx = \"\\u001b]0;title\\u0007\"\n".as_bytes());
    }),
    ("file-empty", |file| write(file, b"")),
    ("file-too-large", |file| write(file, &vec![b'#'; 4 * 1024 * 1024 + 1])),
    ("file-missing", |_| {}),
    ("file-directory", |file| fs::create_dir(file).unwrap()),
    ("file-device", |file| symlink("/dev/null", file).unwrap()),
    ("file-pipe", |file| nix::unistd::mkfifo(file, nix::sys::stat::Mode::S_IRWXU).unwrap()),
    ("file-dangling-symlink", |file| symlink("nowhere.toml", file).unwrap()),
    ("file-symlink-loop", |file| symlink(file, file).unwrap()),
    ("include-what-is-no-file", |file| {
        let folder = file.parent().unwrap();
        nix::unistd::mkfifo(&folder.join("pipe.toml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        symlink("/dev/zero", folder.join("device.toml")).unwrap();
        symlink("nowhere.toml", folder.join("dangling.toml")).unwrap();
        fs::create_dir(folder.join("folder.toml")).unwrap();
        write(&folder.join("large.toml"), &vec![b'#'; 4 * 1024 * 1024 + 1]);
        let names = ["pipe", "device", "dangling", "folder", "large"];
        let list: Vec<_> = names.iter().map(|name| format!("  \"{name}.toml\",\n")).collect();
        write(file, format!("include = [\n{}]\n", list.concat()).as_bytes());
    }),
    ("include-dangling-symlink-by-pattern", |file| {
        let folder = file.parent().unwrap().join("more.d");
        fs::create_dir(&folder).unwrap();
        symlink("nowhere", folder.join("a.toml")).unwrap();
        write(file, b"include = [\"more.d/*\"]\n");
    }),
];

fn write(file: &Path, bytes: &[u8]) {
    fs::write(file, bytes).unwrap();
}

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics")
}

/// The names of the cases that are files, sorted.
fn names(extension: &str) -> BTreeSet<String> {
    let paths = fs::read_dir(cases()).unwrap().map(|entry| entry.unwrap().path());
    let ours = paths.filter(|path| path.extension().is_some_and(|found| found == extension));
    ours.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

/// Checks `NAME.toml` in `folder`, as one who stands in that folder would.
fn check(folder: &Path, name: &str) -> String {
    let file = format!("{name}.toml");
    let answer: Answer = p2ptun().current_dir(folder).arg("check").arg(&file).output().unwrap().into();
    let exit = answer.exit.unwrap();
    assert_eq!(exit == 0, answer.out.lines().count() == 1, "only what is well has a line on stdout:\n{}", answer.out);
    assert!(!(answer.out.clone() + &answer.err).contains(|c: char| c.is_control() && c != '\n'), "{}", answer.err);
    format!("$ p2ptun check {file}\n{}{}[exit {exit}]\n", answer.err, answer.out)
}

/// Compares each of `cases` with its snapshot, and fails at the end if one is not the same.
fn assert_all<'n>(cases: impl IntoIterator<Item = (&'n str, String)>) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(self::cases());
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let differ = |(name, said): &(&str, String)| {
        let same = AssertUnwindSafe(|| settings.bind(|| insta::assert_snapshot!(*name, said)));
        panic::catch_unwind(same).is_err()
    };
    let changed: Vec<_> = cases.into_iter().filter(differ).map(|(name, _)| name).collect();
    assert!(changed.is_empty(), "what is said has changed, see the differences above: {changed:#?}");
}

#[test]
fn of_each_file_is_said_what_is_wrong_where_and_what_to_write_instead() {
    let names = names("toml");
    assert!(names.len() >= FILES, "only {} cases were found", names.len());
    let folder = cases();
    assert_all(names.iter().map(|name| (name.as_str(), check(&folder, name))));
}

#[test]
fn of_what_is_hardly_a_file_it_is_said_too() {
    assert_all(MADE.iter().map(|(name, make)| {
        let folder = Folder::with(&[]);
        make(&folder.path(&format!("{name}.toml")));
        (*name, check(&folder.path(""), name))
    }));
}

#[test]
fn a_file_that_may_not_be_read_is_named() {
    use std::os::unix::{fs::PermissionsExt, process::CommandExt};
    let folder = Folder::with(&[("secret.toml", "")]);
    let file = folder.path("secret.toml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_p2ptun"));
    if nix::unistd::geteuid().is_root() {
        // For root nothing is unreadable. The program is started through a copy that others can reach as well.
        let program = folder.path("p2ptun");
        fs::copy(env!("CARGO_BIN_EXE_p2ptun"), &program).unwrap();
        fs::set_permissions(folder.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        command = std::process::Command::new(program);
        command.uid(65534).gid(65534);
    }
    let answer: Answer = command.arg("check").arg("secret.toml").current_dir(folder.path("")).output().unwrap().into();
    assert_eq!(answer.err, "p2ptun: secret.toml can't be read: Permission denied\n");
    assert_eq!(answer.exit, Some(66));
}

#[test]
fn every_snapshot_has_its_case() {
    let mut cases = names("toml");
    cases.extend(MADE.iter().map(|(name, _)| (*name).to_owned()));
    let without: Vec<_> = names("snap").difference(&cases).cloned().collect();
    assert!(without.is_empty(), "nothing is left that these snapshots are of: {without:?}");
}

/// What is wrong with the file `NAME.toml` in `folder`.
fn problems(folder: &Folder, name: &str) -> Vec<Problem> {
    match config::load(&folder.path(&format!("{name}.toml"))) {
        Ok(loaded) => loaded.warnings,
        Err(refused) => refused.problems().to_vec(),
    }
}

/// A copy of the case, so that it can be mended.
fn copy(name: &str) -> Folder {
    let folder = Folder::with(&[]);
    fs::copy(cases().join(format!("{name}.toml")), folder.path(&format!("{name}.toml"))).unwrap();
    if let Ok(included) = fs::read_dir(cases().join(format!("{name}.d"))) {
        fs::create_dir(folder.path(&format!("{name}.d"))).unwrap();
        for entry in included {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.path(&format!("{name}.d")).join(entry.file_name())).unwrap();
        }
    }
    folder
}

#[test]
fn each_suggestion_mends_its_problem_and_breaks_nothing() {
    // In what is no TOML something else may come to light once the first mistake is mended.
    let mut uncovering = BTreeSet::from(["syntax-several", "syntax-bad-escape", "syntax-windows-path"]);
    let (mut followed, mut wrong) = (0, Vec::new());
    for name in names("toml") {
        let folder = copy(&name);
        let before = problems(&folder, &name);
        for problem in &before {
            let Some((file, text)) = problem.mended() else { continue };
            followed += 1;
            let original = fs::read_to_string(file).unwrap();
            fs::write(file, &text).unwrap();
            let after = problems(&folder, &name);
            fs::write(file, original).unwrap();
            // Everything else is as it was; that what was suggested is remarkable in its turn is no harm.
            let mut others: Vec<_> = before.iter().map(Problem::title).collect();
            others.remove(others.iter().position(|title| *title == problem.title()).unwrap());
            let new = after.iter().filter(|problem| match others.iter().position(|title| *title == problem.title()) {
                Some(known) => {
                    others.remove(known);
                    false
                }
                None => problem.is_error(),
            });
            let new: Vec<_> = new.map(Problem::short).collect();
            if !new.is_empty() && !uncovering.remove(name.as_str()) {
                wrong.push(format!("{name}: {}\n  becomes {new:#?}\n  in\n{text}", problem.short()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(uncovering.is_empty(), "these uncover nothing any more: {uncovering:?}");
    assert!(followed >= SUGGESTIONS, "only {followed} suggestions were followed");
}

#[test]
fn no_text_is_too_odd_to_be_explained() {
    const PIECES: [&str; 22] = [
        "\"", "'", "\"\"\"", "[", "]", "[[", "{", "}", "=", ":", "\\", "\\u", "ä", "家", "“", "\n", "\r\n", "\t", "#",
        ",", ";", "//",
    ];
    // The same texts each time: a generator with a seed.
    let mut random = fastrand::Rng::with_seed(5460);
    let texts: Vec<_> = names("toml")
        .iter()
        .map(|name| fs::read_to_string(cases().join(format!("{name}.toml"))).unwrap())
        .map(|text| text.replace("include", "#"))
        .collect();
    let folder = Folder::with(&[]);
    let rounds = std::env::var("P2PTUN_ODD_TEXTS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1_000);
    for _ in 0..rounds {
        let mut text = random.choice(&texts).unwrap().clone();
        for _ in 0..random.usize(1..4) {
            let boundary = |at: usize, text: &str| text.floor_char_boundary(at);
            let start = boundary(random.usize(..=text.len()), &text);
            let end = boundary((start + random.usize(..8)).min(text.len()), &text).max(start);
            text.replace_range(start..end, random.choice(PIECES).unwrap());
        }
        folder.write("odd.toml", &text);
        for problem in problems(&folder, "odd") {
            let width = random.usize(..200);
            let shown = problem.render(true, width) + &problem.short();
            assert!(!shown.is_empty());
            let _ = problem.mended();
        }
    }
}

#[test]
fn a_problem_in_an_include_is_shown_with_the_path_as_it_was_given() {
    let folder = Folder::with(&[
        ("here/p2ptun.toml", "include = [\"more.toml\"]\n"),
        ("here/more.toml", &format!("[peers.home]\nid = \"{HOME}\"\naddress = []\n")),
    ]);
    let said = |directory: &str, file: &str| {
        let mut command = p2ptun();
        let answer: Answer = command.current_dir(folder.path(directory)).args(["check", file]).output().unwrap().into();
        answer.err.lines().find_map(|line| line.trim_start().strip_prefix("--> ")).unwrap().to_owned()
    };
    assert_eq!(said("here", "p2ptun.toml"), "more.toml:3:1");
    assert_eq!(said("here", "./p2ptun.toml"), "./more.toml:3:1");
    assert_eq!(said("", "here/p2ptun.toml"), "here/more.toml:3:1");
}
