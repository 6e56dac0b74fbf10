//! Which ciphers and key exchanges are agreed on.

use super::*;

async fn agreed(dialer: Ciphers, listener: Ciphers) -> Option<CipherSuite> {
    let (near, far) = pipe(1 << 16);
    let (dialed, accepted) = join(config(dialer).connect(near), config(listener).accept(far)).await;
    let ((_, near), (_, far)) = (dialed.unwrap(), accepted.unwrap());
    assert_eq!(near.cipher(), far.cipher());
    near.cipher()
}

#[tokio::test]
async fn a_machine_with_aes_takes_aes_as_listener_whatever_the_dialer_prefers() {
    for dialer in [Ciphers::Aes, Ciphers::AesByRing, Ciphers::ChaCha] {
        for listener in [Ciphers::Aes, Ciphers::AesByRing] {
            assert_eq!(agreed(dialer, listener).await, Some(CipherSuite::TLS13_AES_128_GCM_SHA256));
        }
    }
}

#[tokio::test]
async fn a_machine_without_aes_leaves_the_choice_to_the_dialer() {
    let (aes, chacha) = (CipherSuite::TLS13_AES_128_GCM_SHA256, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
    assert_eq!(agreed(Ciphers::Aes, Ciphers::ChaCha).await, Some(aes));
    assert_eq!(agreed(Ciphers::ChaCha, Ciphers::ChaCha).await, Some(chacha));
}

#[tokio::test]
async fn whose_implementation_of_a_cipher_an_end_uses_is_nothing_to_the_other() {
    let ciphers = [Ciphers::Aes, Ciphers::AesByRing];
    for (dialer, listener) in ciphers.into_iter().flat_map(|dialer| ciphers.map(|listener| (dialer, listener))) {
        let (near, far) = pipe(1 << 16);
        let (dialed, accepted) = join(config(dialer).connect(near), config(listener).accept(far)).await;
        let (mut near, mut far) = (dialed.unwrap().1, accepted.unwrap().1);
        near.refresh_keys();
        talk(&mut near, &mut far).await;
    }
}

#[tokio::test]
async fn stock_peers_take_aes_in_both_roles() {
    let theirs = stock::Config::new(&Keypair::generate_ed25519()).unwrap();
    let (near, far) = pipe(1 << 16);
    let (accepted, _dialed) =
        join(config(Ciphers::Aes).accept(near), theirs.clone().upgrade_outbound(far, "/tls/1.0.0")).await;
    assert_eq!(accepted.unwrap().1.cipher(), Some(CipherSuite::TLS13_AES_128_GCM_SHA256));
    let (near, far) = pipe(1 << 16);
    let (dialed, _accepted) = join(config(Ciphers::Aes).connect(near), theirs.upgrade_inbound(far, "/tls/1.0.0")).await;
    assert_eq!(dialed.unwrap().1.cipher(), Some(CipherSuite::TLS13_AES_128_GCM_SHA256));
}

#[tokio::test]
async fn keys_are_agreed_on_so_that_no_later_machine_can_tell_them() {
    let theirs = stock::Config::new(&Keypair::generate_ed25519()).unwrap();
    let (near, far) = pipe(1 << 16);
    let (dialed, _accepted) = join(config(Ciphers::Aes).connect(near), theirs.upgrade_inbound(far, "")).await;
    assert_eq!(dialed.unwrap().1.key_exchange(), Some(NamedGroup::X25519MLKEM768));
}

#[tokio::test]
async fn no_handshake_takes_a_second_round_or_resumes_another() {
    let (ours, theirs) = (config(Ciphers::Aes), stock::Config::new(&Keypair::generate_ed25519()).unwrap());
    for _ in 0..2 {
        let (near, far) = pipe(1 << 16);
        let (dialed, accepted) = join(ours.clone().connect(near), theirs.clone().upgrade_inbound(far, "")).await;
        let (mut near, mut far) = (dialed.unwrap().1, accepted.unwrap().1);
        assert_eq!(near.handshake_kind(), Some(HandshakeKind::Full));
        talk(&mut near, &mut far).await;
        let (near, far) = pipe(1 << 16);
        let (accepted, _dialed) = join(ours.clone().accept(near), theirs.clone().upgrade_outbound(far, "")).await;
        assert_eq!(accepted.unwrap().1.handshake_kind(), Some(HandshakeKind::Full));
    }
}
