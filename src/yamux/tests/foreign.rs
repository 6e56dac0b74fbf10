//! With the muxer that other users of rust-libp2p have, and with peers that keep to nothing.

use futures::io::copy;
use proptest::prelude::*;

use super::*;

/// A connection of the yamux crate that echoes what comes, and opens `opens` streams of which it hands the ends out.
async fn theirs(io: Wire, mode: ::yamux::Mode, opens: usize, opened: tokio::sync::mpsc::Sender<::yamux::Stream>) {
    let mut connection = ::yamux::Connection::new(io, ::yamux::Config::default(), mode);
    for _ in 0..opens {
        let stream = poll_fn(|cx| connection.poll_new_outbound(cx)).await.unwrap();
        opened.send(stream).await.unwrap();
    }
    drop(opened);
    let mut echoes = JoinSet::new();
    while let Some(Ok(stream)) = poll_fn(|cx| connection.poll_next_inbound(cx)).await {
        echoes.spawn(async move {
            let (reader, mut writer) = stream.split();
            copy(reader, &mut writer).await.unwrap();
            writer.close().await.unwrap();
        });
    }
}

async fn talk<S>(stream: S, size: usize)
where
    S: futures::AsyncRead + futures::AsyncWrite + Unpin,
{
    let (mut reader, mut writer) = stream.split();
    let said = pattern(size);
    let say = async {
        writer.write_all(&said).await.unwrap();
        writer.close().await.unwrap();
    };
    let mut heard = Vec::new();
    let (_, got) = tokio::join!(say, reader.read_to_end(&mut heard));
    got.unwrap();
    assert!(heard == said);
}

#[tokio::test]
async fn the_yamux_crate_is_understood_and_understands_in_either_part() {
    for (role, mode) in [(Role::Dialer, ::yamux::Mode::Server), (Role::Listener, ::yamux::Mode::Client)] {
        let (one, other) = wire();
        let (mut connection, driver) = new(one, role, config());
        let (opened, mut theirs_to_talk) = tokio::sync::mpsc::channel(100);
        let mut tasks = JoinSet::new();
        tasks.spawn(async { drop(driver.await) });
        tasks.spawn(theirs(other, mode, 50, opened));
        let mut talks = JoinSet::new();
        // Not nothing at all: the crate ends a stream of which it has never told us.
        for i in 1..=50 {
            let stream = open(&mut connection).await;
            talks.spawn(talk(stream, 10_000 * i));
        }
        for i in 1..=50 {
            let their = theirs_to_talk.recv().await.unwrap();
            talks.spawn(talk(their, 10_000 * i));
        }
        tasks.spawn(async move {
            let mut echoes = JoinSet::new();
            loop {
                let stream = accept(&mut connection).await;
                echoes.spawn(async move {
                    let (reader, mut writer) = stream.split();
                    copy(reader, &mut writer).await.unwrap();
                    writer.close().await.unwrap();
                });
            }
        });
        talks.join_all().await;
    }
}

#[tokio::test]
async fn how_the_yamux_crate_lets_go_of_a_stream_is_told_from_its_end() {
    for is_killed in [false, true] {
        let (one, other) = wire();
        let (mut connection, driver) = new(one, Role::Listener, config());
        let (opened, mut theirs_to_use) = tokio::sync::mpsc::channel(2);
        let mut tasks = JoinSet::new();
        tasks.spawn(async { drop(driver.await) });
        let far_end = tasks.spawn(theirs(other, ::yamux::Mode::Client, 2, opened));
        let mut own = Vec::new();
        let mut said = Vec::new();
        for _ in 0..2 {
            let mut their = theirs_to_use.recv().await.unwrap();
            their.write_all(b"the last words").await.unwrap();
            let mut ours = accept(&mut connection).await;
            ours.read_exact(&mut [0; 14]).await.unwrap();
            own.push(ours);
            said.push(their);
        }
        let (mut closed, mut dropped) = (own.remove(0), own.remove(0));
        said[0].close().await.unwrap();
        assert_eq!(closed.read(&mut [0]).await.unwrap(), 0, "an end is an end");
        match is_killed {
            true => far_end.abort(),
            false => drop(said.pop()),
        }
        assert_eq!(kind(dropped.read(&mut [0]).await), io::ErrorKind::ConnectionReset, "killed: {is_killed}");
        if !is_killed {
            // Only that one.
            closed.write_all(b"an answer").await.unwrap();
            said[0].read_exact(&mut [0; 9]).await.unwrap();
        }
    }
}

/// What our listener makes of `said`: why the connection ends, and what it answers.
async fn answer(said: &[u8]) -> (Error, Vec<u8>) {
    let (one, mut other) = wire();
    let (_connection, driver) = new(one, Role::Listener, config_with(|| 2, 0));
    let mut driver = JoinSet::from_iter([driver]);
    let mut answer = Vec::new();
    let (mut reader, mut writer) = (&mut other).split();
    let say = async {
        let _ = writer.write_all(said).await;
        // The answer has its turn.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        let _ = writer.close().await;
    };
    let (_, _) = tokio::join!(say, reader.read_to_end(&mut answer));
    (driver.join_next().await.unwrap().unwrap(), answer)
}

const SYN: u8 = 1;

fn frame(kind: u8, flags: u8, stream: u8, length: u32) -> Vec<u8> {
    let mut frame = vec![0, kind, 0, flags, 0, 0, 0, stream];
    frame.extend(length.to_be_bytes());
    frame
}

#[tokio::test]
async fn who_breaks_the_protocol_is_told_and_left() {
    let opened = frame(1, SYN, 1, 0);
    let cases = [
        (frame(9, 0, 0, 0), Violation::Kind(9)),
        (vec![1; 12], Violation::Version(1)),
        (frame(1, SYN, 2, 0), Violation::ForeignId(2)),
        (frame(1, SYN, 0, 0), Violation::ForeignId(0)),
        ([opened.clone(), opened.clone()].concat(), Violation::ReusedId(1)),
        ([opened.clone(), frame(0, 0, 1, 256 * 1024 + 1)].concat(), Violation::Window(1)),
        ([opened.clone(), frame(1, 0, 1, u32::MAX)].concat(), Violation::Credit(1)),
    ];
    let go_away = frame(3, 0, 0, 1);
    for (said, violation) in cases {
        let (error, answer) = answer(&said).await;
        assert!(matches!(error, Error::Protocol(found) if found == violation), "{violation:?}: {error:?}");
        assert!(answer.ends_with(&go_away), "{violation:?}: {answer:?}");
    }
}

#[tokio::test]
async fn who_opens_too_much_and_who_writes_after_the_end_is_reset_alone() {
    let reset = |stream| frame(1, 8, stream, 0);
    let opened: Vec<u8> = [1, 3, 5].iter().flat_map(|stream| frame(0, SYN, *stream, 0)).collect();
    let (error, heard) = answer(&opened).await;
    assert!(matches!(error, Error::ClosedByPeer), "{error}");
    assert!(heard.ends_with(&reset(5)), "{heard:?}");
    let ended = [frame(0, SYN | 4, 1, 0), frame(0, 0, 1, 3), b"abc".to_vec(), frame(2, SYN, 0, 7)].concat();
    let (error, heard) = answer(&ended).await;
    assert!(matches!(error, Error::ClosedByPeer), "{error}");
    assert!(heard.ends_with(&[reset(1), frame(2, 2, 0, 7)].concat()), "{heard:?}");
}

#[tokio::test]
async fn a_connection_that_breaks_within_a_frame_was_lost() {
    let (error, _) = answer(&[frame(0, SYN, 1, 10), b"abc".to_vec()].concat()).await;
    assert!(matches!(error, Error::Lost(_)), "{error}");
}

#[tokio::test]
async fn what_had_come_before_the_connection_was_lost_can_be_read() {
    let (one, mut other) = wire();
    let (mut connection, driver) = new(one, Role::Listener, config());
    let mut driver = JoinSet::from_iter([driver]);
    other.write_all(&frame(1, SYN, 1, 0)).await.unwrap();
    let mut stream = accept(&mut connection).await;
    // It can't be written to after that, and the welcome is still to be written.
    other.write_all(&[frame(0, 4, 1, 3), b"abc".to_vec()].concat()).await.unwrap();
    drop(other);
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"abc");
    let error = driver.join_next().await.unwrap().unwrap();
    assert!(matches!(error, Error::Lost(_)), "{error}");
}

#[tokio::test]
async fn streams_that_are_reset_before_anybody_accepts_them_count_until_somebody_has() {
    let (one, mut other) = wire();
    let (mut connection, driver) = new(one, Role::Listener, config_with(|| 2, 0));
    let _driver = JoinSet::from_iter([driver]);
    for stream in (1..200).step_by(2) {
        other.write_all(&[frame(1, SYN, stream, 0), frame(1, 8, stream, 0)].concat()).await.unwrap();
    }
    // It answers in order: by then, it has heard all that.
    let ping = frame(2, SYN, 0, 7);
    other.write_all(&ping).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(&frame(2, 2, 0, 7)) {
        let mut header = [0; 12];
        other.read_exact(&mut header).await.unwrap();
        answer.extend(header);
    }
    for _ in 0..2 {
        accept(&mut connection).await;
    }
    assert!(futures::poll!(poll_fn(|cx| connection.poll_inbound(cx))).is_pending());
    assert!(answer.windows(12).any(|window| window == frame(1, 8, 199, 0)), "the others are refused");
}

#[tokio::test]
async fn who_writes_on_and_on_to_one_that_has_gone_is_told_once() {
    let (one, mut other) = wire();
    let (mut connection, driver) = new(one, Role::Listener, config());
    let _driver = JoinSet::from_iter([driver]);
    other.write_all(&frame(1, SYN, 1, 0)).await.unwrap();
    let mut stream = accept(&mut connection).await;
    stream.close().await.unwrap();
    drop(stream);
    other.write_all(&frame(0, 0, 1, 20_000)).await.unwrap();
    for _ in 0..20 {
        other.write_all(&[0; 1_000]).await.unwrap();
        tokio::task::yield_now().await;
    }
    other.write_all(&frame(2, SYN, 0, 7)).await.unwrap();
    let mut resets = 0;
    loop {
        let mut header = [0; 12];
        other.read_exact(&mut header).await.unwrap();
        resets += usize::from(header[..] == frame(1, 8, 1, 0));
        if header[..] == frame(2, 2, 0, 7) {
            break;
        }
    }
    assert_eq!(resets, 1);
}

#[tokio::test]
async fn who_causes_answers_and_hears_none_is_left() {
    let (one, mut other) = wire();
    let (mut connection, driver) = new(one, Role::Listener, config());
    let mut driver = JoinSet::from_iter([driver]);
    // It goes on after its end.
    let said = [frame(1, SYN | 4, 1, 0), frame(0, 0, 1, 1), vec![7]].concat();
    let speaking = async move {
        for _ in 0..20_000 {
            if other.write_all(&said).await.is_err() {
                break;
            }
        }
    };
    let accepting = async { while poll_fn(|cx| connection.poll_inbound(cx)).await.is_ok() {} };
    tokio::join!(speaking, accepting);
    let error = driver.join_next().await.unwrap().unwrap();
    assert!(matches!(error, Error::Protocol(Violation::Unheard)), "{error}");
}

#[tokio::test]
async fn who_closes_a_connection_stays_until_the_far_end_has_heard_all_and_left() {
    let (one, mut other) = wire();
    let (mut connection, driver) = new(one, Role::Dialer, config());
    let _driver = JoinSet::from_iter([driver]);
    let closing = async { poll_fn(|cx| connection.poll_close(cx)).await };
    let leaving = async {
        let mut heard = Vec::new();
        other.read_to_end(&mut heard).await.unwrap();
        assert!(heard.ends_with(&frame(3, 0, 0, 0)), "{heard:?}");
        // On a socket that nobody holds any more, this would break what is still on its way here.
        for _ in 0..1_000 {
            other.write_all(&frame(2, SYN, 0, 7)).await.unwrap();
        }
        drop(other);
    };
    let (closed, ()) = tokio::join!(closing, leaving);
    closed.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_closes_a_connection_while_a_frame_is_on_its_way_says_goodbye() {
    let (one, mut other) = wire();
    let (mut connection, driver) = new(one, Role::Dialer, config());
    let _driver = JoinSet::from_iter([driver]);
    let mut stream = open(&mut connection).await;
    // One frame that is larger than the wire, and something behind it that won't be sent any more.
    stream.write_all(&pattern(100_000)).await.unwrap();
    let closing = async { poll_fn(|cx| connection.poll_close(cx)).await };
    let leaving = async {
        let mut heard = Vec::new();
        other.read_to_end(&mut heard).await.unwrap();
        assert!(heard.ends_with(&frame(3, 0, 0, 0)));
        drop(other);
    };
    let said = async { tokio::join!(closing, leaving) };
    let (closed, ()) = tokio::time::timeout(std::time::Duration::from_secs(1), said).await.unwrap();
    closed.unwrap();
}

/// Frames that are nearly right, which get further than noise.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let shape = (0..4_u8, 0..16_u8, 0..8_u8, prop_oneof![0..64_u32, any::<u32>()], 0..64_usize);
    let shape = shape.prop_map(|(kind, flags, stream, length, payload)| {
        let mut frame = frame(kind, flags, stream, length);
        frame.resize(12 + payload.min(length as usize), 7);
        frame
    });
    prop::collection::vec(prop_oneof![9 => shape, 1 => any::<Vec<u8>>()], 0..40).prop_map(|frames| frames.concat())
}

proptest! {
    #[test]
    fn whatever_a_peer_says_the_connection_ends_and_nothing_panics(said in nearly()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (error, answer) = runtime.block_on(answer(&said));
        prop_assert!(!matches!(error, Error::Closed | Error::OutOfIds));
        prop_assert_eq!(answer.len() % 12, 0);
    }
}
