//! On real files and in real time. Where nothing may happen, a later change shows that nothing did: it would have been
//! the second trigger, not the first.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::symlink,
};

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;

/// Far above what a loaded machine needs, far below the poll: who passes has seen a hint.
const SOON: Duration = Duration::from_secs(15);

struct Scene {
    root: PathBuf,
    watcher: Watcher,
    _directory: TempDir,
}

impl Scene {
    /// A directory that `prepare` fills, watched for changes to `file` and in the folder `directory`.
    async fn new(prepare: impl FnOnce(&Path), file: &str, directory: Option<&str>) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().canonicalize().unwrap();
        prepare(&root);
        let set = WatchSet {
            files: vec![root.join(file)],
            directories: directory.into_iter().map(|directory| root.join(directory)).collect(),
        };
        let mut scene = Self { root, watcher: Watcher::new(set), _directory: temporary };
        scene.is_triggered().await;
        scene
    }

    async fn is_triggered(&mut self) {
        timeout(SOON, self.watcher.changed()).await.expect("a trigger");
    }

    async fn takes_hints_until(&mut self, condition: impl Fn(&Settling) -> bool) {
        timeout(SOON, async {
            while !self.watcher.settling.as_ref().is_some_and(&condition) {
                let hint = self.watcher.hints.recv().await.unwrap();
                self.watcher.take(hint);
            }
        })
        .await
        .expect("hints");
    }

    /// Whether nothing waits to be looked at.
    fn is_quiet(&mut self) -> bool {
        self.watcher.settling.is_none() && self.watcher.hints.try_recv().is_err()
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.root.join(path), text).unwrap();
    }

    fn link(&self, target: &str, path: &str) {
        symlink(target, self.root.join(path)).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.root.join(from), self.root.join(to)).unwrap();
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.root.join(path)).unwrap();
    }

    fn make_directory(&self, path: &str) {
        fs::create_dir(self.root.join(path)).unwrap();
    }
}

fn one_file(root: &Path) {
    fs::write(root.join("p2ptun.toml"), "one").unwrap();
}

#[tokio::test]
async fn a_write_in_place_triggers() {
    let mut scene = Scene::new(one_file, "p2ptun.toml", None).await;
    for text in ["two", "three"] {
        scene.write("p2ptun.toml", text);
        scene.is_triggered().await;
    }
}

#[tokio::test]
async fn a_rename_over_the_file_triggers_again_and_again() {
    let mut scene = Scene::new(one_file, "p2ptun.toml", None).await;
    for text in ["two", "three"] {
        scene.write("new", text);
        scene.rename("new", "p2ptun.toml");
        scene.is_triggered().await;
    }
}

#[tokio::test]
async fn a_swapped_symlink_triggers_and_so_does_its_new_target() {
    let prepare = |root: &Path| {
        for directory in ["a", "b"] {
            fs::create_dir(root.join(directory)).unwrap();
            fs::write(root.join(directory).join("file"), directory).unwrap();
        }
        symlink("a/file", root.join("p2ptun.toml")).unwrap();
    };
    let mut scene = Scene::new(prepare, "p2ptun.toml", None).await;
    scene.link("b/file", "new");
    scene.rename("new", "p2ptun.toml");
    scene.is_triggered().await;
    scene.write("b/file", "changed");
    scene.is_triggered().await;
}

#[tokio::test]
async fn a_config_map_that_swaps_its_data_triggers_each_time() {
    let prepare = |root: &Path| {
        fs::create_dir(root.join("..0")).unwrap();
        fs::write(root.join("..0/p2ptun.toml"), "0").unwrap();
        symlink("..0", root.join("..data")).unwrap();
        symlink("..data/p2ptun.toml", root.join("p2ptun.toml")).unwrap();
    };
    let mut scene = Scene::new(prepare, "p2ptun.toml", None).await;
    for number in 1..=3 {
        scene.make_directory(&format!("..{number}"));
        scene.write(&format!("..{number}/p2ptun.toml"), "next");
        scene.link(&format!("..{number}"), "..data_tmp");
        scene.rename("..data_tmp", "..data");
        fs::remove_dir_all(scene.root.join(format!("..{}", number - 1))).unwrap();
        scene.is_triggered().await;
        assert_eq!(scene.watcher.files, [scene.root.join(format!("..{number}/p2ptun.toml"))].into());
    }
}

#[tokio::test]
async fn files_in_an_included_folder_trigger_when_they_come_change_and_go() {
    let prepare = |root: &Path| {
        one_file(root);
        fs::create_dir(root.join("p2ptun.d")).unwrap();
    };
    let mut scene = Scene::new(prepare, "p2ptun.toml", Some("p2ptun.d")).await;
    scene.write("p2ptun.d/a.toml", "one");
    scene.is_triggered().await;
    scene.write("p2ptun.d/a.toml", "two");
    scene.is_triggered().await;
    scene.remove("p2ptun.d/a.toml");
    scene.is_triggered().await;
}

#[tokio::test]
async fn an_included_folder_triggers_from_its_making_on_and_after_it_was_replaced() {
    let mut scene = Scene::new(one_file, "p2ptun.toml", Some("conf/p2ptun.d")).await;
    scene.make_directory("conf");
    scene.is_triggered().await;
    scene.make_directory("conf/p2ptun.d");
    scene.is_triggered().await;
    scene.write("conf/p2ptun.d/a.toml", "one");
    scene.is_triggered().await;
    scene.rename("conf/p2ptun.d", "conf/old");
    scene.make_directory("conf/p2ptun.d");
    scene.is_triggered().await;
    scene.write("conf/p2ptun.d/a.toml", "two");
    scene.is_triggered().await;
    fs::remove_dir_all(scene.root.join("conf")).unwrap();
    scene.is_triggered().await;
    scene.make_directory("conf");
    scene.is_triggered().await;
}

#[tokio::test]
async fn a_file_that_goes_and_comes_back_triggers_both_times() {
    let mut scene = Scene::new(one_file, "p2ptun.toml", None).await;
    scene.remove("p2ptun.toml");
    scene.is_triggered().await;
    scene.write("p2ptun.toml", "back");
    scene.is_triggered().await;
}

#[tokio::test]
async fn reading_does_not_trigger() {
    let prepare = |root: &Path| {
        one_file(root);
        fs::create_dir(root.join("p2ptun.d")).unwrap();
    };
    let mut scene = Scene::new(prepare, "p2ptun.toml", Some("p2ptun.d")).await;
    for _ in 0..10 {
        fs::read(scene.root.join("p2ptun.toml")).unwrap();
        assert_eq!(fs::read_dir(scene.root.join("p2ptun.d")).unwrap().count(), 0);
    }
    // Events come in order, so the first hint that there is belongs to what happened first.
    scene.write("p2ptun.d/sentinel", "");
    let hint = timeout(SOON, scene.watcher.hints.recv()).await.unwrap().unwrap().unwrap();
    assert_eq!(hint.paths, [scene.root.join("p2ptun.d/sentinel")]);
}

#[tokio::test]
async fn a_file_that_is_being_written_is_known_until_it_is_closed() {
    let mut scene = Scene::new(one_file, "p2ptun.toml", None).await;
    let mut file = File::create(scene.root.join("p2ptun.toml")).unwrap();
    file.write_all(b"half").unwrap();
    scene.takes_hints_until(|settling| !settling.writing.is_empty()).await;
    drop(file);
    scene.takes_hints_until(|settling| settling.writing.is_empty()).await;
    scene.is_triggered().await;
}

#[tokio::test]
async fn more_hints_than_there_is_room_for_still_trigger() {
    let mut scene = Scene::new(one_file, "p2ptun.toml", None).await;
    for number in 0..2 * HINTS {
        scene.write("p2ptun.toml", &number.to_string());
    }
    scene.is_triggered().await;
}

#[tokio::test]
async fn a_set_that_stays_the_same_is_not_looked_at_again() {
    let mut scene = Scene::new(one_file, "p2ptun.toml", None).await;
    scene.watcher.set(scene.watcher.set.clone());
    assert!(scene.is_quiet());
    scene.watcher.set(WatchSet { files: vec![scene.root.join("other.toml")], directories: vec![] });
    scene.is_triggered().await;
    scene.write("other.toml", "here");
    scene.is_triggered().await;
}

#[tokio::test(start_paused = true)]
async fn without_any_hint_there_is_a_look_now_and_then() {
    let mut scene = Scene::new(one_file, "p2ptun.toml", None).await;
    let start = Instant::now();
    scene.watcher.changed().await;
    assert!(start.elapsed() >= SLOW_POLL);
}

#[tokio::test(start_paused = true)]
async fn where_there_are_no_hints_to_be_had_the_looks_are_frequent() {
    let none_left: MakeNotify = |_| Err(notify::Error::generic("no inotify instance is left"));
    let set = WatchSet { files: vec!["/etc/p2ptun.toml".into()], directories: vec![] };
    let mut watcher = Watcher::with(none_left, set);
    watcher.changed().await;
    for _ in 0..3 {
        let start = Instant::now();
        watcher.changed().await;
        assert!((FAST_POLL..2 * FAST_POLL).contains(&start.elapsed()));
    }
}
