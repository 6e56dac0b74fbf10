//! The reference of the file, of which p2ptun.toml(5) is made, against what the file's reader does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::fs;

use p2ptun::{
    config::{
        self, Loaded, Refused,
        reference::{Default, Key, Kind, Table, tables},
    },
    plan::restart_required,
    spec::public_bootstrappers,
};
use support::{Node, Transport, eventually};
use toml::{Table as Toml, Value};

const PEERS: &str = r#"
[peers.home]
id = "12D3KooWJpUikX2teHCrRgFNaZHTyG3nrPNdpa7ANSqMEYpW9zqi"
[peers.laptop]
id = "12D3KooWG97QDNz8rkB5vKh3QfS8WRZDocwcrmw2AXyHyCJkU3KD"
"#;

/// What `NAME` is in these tests.
const NAME: &str = "tested";

/// Every key with its table.
fn keys() -> impl Iterator<Item = (&'static Table, &'static Key)> {
    tables().flat_map(|table| table.keys.iter().map(move |key| (table, key)))
}

fn title(table: &Table, key: &Key) -> String {
    format!("[{}] {}", table.header, key.name)
}

fn value(text: &str) -> Value {
    let mut table: Toml = format!("value = {}", text.replace("NAME", NAME)).parse().unwrap();
    table.remove("value").unwrap()
}

/// The table of a file that a header stands for, made if need be.
fn at<'f>(file: &'f mut Toml, header: &str) -> &'f mut Toml {
    let header = header.replace("NAME", NAME);
    header.split('.').filter(|name| !name.is_empty()).fold(file, |table, name| {
        table.entry(name).or_insert_with(|| Value::Table(Toml::new())).as_table_mut().unwrap()
    })
}

/// The shortest file with `table` in it that is valid.
fn shortest(table: &Table) -> Toml {
    let mut file: Toml = PEERS.parse().unwrap();
    let written = at(&mut file, table.header);
    for key in table.keys.iter().filter(|key| matches!(key.default, Default::Required)) {
        written.insert(key.name.to_owned(), value(key.example));
    }
    file
}

fn merge(into: &mut Toml, more: Toml) {
    for (key, value) in more {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(more)) => merge(into, more),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// A file that makes sense of `key`, which stands there with `value`, or by its absence.
fn file_with(table: &Table, key: &Key, value: Option<Value>) -> Toml {
    let mut file = shortest(table);
    merge(&mut file, key.given.replace("NAME", NAME).parse().unwrap());
    if let Some(value) = value {
        let written = at(&mut file, table.header);
        if let Some(other) = key.excludes {
            written.remove(other).unwrap();
        }
        written.insert(key.name.to_owned(), value);
    }
    file
}

fn load(file: &Toml) -> Result<Loaded, Refused> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p2ptun.toml");
    fs::write(&path, file.to_string()).unwrap();
    config::load(&path)
}

#[track_caller]
fn valid(file: &Toml) -> Loaded {
    load(file).unwrap_or_else(|refused| panic!("{refused} in\n{file}"))
}

#[test]
fn each_example_is_valid_and_changes_something() {
    let mut tried = 0;
    for (table, key) in keys() {
        let with = valid(&file_with(table, key, Some(value(key.example))));
        tried += 1;
        // What only matters to the reader leaves no trace in what is read.
        let traceless = ["include", "allow_custom_protocol"].contains(&key.name);
        if !traceless && !matches!(key.default, Default::Required) {
            let without = valid(&file_with(table, key, None));
            assert_ne!(with.desired, without.desired, "{}: its example is its default", title(table, key));
        }
    }
    assert!(tried > 50, "only {tried}");
}

#[test]
fn each_default_is_what_check_prints() {
    let printed_value = |file: &Toml, table: &Table, key: &Key| {
        let mut printed: Toml = config::print(&valid(file).desired).parse().unwrap();
        at(&mut printed, table.header).remove(key.name)
    };
    let (mut compared, mut in_words) = (0, Vec::new());
    for (table, key) in keys() {
        let absent = file_with(table, key, None);
        let printed = printed_value(&absent, table, key);
        let title = title(table, key);
        match key.default {
            Default::Required => {
                let mut without = absent;
                at(&mut without, table.header).remove(key.name);
                let refused = load(&without).unwrap_err();
                assert!(refused.to_string().contains(&format!("`{}` is missing", key.name)), "{title}: {refused}");
            }
            Default::Is(default) => assert_eq!(printed, Some(value(default)), "{title}"),
            Default::Depends { is, when, then } => {
                assert_eq!(printed, Some(value(is)), "{title}");
                let mut other = absent;
                merge(at(&mut other, table.header), when.parse().unwrap());
                assert_eq!(printed_value(&other, table, key), Some(value(then)), "{title} with {when}");
            }
            Default::Means(_) if key.name == "bootstrap" => {
                let public: Vec<_> =
                    public_bootstrappers().iter().map(|address| Value::from(address.to_string())).collect();
                assert_eq!(printed, Some(Value::Array(public)), "{title}");
            }
            Default::Means(_) => {
                assert_eq!(printed, None, "{title} has a default that can be written down");
                in_words.push(key.name);
            }
        }
        compared += 1;
    }
    assert_eq!(compared, keys().count());
    in_words.sort_unstable();
    in_words.dedup();
    let expected = [
        "allow_custom_protocol",
        "bind_group",
        "domain",
        "identity",
        "include",
        "max_circuits",
        "max_reservations",
        "on",
        "peers",
        "private_network_key_file",
        "proxy_protocol",
    ];
    assert_eq!(in_words, expected, "a default in words is one that no test compares");
}

#[test]
fn the_bounds_and_the_words_are_those_that_are_checked() {
    let (mut bounds, mut words) = (0, 0);
    for (table, key) in keys() {
        let title = title(table, key);
        let accepts = |value: Value| load(&file_with(table, key, Some(value))).is_ok();
        for kind in key.kinds {
            match kind {
                Kind::Duration { from, to } => {
                    let read = |text: &str| humantime::parse_duration(text).unwrap();
                    let shown = |duration| Value::from(humantime::format_duration(duration).to_string());
                    let step = std::time::Duration::from_millis(1);
                    assert!(accepts((*from).into()) && accepts((*to).into()), "{title}: {from} to {to}");
                    assert!(!accepts(shown(read(to) + step)), "{title}: more than {to}");
                    let less = read(from).checked_sub(step);
                    assert!(less.is_none_or(|less| !accepts(shown(less))), "{title}: less than {from}");
                    bounds += 1;
                }
                Kind::Count { from, to, .. } => {
                    let count = |number: &u32| Value::from(i64::from(*number));
                    assert!(accepts(count(from)) && accepts(count(to)), "{title}: {from} to {to}");
                    assert!(
                        !accepts(count(&(from - 1))) && !accepts(count(&(to + 1))),
                        "{title}: out of {from} to {to}"
                    );
                    bounds += 1;
                }
                Kind::Words(these) => {
                    for word in *these {
                        assert!(accepts((*word).into()), "{title}: {word}");
                    }
                    assert!(!accepts("some-word".into()), "{title}: any word");
                    let refused = load(&file_with(table, key, Some("some-word".into()))).unwrap_err();
                    let problem = refused.problems()[0].render(false, config::DEFAULT_WIDTH);
                    // Where a list of words is shown for a mistake, it has no word that the reference lacks.
                    let shown = problem.split_once("is none of ").map(|(_, list)| list.lines().next().unwrap());
                    assert!(shown.is_none_or(|list| list.split(", ").count() == these.len()), "{title}: {problem}");
                    words += 1;
                }
                Kind::Flag => assert!(accepts(true.into()) && accepts(false.into()) && !accepts(1.into()), "{title}"),
                Kind::Size => assert!(accepts(1.into()) && accepts("1 PiB".into()) && !accepts(0.into()), "{title}"),
                Kind::Text(_) => assert!(!accepts(true.into()), "{title}"),
                Kind::List(_) => assert!(!accepts(1.into()), "{title}"),
                Kind::Table(_) => assert!(!accepts(Value::Array(vec![])), "{title}"),
            }
        }
    }
    assert!(bounds >= 10 && words >= 8, "only {bounds} bounds and {words} lists of words");
}

#[test]
fn the_keys_that_wait_for_a_restart_are_told() {
    for (table, key) in keys() {
        let without = match table.header {
            // Their tables are absent by default, and it is the whole that waits.
            "relay_service" | "metrics" => Toml::new(),
            _ => file_with(table, key, None),
        };
        let with = file_with(table, key, Some(value(key.example)));
        let waiting = restart_required(&valid(&without).desired, &valid(&with).desired);
        let names = [table.header.to_owned(), format!("{}.{}", table.header, key.name)];
        let waits = waiting.iter().any(|waiting| names.contains(waiting));
        assert_eq!(waits, key.waits_for_restart, "{}: {waiting:?}", title(table, key));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_built_yet_is_told_by_the_reference_and_by_the_service_alike() {
    let mut file = Toml::new();
    for (table, key) in keys().filter(|(table, key)| {
        !table.header.contains("NAME")
            && !["identity", "listen_addresses", "private_network_key_file"].contains(&key.name)
    }) {
        // The default of most is to be on, which is what the service tells of.
        let asks_for_it = match key.default {
            Default::Is(default) if default != "[]" => value(default),
            _ => value(key.example),
        };
        merge(&mut file, shortest(table));
        at(&mut file, table.header).insert(key.name.to_owned(), asks_for_it);
    }
    merge(
        &mut file,
        "[metrics]\nbind = '127.0.0.1:0'\n[listen.x]\ntarget = '127.0.0.1:1'\nallow = []".parse().unwrap(),
    );
    let mut node = Node::prepare("node", Transport::Tcp).await;
    at(&mut file, "node").insert("identity".into(), node.dir().join("identity.key").to_str().unwrap().into());
    at(&mut file, "node").insert("listen_addresses".into(), Value::Array(vec!["/ip4/127.0.0.1/tcp/0".into()]));
    fs::write(&node.config, file.to_string()).unwrap();
    node.spawn();
    let said = |log: &str| log.lines().find(|line| line.contains("these keys have no effect")).map(str::to_owned);
    let line = eventually("the service says what is not built", || async { said(&node.log_text()) }).await;
    let told = line.split_once("keys=\"").expect("it names keys").1.trim_end_matches('"');
    let told: Vec<_> = told.split(", ").map(str::to_owned).collect();
    let mut compared = 0;
    for (table, key) in keys().filter(|(table, _)| !table.header.is_empty() && !table.header.contains("NAME")) {
        // The service tells of this one in other words, for it goes further than having no effect.
        if key.name == "private_network_key_file" {
            continue;
        }
        let names = [table.header.to_owned(), format!("{}.{}", table.header, key.name)];
        let told = told.iter().any(|name| names.contains(name));
        assert_eq!(told, key.unbuilt.is_some(), "{}: {line}", title(table, key));
        compared += 1;
    }
    assert!(compared > 20, "only {compared}");
    node.stop().await;
}
