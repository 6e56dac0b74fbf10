//! A file of a thousand tunnels.

use p2ptun::{
    config,
    spec::{Desired, PeerId},
};

/// As many listens as forwards, each with a protocol and an address of its own. `prefix` is part of the protocols.
pub fn file(prefix: &str) -> String {
    let peer = PeerId::random();
    let mut file = format!("[peers.friend]\nid = \"{peer}\"\n");
    for i in 0..500 {
        let (target, bind) = (10_000 + i, 20_000 + i);
        file += &format!(
            "\n[listen.service-{i}]\nprotocol = \"/x/{prefix}service-{i}\"\ntarget = \"127.0.0.1:{target}\"\n\
             allow = [\"friend\"]\n\
             \n[forward.client-{i}]\nprotocol = \"/x/{prefix}client-{i}\"\nbind = \"127.0.0.1:{bind}\"\n\
             peer = \"friend\"\n"
        );
    }
    file
}

/// What a file declares.
pub fn desired(file: &str) -> Desired {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p2ptun.toml");
    std::fs::write(&path, file).unwrap();
    config::load(&path).unwrap().desired
}
