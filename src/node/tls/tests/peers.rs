//! Who is at the other end, and what a handshake refuses.

use super::*;

#[tokio::test]
async fn a_stock_listener_takes_our_dialer() {
    for keypair in [Keypair::generate_ed25519(), Keypair::generate_ecdsa(), Keypair::generate_secp256k1()] {
        let theirs = Keypair::generate_ed25519();
        let (near, far) = pipe(1 << 16);
        let (dialed, accepted) = join(
            Config::new(&keypair).unwrap().connect(near),
            stock::Config::new(&theirs).unwrap().upgrade_inbound(far, "/tls/1.0.0"),
        )
        .await;
        let ((peer, mut near), (own, mut far)) = (dialed.unwrap(), accepted.unwrap());
        assert_eq!((peer, own), (theirs.public().to_peer_id(), keypair.public().to_peer_id()));
        talk(&mut near, &mut far).await;
    }
}

#[tokio::test]
async fn our_listener_takes_a_stock_dialer() {
    for theirs in [Keypair::generate_ed25519(), Keypair::generate_ecdsa(), Keypair::generate_secp256k1()] {
        let keypair = Keypair::generate_ed25519();
        let (near, far) = pipe(1 << 16);
        let (accepted, dialed) = join(
            Config::new(&keypair).unwrap().accept(near),
            stock::Config::new(&theirs).unwrap().upgrade_outbound(far, "/tls/1.0.0"),
        )
        .await;
        let ((peer, mut near), (own, mut far)) = (accepted.unwrap(), dialed.unwrap());
        assert_eq!((peer, own), (theirs.public().to_peer_id(), keypair.public().to_peer_id()));
        talk(&mut near, &mut far).await;
    }
}

/// `impostor` with the certificate that `victim` vouched for, but not its key.
fn with_certificate_of(victim: &Keypair, impostor: &Keypair) -> Config {
    let (certificate, _) = certificate::generate(victim).unwrap();
    let (_, key) = certificate::generate(impostor).unwrap();
    let provider = aws_lc_rs::default_provider();
    let key = provider.key_provider.load_private_key(key).unwrap();
    Config::with_certificate(CertifiedKey::new(vec![certificate], key), Ciphers::Aes).unwrap()
}

#[tokio::test]
async fn who_only_copied_a_certificate_is_refused_by_either_side() {
    let (victim, impostor) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let (near, far) = pipe(1 << 16);
    let (dialed, _) =
        join(config(Ciphers::Aes).connect(near), with_certificate_of(&victim, &impostor).accept(far)).await;
    let error = dialed.err().unwrap();
    assert!(error.to_string().contains("BadSignature"), "{error}");

    let (near, far) = pipe(1 << 16);
    let (_, accepted) =
        join(with_certificate_of(&victim, &impostor).connect(near), config(Ciphers::Aes).accept(far)).await;
    let error = accepted.err().unwrap();
    assert!(error.to_string().contains("BadSignature"), "{error}");
}

#[tokio::test]
async fn a_certificate_with_a_turned_bit_is_refused() {
    let (certificate, key) = certificate::generate(&Keypair::generate_ed25519()).unwrap();
    let provider = aws_lc_rs::default_provider();
    for at in [certificate.len() / 2, certificate.len() - 90] {
        let mut bytes = certificate.to_vec();
        bytes[at] ^= 1;
        let key = provider.key_provider.load_private_key(key.clone_key()).unwrap();
        let own = CertifiedKey::new(vec![bytes.into()], key);
        let (near, far) = pipe(1 << 16);
        let (_, accepted) =
            join(Config::with_certificate(own, Ciphers::Aes).unwrap().connect(near), config(Ciphers::Aes).accept(far))
                .await;
        assert_eq!(accepted.err().unwrap().kind(), io::ErrorKind::InvalidData);
    }
}

#[tokio::test]
async fn a_second_certificate_is_refused() {
    let (first, key) = certificate::generate(&Keypair::generate_ed25519()).unwrap();
    let (second, _) = certificate::generate(&Keypair::generate_ed25519()).unwrap();
    let key = aws_lc_rs::default_provider().key_provider.load_private_key(key).unwrap();
    let own = Config::with_certificate(CertifiedKey::new(vec![first, second], key), Ciphers::Aes).unwrap();
    let (near, far) = pipe(1 << 16);
    let (dialed, _) = join(config(Ciphers::Aes).connect(near), own.accept(far)).await;
    let error = dialed.err().unwrap();
    assert!(error.to_string().contains("exactly one certificate"), "{error}");
}

#[tokio::test]
async fn a_handshake_that_stops_short_is_an_error() {
    let (near, far) = pipe(1 << 16);
    let (dialed, ()) = join(config(Ciphers::Aes).connect(near), async {
        let mut far = far;
        let _ = far.read(&mut [0; 100]).await.unwrap();
    })
    .await;
    assert!(dialed.is_err());
}

#[tokio::test]
async fn nonsense_is_an_error_and_gets_an_alert() {
    let (near, mut far) = pipe(1 << 16);
    let (accepted, alert) = join(config(Ciphers::Aes).accept(near), async {
        far.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut alert = [0; 5];
        far.read_exact(&mut alert).await.unwrap();
        alert
    })
    .await;
    assert_eq!(accepted.err().unwrap().kind(), io::ErrorKind::InvalidData);
    assert_eq!(alert[0], 21, "the content type of an alert");
}
