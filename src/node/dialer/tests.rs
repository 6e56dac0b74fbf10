use super::*;

const TCP: &str = "/ip4/127.0.0.1/tcp/1";
const QUIC: &str = "/ip4/127.0.0.1/udp/1/quic-v1";

fn dialer(addresses: &[&str], kept: bool, now: Instant) -> (Dialer, PeerId) {
    let peer = PeerId::random();
    let mut dialer = Dialer::default();
    let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
    dialer.configure(&[(peer, addresses)].into(), &kept.then_some(peer).into_iter().collect(), now);
    (dialer, peer)
}

fn begin(dialer: &mut Dialer, now: Instant, id: usize) -> Option<(String, ConnectionId)> {
    let mut due = dialer.due(now);
    assert!(due.len() <= 1);
    let dial = due.pop()?;
    let id = ConnectionId::new_unchecked(id);
    dialer.dialling(dial.peer, id);
    Some((dial.addresses[0].to_string(), id))
}

#[test]
fn tcp_has_a_head_start_of_250_ms_over_quic() {
    let start = Instant::now();
    let (mut dialer, _) = dialer(&[QUIC, TCP], true, start);
    assert_eq!(begin(&mut dialer, start, 1).unwrap().0, TCP);
    assert_eq!(dialer.next_due(), Some(start + QUIC_DELAY));
    assert_eq!(begin(&mut dialer, start + QUIC_DELAY / 2, 2), None);
    assert_eq!(begin(&mut dialer, start + QUIC_DELAY, 2).unwrap().0, QUIC);
}

#[test]
fn quic_is_tried_at_once_when_tcp_has_failed_and_the_round_ends_with_it() {
    let start = Instant::now();
    let (mut dialer, peer) = dialer(&[TCP, QUIC], true, start);
    let (_, tcp) = begin(&mut dialer, start, 1).unwrap();
    assert_eq!(dialer.failed(tcp, "refused".into(), |_| false, start), None);
    let (_, quic) = begin(&mut dialer, start, 2).unwrap();
    let ended = dialer.failed(quic, "timed out".into(), |_| false, start);
    assert_eq!(ended, Some((peer, "refused; timed out".into())));
    let next = dialer.next_due().unwrap() - start;
    assert!(next > Duration::ZERO && next <= Duration::from_millis(500), "{next:?}");
}

#[test]
fn a_peer_with_only_a_quic_address_is_dialled_over_quic_at_once() {
    let start = Instant::now();
    let (mut dialer, _) = dialer(&[QUIC], true, start);
    assert_eq!(begin(&mut dialer, start, 1).unwrap().0, QUIC);
}

#[test]
fn pauses_grow_to_a_minute_but_stay_within_a_second_while_a_client_waits() {
    let mut now = Instant::now();
    let (mut dialer, peer) = dialer(&[TCP], true, now);
    for round in 0..40 {
        let (_, id) = begin(&mut dialer, now, round).unwrap();
        dialer.failed(id, "refused".into(), |_| false, now).unwrap();
        let pause = dialer.next_due().unwrap() - now;
        assert!(pause <= Duration::from_secs(60));
        assert!(round < 10 || pause >= Duration::from_secs(30));
        now += pause;
    }
    let (_, id) = begin(&mut dialer, now, 100).unwrap();
    dialer.failed(id, "refused".into(), |_| true, now).unwrap();
    assert!(dialer.next_due().unwrap() - now <= Duration::from_secs(1));
    let (_, id) = begin(&mut dialer, now + Duration::from_secs(1), 101).unwrap();
    dialer.failed(id, "refused".into(), |_| false, now).unwrap();
    dialer.waited_for([peer], now);
    assert!(dialer.next_due().unwrap() - now <= Duration::from_secs(1));
}

#[test]
fn a_peer_that_is_not_kept_is_dialled_only_while_somebody_waits() {
    let now = Instant::now();
    let (mut dialer, peer) = dialer(&[TCP], false, now);
    assert_eq!(dialer.next_due(), None);
    dialer.waited_for([peer], now);
    let (_, id) = begin(&mut dialer, now, 1).unwrap();
    dialer.failed(id, "refused".into(), |_| false, now);
    assert_eq!(dialer.next_due(), None);
}

#[test]
fn a_kept_peer_is_dialled_again_soon_after_its_connection_has_gone() {
    let now = Instant::now();
    let (mut dialer, peer) = dialer(&[TCP], true, now);
    let (_, id) = begin(&mut dialer, now, 1).unwrap();
    dialer.connected(peer, id, true, now);
    assert_eq!(dialer.next_due(), None);
    let now = now + STEADY;
    dialer.disconnected(peer, "the connection was closed", now);
    assert!(dialer.next_due().unwrap() - now <= Duration::from_millis(125));
}

#[test]
fn a_new_configuration_ends_the_pause() {
    let now = Instant::now();
    let (mut dialer, peer) = dialer(&[TCP], true, now);
    let (_, id) = begin(&mut dialer, now, 1).unwrap();
    dialer.failed(id, "refused".into(), |_| false, now).unwrap();
    dialer.configure(&[(peer, vec![TCP.parse().unwrap()])].into(), &[peer].into(), now);
    assert_eq!(dialer.next_due(), Some(now));
    dialer.configure(&BTreeMap::new(), &BTreeSet::new(), now);
    assert_eq!(dialer.next_due(), None);
}

#[test]
fn connections_that_die_young_are_not_dialled_again_ever_faster() {
    let mut now = Instant::now();
    let (mut dialer, peer) = dialer(&[TCP], true, now);
    let begun = now;
    let mut dials = 0;
    while now < begun + Duration::from_secs(600) {
        let (_, id) = begin(&mut dialer, now, dials).unwrap();
        dials += 1;
        dialer.connected(peer, id, true, now);
        dialer.disconnected(peer, "the connection was closed", now);
        now = dialer.next_due().unwrap();
    }
    assert!(dials < 40, "{dials} dials in ten minutes");
}

#[test]
fn a_peer_that_is_connected_when_the_file_first_names_it_is_not_dialled() {
    let now = Instant::now();
    let mut dialer = Dialer::default();
    let peer = PeerId::random();
    let configure = |dialer: &mut Dialer| {
        dialer.configure(&[(peer, vec![TCP.parse().unwrap()])].into(), &[peer].into(), now);
    };
    // It dialled us.
    dialer.connected(peer, ConnectionId::new_unchecked(1), true, now);
    configure(&mut dialer);
    assert_eq!(dialer.next_due(), None);
    // Taken out of the file and put back.
    dialer.configure(&BTreeMap::new(), &BTreeSet::new(), now);
    configure(&mut dialer);
    assert_eq!(dialer.next_due(), None);
    dialer.disconnected(peer, "the connection was closed", now);
    assert!(dialer.next_due().is_some());
}

#[test]
fn what_failed_beside_a_connection_is_no_reason_of_a_later_round() {
    let now = Instant::now();
    let (mut dialer, peer) = dialer(&[TCP, QUIC], true, now);
    let (_, tcp) = begin(&mut dialer, now, 1).unwrap();
    let (_, quic) = begin(&mut dialer, now + QUIC_DELAY, 2).unwrap();
    dialer.connected(peer, tcp, true, now);
    assert_eq!(dialer.failed(quic, "blocked".into(), |_| false, now), None);
    dialer.disconnected(peer, "the connection was closed", now);
    let now = dialer.next_due().unwrap();
    let (_, tcp) = begin(&mut dialer, now, 3).unwrap();
    dialer.failed(tcp, "refused".into(), |_| false, now);
    let (_, quic) = begin(&mut dialer, now, 4).unwrap();
    let ended = dialer.failed(quic, "timed out".into(), |_| false, now);
    assert_eq!(ended, Some((peer, "refused; timed out".into())));
}

#[test]
fn dials_of_an_earlier_time_do_not_count_in_a_later_round() {
    let now = Instant::now();
    let (mut dialer, peer) = dialer(&[TCP], true, now);
    let (_, old) = begin(&mut dialer, now, 1).unwrap();
    dialer.configure(&BTreeMap::new(), &BTreeSet::new(), now);
    dialer.configure(&[(peer, vec![TCP.parse().unwrap()])].into(), &[peer].into(), now);
    let (_, new) = begin(&mut dialer, now, 2).unwrap();
    assert_eq!(dialer.failed(old, "refused".into(), |_| false, now), None);
    assert!(dialer.failed(new, "refused".into(), |_| false, now).is_some());
}

#[test]
fn it_is_told_why_a_peer_is_away_and_when_it_is_dialled_next_and_nothing_once_it_is_connected() {
    let now = Instant::now();
    let (mut dialer, peer) = dialer(&[TCP], true, now);
    let reason = |away: &Away| away.failure.as_ref().map(|failure| failure.reason.to_string());
    let begun = dialer.away()[&peer].clone();
    assert_eq!((reason(&begun), begun.retry_at.is_some()), (None, true));

    let (_, id) = begin(&mut dialer, now, 1).unwrap();
    assert_eq!(dialer.away()[&peer], begun, "it is being dialled since then");
    dialer.failed(id, "refused".into(), |_| false, now).unwrap();
    let failed = dialer.away()[&peer].clone();
    assert_eq!(reason(&failed).as_deref(), Some("refused"));
    assert!(failed.retry_at > begun.retry_at, "{failed:?}");
    assert_eq!(dialer.away()[&peer], failed, "it looks the same while nothing happens");

    let now = dialer.next_due().unwrap();
    let (_, id) = begin(&mut dialer, now, 2).unwrap();
    assert_eq!(dialer.away()[&peer], failed, "the last word until this round has ended");
    dialer.connected(peer, id, true, now);
    assert!(dialer.away().is_empty());
    dialer.disconnected(peer, "the connection was lost: timed out", now);
    assert_eq!(reason(&dialer.away()[&peer]).as_deref(), Some("the connection was lost: timed out"));
}

#[test]
fn a_peer_without_an_address_is_told_as_such_and_not_as_one_that_is_dialled() {
    let now = Instant::now();
    let (mut dialer, peer) = dialer(&[], true, now);
    assert_eq!(dialer.due(now), []);
    let away = &dialer.away()[&peer];
    assert_eq!((&*away.failure.as_ref().unwrap().reason, away.retry_at), (NO_ADDRESS, None));
    let (dialer, _) = self::dialer(&[TCP], false, now);
    assert!(dialer.away().is_empty(), "nobody wants it");
}

#[test]
fn a_peer_that_is_connected_by_quic_alone_is_dialled_by_tcp_now_and_then() {
    let start = Instant::now();
    let (mut dialer, peer) = dialer(&[TCP, QUIC], true, start);
    let (_, tcp) = begin(&mut dialer, start, 1).unwrap();
    let (_, quic) = begin(&mut dialer, start + QUIC_DELAY, 2).unwrap();
    let mut now = start + QUIC_DELAY;
    dialer.connected(peer, quic, false, now);
    assert_eq!(dialer.failed(tcp, "timed out".into(), |_| false, now), None);
    for attempt in 3..20 {
        now = dialer.next_due().unwrap();
        let (address, id) = begin(&mut dialer, now, attempt).unwrap();
        assert_eq!(address, TCP);
        assert_eq!(dialer.failed(id, "refused".into(), |_| false, now), None, "the peer is connected");
        let pause = dialer.next_due().unwrap() - now;
        assert!(pause <= Duration::from_secs(600) && (attempt < 13 || pause >= Duration::from_secs(300)), "{pause:?}");
    }
    now = dialer.next_due().unwrap();
    let (_, tcp) = begin(&mut dialer, now, 20).unwrap();
    dialer.connected(peer, tcp, true, now);
    dialer.connected(peer, ConnectionId::new_unchecked(21), false, now);
    assert_eq!(dialer.next_due(), None);
    dialer.otherwise_connected(peer, now);
    assert!(dialer.next_due().unwrap() - now <= Duration::from_secs(5), "the one by TCP has gone");
    let soon = dialer.next_due();
    dialer.otherwise_connected(peer, now + Duration::from_secs(1));
    assert_eq!(dialer.next_due(), soon, "others that go meanwhile change nothing");
    dialer.disconnected(peer, "lost", now);
    now = dialer.next_due().unwrap();
    let (_, id) = begin(&mut dialer, now, 22).unwrap();
    dialer.connected(peer, id, false, now);
    assert!(dialer.next_due().unwrap() - now <= Duration::from_secs(5), "pauses are short again");
}
