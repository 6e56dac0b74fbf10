use std::fs;

use super::*;
use crate::spec::Kind;

fn tunnel(name: &str) -> Declaration {
    Declaration::new(Kind::Listen, name).text("target", "", Some("127.0.0.1:22")).list("allow", "", &[])
}

#[test]
fn an_edit_that_says_more_than_it_should_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("p2ptun.toml");
    fs::write(&main, "watch = true\n").unwrap();
    let held = Held::new(&main).unwrap();
    let after = load_held(&main, &held, b"watch = false\n").unwrap();
    let expected = load(&main).unwrap().desired;
    assert!(put(&held, "watch = false\n", &expected, after).is_err());
    assert_eq!(fs::read(&main).unwrap(), b"watch = true\n");
}

#[test]
fn what_can_not_be_cut_out_is_shown_to_be_taken_out_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("p2ptun.toml");
    let text =
        "listen = {\n  a = { target = '127.0.0.1:1', allow = [] }\n, b = { target = '127.0.0.1:2', allow = [] }\n}\n";
    fs::write(&main, text).unwrap();
    let error = remove(&main, "a").unwrap_err();
    assert!(matches!(error, EditError::CannotWrite { by_hand: ByHand::TakeOut(_), .. }), "{error}");
    assert_eq!(fs::read_to_string(&main).unwrap(), text);
}

#[test]
fn a_file_of_a_store_is_to_be_changed_at_its_source() {
    let error = EditError::CannotWrite {
        file: "/nix/store/x-p2ptun.toml".into(),
        why: "it is read-only".into(),
        by_hand: ByHand::Add(tunnel("ssh").table()),
    };
    let text = error.to_string();
    assert!(text.contains("services.p2ptun.settings") && text.contains("\n[listen.ssh]\n"), "{text}");
}

#[test]
fn a_main_file_and_an_include_that_are_one_file_are_edited_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("p2ptun.toml"), "include = ['more.toml', 'link.toml']\n").unwrap();
    fs::write(path("more.toml"), "").unwrap();
    std::os::unix::fs::symlink("more.toml", path("link.toml")).unwrap();
    save(&path("p2ptun.toml"), &tunnel("a")).unwrap();
    save(&path("link.toml"), &tunnel("b")).unwrap();
    assert!(matches!(save(&path("p2ptun.toml"), &tunnel("b")), Err(EditError::NameTaken { .. })));
    let edited = remove(&path("p2ptun.toml"), "b").unwrap();
    assert_eq!(edited.file, fs::canonicalize(path("more.toml")).unwrap());
    assert_eq!(edited.loaded.desired.tunnels.len(), 1);
}
