//! ARCHITECTURE.md says what may import what, and what the files of the node are; so must the files.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The names in backticks of one cell: "`cli.rs`, `commands/`" holds `cli` and `commands`.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(|name| name.trim_end_matches(".rs").trim_end_matches('/').into()).collect()
}

/// The rows of the table whose first cell is `head`, each as its cells.
fn table<'a>(text: &'a str, head: &str) -> Vec<Vec<&'a str>> {
    let lines = text.lines().skip_while(|line| !line.starts_with(&format!("| {head} |"))).skip(2);
    let rows = lines.take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

/// For each module of `src`, in the order of the table, those that it may import.
fn permissions(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let rows: Vec<_> =
        table(text, "place in `src/`").into_iter().map(|row| (quoted(row[0]), row[row.len() - 1])).collect();
    let mut permissions = BTreeMap::new();
    for (index, (places, allowed)) in rows.iter().enumerate() {
        let below: BTreeSet<String> = rows[index + 1..].iter().flat_map(|(places, _)| places.clone()).collect();
        let named: BTreeSet<String> = match *allowed {
            "–" => BTreeSet::new(),
            "all below" => below.clone(),
            list => list.split(", ").map(Into::into).collect(),
        };
        assert!(named.is_subset(&below), "{places:?} may import what doesn't stand below it: {named:?}");
        for place in places {
            permissions.insert(place.clone(), named.iter().chain(places).cloned().collect());
        }
    }
    permissions
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources(&path, found),
            false if path.extension().is_some_and(|ending| ending == "rs") => found.push(path),
            false => {}
        }
    }
}

/// The modules that follow `crate::` in `code`, also within braces.
fn imported(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let Some(list) = rest.strip_prefix('{') else {
            found.extend(first_word(rest));
            continue;
        };
        let (mut depth, mut begin) = (0, 0);
        for (at, letter) in list.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    found.extend(first_word(list[begin..at].trim_start()));
                    begin = at + 1;
                    if letter == '}' {
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    found
}

fn first_word(text: &str) -> Option<String> {
    let word: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!word.is_empty()).then_some(word)
}

#[test]
fn imports_are_those_that_the_table_allows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let permissions = permissions(&fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap());
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    let (mut seen, mut violations) = (0, Vec::new());
    for file in files {
        let place = file.strip_prefix(root.join("src")).unwrap();
        // Tests may look at everything.
        if place == Path::new("lib.rs") || place.iter().any(|part| part == "tests" || part == "tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let code: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let module = place.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        let allowed = permissions.get(module).unwrap_or_else(|| panic!("{module} is not in the table"));
        let imported = imported(&code.join("\n"));
        seen += imported.len();
        violations.extend(imported.difference(allowed).map(|other| format!("{} imports {other}", place.display())));
    }
    assert!(seen > 100, "only {seen} imports were found");
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn every_file_of_the_node_is_told() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let told: BTreeSet<_> = table(&text, "file").iter().flatten().flat_map(|cell| quoted(cell)).collect();
    for folder in ["src/node", "src/node/streams"] {
        let files = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.is_file());
        let names: BTreeSet<String> = files.map(|path| path.file_stem().unwrap().to_string_lossy().into()).collect();
        let missing: Vec<_> = names.difference(&told).collect();
        assert!(missing.is_empty(), "{folder}: {missing:?}");
    }
}
