use std::os::unix::fs::symlink;

use super::*;

fn replaced(held: &Held, text: &str) -> bool {
    matches!(held.replace(text).unwrap(), Replaced::Done(losses) if losses.is_empty())
}

fn overtaken(held: &Held) -> bool {
    matches!(held.replace("mine").unwrap(), Replaced::Overtaken)
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

#[test]
fn what_an_editor_has_saved_meanwhile_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f");
    let edits: [&dyn Fn(); 5] = [
        &|| fs::write(&file, "theirs").unwrap(),
        &|| {
            fs::write(folder.path().join("new"), "old").unwrap();
            fs::rename(folder.path().join("new"), &file).unwrap();
        },
        &|| fs::remove_file(&file).unwrap(),
        &|| fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap(),
        &|| {
            fs::rename(&file, folder.path().join("other")).unwrap();
            symlink("other", &file).unwrap();
        },
    ];
    for (number, edit) in edits.iter().enumerate() {
        let _ = fs::remove_file(&file);
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        let held = Held::new(&file).unwrap();
        edit();
        assert!(overtaken(&held), "edit {number}");
        assert_ne!(fs::read(&file).unwrap_or_default(), b"mine", "edit {number}");
    }
}

#[test]
fn a_file_that_somebody_else_has_made_meanwhile_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f");
    let held = Held::new(&file).unwrap();
    assert!(held.is_new());
    fs::write(&file, "theirs").unwrap();
    assert!(overtaken(&held));
    assert_eq!((fs::read(&file).unwrap(), names(folder.path())), (b"theirs".to_vec(), vec!["f".to_owned()]));
}

#[test]
fn who_comes_second_waits_for_the_first_and_reads_what_it_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f");
    fs::write(&file, "one").unwrap();
    let first = Held::new(&file).unwrap();
    let (begun, began) = mpsc::channel();
    let second = {
        let file = file.clone();
        thread::spawn(move || {
            begun.send(()).unwrap();
            Held::new(&file).unwrap().bytes().to_vec()
        })
    };
    began.recv().unwrap();
    assert!(replaced(&first, "two"));
    drop(first);
    assert_eq!(second.join().unwrap(), b"two");
}

#[test]
fn attributes_and_mode_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f");
    fs::write(&file, "old").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    // Not every file system has any.
    let has_attributes = xattr::set(&file, "user.p2ptun.test", b"kept").is_ok();
    assert!(replaced(&Held::new(&file).unwrap(), "new"));
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
    if has_attributes {
        assert_eq!(xattr::get(&file, "user.p2ptun.test").unwrap().as_deref(), Some(b"kept".as_slice()));
    }
    assert_eq!(names(folder.path()), ["f"]);
}

/// An access list by which also `user` may read, as the kernel takes it.
fn access_list(user: u32) -> Vec<u8> {
    const NOBODY: u32 = u32::MAX;
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, NOBODY), (2, 4, user), (4, 4, NOBODY), (16, 6, NOBODY), (32, 0, NOBODY)];
    let entry =
        |(tag, may, id): (u16, u16, u32)| [&tag.to_le_bytes()[..], &may.to_le_bytes(), &id.to_le_bytes()].concat();
    [&2u32.to_le_bytes()[..], &entries.map(entry).concat()].concat()
}

#[test]
fn who_may_read_a_file_is_kept_and_the_folder_adds_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("plain"), "old").unwrap();
    fs::set_permissions(path("plain"), Permissions::from_mode(0o640)).unwrap();
    fs::write(path("listed"), "old").unwrap();
    let has_lists = xattr::set(path("listed"), ACCESS_LIST, &access_list(1234)).is_ok();
    if !has_lists {
        return eprintln!("NOT TRIED: the file system knows no access lists");
    }
    xattr::set(folder.path(), "system.posix_acl_default", &access_list(4321)).unwrap();
    for name in ["plain", "listed"] {
        let mode = fs::metadata(path(name)).unwrap().mode();
        assert!(replaced(&Held::new(&path(name)).unwrap(), "new"));
        assert_eq!(fs::metadata(path(name)).unwrap().mode(), mode, "{name}");
    }
    assert_eq!(xattr::get(path("plain"), ACCESS_LIST).unwrap(), None);
    assert_eq!(xattr::get(path("listed"), ACCESS_LIST).unwrap(), Some(access_list(1234)));
}

#[test]
fn what_would_be_too_large_to_be_read_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f");
    fs::write(&file, "old").unwrap();
    let error = Held::new(&file).unwrap().replace(&"#".repeat((4 << 20) + 1)).err().unwrap();
    assert!(error.to_string().contains("larger than 4 MiB"), "{error}");
    assert_eq!((fs::read(&file).unwrap(), names(folder.path())), (b"old".to_vec(), vec!["f".to_owned()]));
}

#[test]
fn a_new_file_can_be_read_by_all_whatever_the_umask() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f");
    assert!(replaced(&Held::new(&file).unwrap(), "new"));
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o644);
}

#[test]
fn what_cannot_be_replaced_without_a_loss_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f");
    fs::write(&file, "old").unwrap();
    fs::hard_link(&file, folder.path().join("g")).unwrap();
    let error = |held: io::Result<Held>| held.and_then(|held| held.replace("new")).err().unwrap().to_string();
    assert!(error(Held::new(&file)).contains("several hard links"));
    fs::remove_file(folder.path().join("g")).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o444)).unwrap();
    assert!(error(Held::new(&file)).contains("it is read-only"), "also for root");
    symlink("nowhere", folder.path().join("l")).unwrap();
    assert!(error(Held::new(&folder.path().join("l"))).contains("leads nowhere"));
    assert_eq!(fs::read(&file).unwrap(), b"old");
}

#[test]
fn a_lock_that_somebody_keeps_prevents_no_edit() {
    let folder = tempfile::tempdir().unwrap();
    let kept = lock(folder.path(), LOCK_TIMEOUT).unwrap();
    assert!(File::open(folder.path()).unwrap().try_lock().is_err(), "it is locked");
    assert!(lock(folder.path(), Duration::from_millis(1)).is_ok());
    drop(kept);
}
