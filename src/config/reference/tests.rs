//! The reference against the reader. More of it is in `tests/reference.rs`.

use std::{collections::BTreeSet, fs};

use super::{super::section::ASKED, *};

/// One table of each kind that the reader knows, all of them empty.
const ONE_OF_EACH: &str = "[node]\n[discovery]\n[nat]\n[relay_service]\n[metrics]\n[log]\n\
                           [peers.x]\n[listen.x]\n[forward.x]\n[gateway.x]\n[socks.x]\n";

#[test]
fn the_keys_of_the_reference_are_exactly_those_that_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p2ptun.toml");
    fs::write(&path, ONE_OF_EACH).unwrap();
    ASKED.take();
    super::super::load(&path).unwrap_err();
    let mut read = ASKED.take();

    let tables_read = read.remove("").unwrap();
    let first_word = |table: &'static Table| table.header.split('.').next().unwrap();
    let top = tables().find(|table| table.header.is_empty()).unwrap();
    let told: BTreeSet<_> = tables().map(first_word).chain(top.keys.iter().map(|key| key.name)).collect();
    assert_eq!(told.into_iter().filter(|word| !word.is_empty()).collect::<BTreeSet<_>>(), tables_read);

    for table in tables().filter(|table| !table.header.is_empty()) {
        let told: BTreeSet<_> = table.keys.iter().map(|key| key.name).collect();
        assert_eq!(told.len(), table.keys.len(), "a key of [{}] is told twice", table.header);
        let title = format!("[{}]", table.header.replace("NAME", "x"));
        assert_eq!(Some(told), read.remove(&title), "{title}");
    }
    assert!(read.is_empty(), "no table of the reference: {read:?}");
}
