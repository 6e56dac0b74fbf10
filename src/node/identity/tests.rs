use std::{os::unix::fs::PermissionsExt, sync::Barrier, thread};

use super::*;

fn write_private(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

#[test]
fn a_new_identity_is_private_and_stays_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made/for/it/identity.key");
    let first = load_or_create(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&directory.path().join("made")), 0o700);
    assert!(first.warnings.is_empty());
    let id = first.peer_id();
    drop(first);
    assert_eq!(load_or_create(&path).unwrap().peer_id(), id);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing but the key is left");
}

#[test]
fn an_identity_serves_one_node_at_a_time_and_can_be_asked_for_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("identity.key");
    let held = load_or_create(&path).unwrap();
    assert!(matches!(load_or_create(&path), Err(IdentityError::InUse(_))));
    assert_eq!(read_peer_id(&path).unwrap(), held.peer_id());
    assert_eq!(create(&path).unwrap(), held.peer_id());
    drop(held);
    load_or_create(&path).unwrap();
}

#[test]
fn those_who_create_at_once_agree() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("identity.key");
    let start = Barrier::new(8);
    let ids: Vec<PeerId> = thread::scope(|scope| {
        let starters: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    create(&path).unwrap()
                })
            })
            .collect();
        starters.into_iter().map(|starter| starter.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]));
}

#[test]
fn a_key_that_the_world_can_read_is_refused_and_a_group_is_warned_about() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("identity.key");
    create(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(load_or_create(&path), Err(IdentityError::TooOpen(_))));
    assert!(matches!(read_peer_id(&path), Err(IdentityError::TooOpen(_))));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(load_or_create(&path).unwrap().warnings.len(), 1);
}

#[test]
fn every_kind_of_key_loads_as_bytes_and_as_base64() {
    let directory = tempfile::tempdir().unwrap();
    let generated = [Keypair::generate_ed25519(), Keypair::generate_secp256k1(), Keypair::generate_ecdsa()];
    let mut keys: Vec<(PeerId, Vec<u8>)> =
        generated.iter().map(|key| (key.public().to_peer_id(), key.to_protobuf_encoding().unwrap())).collect();
    // libp2p can't encode RSA keys, so this one was made by openssl and framed by hand.
    let rsa = rsa_in_protobuf(include_bytes!("tests/rsa-2048.pk1"));
    keys.push((Keypair::from_protobuf_encoding(&rsa).unwrap().public().to_peer_id(), rsa));
    assert_eq!(keys.len(), 4);
    for (number, (id, bytes)) in keys.iter().enumerate() {
        let as_bytes = directory.path().join(format!("{number}.key"));
        write_private(&as_bytes, bytes);
        assert_eq!(load_or_create(&as_bytes).unwrap().peer_id(), *id);
        let as_text = directory.path().join(format!("{number}.txt"));
        write_private(&as_text, format!("{}\n", Base64Pad.encode(bytes)).as_bytes());
        assert_eq!(load_or_create(&as_text).unwrap().peer_id(), *id);
    }
}

fn rsa_in_protobuf(pkcs1: &[u8]) -> Vec<u8> {
    let length = pkcs1.len();
    assert!((128..1 << 14).contains(&length), "a varint of two bytes");
    let mut bytes = vec![0x08, 0, 0x12, (length & 0x7f) as u8 | 0x80, (length >> 7) as u8];
    bytes.extend_from_slice(pkcs1);
    bytes
}

#[test]
fn what_is_no_key_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("identity.key");
    for bytes in [&b""[..], b"\n", b"hello", b"aGVsbG8=", &[b'a'; MAX_LENGTH as usize + 1]] {
        write_private(&path, bytes);
        let error = load_or_create(&path).unwrap_err();
        assert!(matches!(error, IdentityError::Malformed { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn directories_and_fifos_are_refused_without_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
    for path in [directory.path(), &fifo] {
        let error = load_or_create(path).unwrap_err();
        assert!(matches!(error, IdentityError::NotAFile { .. }), "{error}");
    }
}

#[test]
fn a_place_where_nothing_can_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let nowhere = directory.path().join("link");
    std::os::unix::fs::symlink(directory.path().join("no/where"), &nowhere).unwrap();
    let error = load_or_create(&nowhere).unwrap_err();
    assert!(matches!(&error, IdentityError::CannotCreate { path, .. } if *path == nowhere), "{error}");
}

#[test]
fn a_read_only_key_can_be_locked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("identity.key");
    create(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    let held = load_or_create(&path).unwrap();
    assert!(held.warnings.is_empty());
    assert!(matches!(load_or_create(&path), Err(IdentityError::InUse(_))));
}

#[test]
fn neither_errors_nor_debug_output_show_the_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("identity.key");
    let identity = load_or_create(&path).unwrap();
    assert_eq!(format!("{identity:?}"), format!("Identity({:?})", identity.peer_id()));
    drop(identity);
    write_private(&path, b"not-a-key-but-secret");
    let error = load_or_create(&path).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("secret"));
}
