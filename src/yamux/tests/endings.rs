//! How streams end, and what the far end sees of it.

use super::*;

#[tokio::test]
async fn a_stream_that_is_dropped_open_is_a_reset() {
    let mut pair = pair();
    let (near, mut far) = pair.stream().await;
    drop(near);
    assert_eq!(kind(far.read(&mut [0]).await), io::ErrorKind::ConnectionReset);
    assert_eq!(kind(far.write_all(b"x").await), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn it_is_a_reset_also_for_who_has_said_all() {
    let mut pair = pair();
    let (near, mut far) = pair.stream().await;
    far.close().await.unwrap();
    drop(near);
    assert_eq!(kind(far.read(&mut [0]).await), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn what_was_sent_before_the_reset_can_be_read() {
    let mut pair = pair();
    let (mut near, mut far) = pair.stream().await;
    near.write_all(b"last words").await.unwrap();
    // Until they have arrived, a reset may overtake them.
    let mut heard = [0; 4];
    far.read_exact(&mut heard).await.unwrap();
    drop(near);
    let mut rest = Vec::new();
    assert_eq!(kind(far.read_to_end(&mut rest).await), io::ErrorKind::ConnectionReset);
    assert_eq!(rest, b" words");
}

#[tokio::test]
async fn who_writes_to_one_that_has_closed_and_gone_is_told() {
    let mut pair = pair();
    let (mut near, mut far) = pair.stream().await;
    near.close().await.unwrap();
    drop(near);
    assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
    let chunk = vec![0; 64 * 1024];
    let error = loop {
        if let Err(error) = far.write_all(&chunk).await {
            break error;
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_late_answer_of_a_few_bytes_resets_nothing() {
    let mut pair = pair();
    let (mut near, mut far) = pair.stream().await;
    near.write_all(b"a message").await.unwrap();
    near.close().await.unwrap();
    drop(near);
    far.write_all(&[0; 200]).await.unwrap();
    // A stream beside it has gone there and back: whatever was to be said has been.
    let (mut near, mut other) = pair.stream().await;
    other.write_all(b"!").await.unwrap();
    near.read_exact(&mut [0]).await.unwrap();
    let mut message = Vec::new();
    far.read_to_end(&mut message).await.unwrap();
    assert_eq!(message, b"a message");
    far.close().await.unwrap();
}

#[tokio::test]
async fn what_was_written_arrives_though_the_writer_has_gone() {
    let mut pair = pair();
    let (mut near, mut far) = pair.stream().await;
    let sent = pattern(200_000);
    near.write_all(&sent).await.unwrap();
    near.close().await.unwrap();
    drop(near);
    let mut read = Vec::new();
    far.read_to_end(&mut read).await.unwrap();
    assert!(read == sent);
}

#[tokio::test]
async fn a_connection_that_is_lost_is_no_end() {
    let mut pair = pair();
    let (mut near, mut far) = pair.stream().await;
    far.close().await.unwrap();
    assert_eq!(near.read(&mut [0]).await.unwrap(), 0);
    let (mut open, _far) = pair.stream().await;
    pair.drivers.abort_all();
    assert_eq!(kind(open.read(&mut [0]).await), io::ErrorKind::ConnectionReset);
    assert_eq!(kind(near.write_all(b"x").await), io::ErrorKind::ConnectionReset);
    assert_eq!(near.read(&mut [0]).await.unwrap(), 0, "what had ended stays so");
    assert_eq!(kind(far.read(&mut [0]).await), io::ErrorKind::ConnectionReset);
    assert!(poll_fn(|cx| pair.dialer.poll_outbound(cx)).await.is_err());
    assert!(poll_fn(|cx| pair.listener.poll_inbound(cx)).await.is_err());
}

#[tokio::test]
async fn a_read_that_waits_hears_that_the_connection_was_dropped_here() {
    let mut pair = pair();
    let (mut near, _far) = pair.stream().await;
    let Pair { dialer, listener: _listener, drivers: _drivers } = pair;
    let waiting = async { near.read(&mut [0]).await };
    let dropping = async {
        tokio::task::yield_now().await;
        drop(dialer);
    };
    let (read, ()) = tokio::join!(waiting, dropping);
    assert_eq!(kind(read), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn closing_sends_what_was_written_to_its_end_and_breaks_the_rest() {
    let mut pair = pair();
    let (mut ending, mut far_ending) = pair.stream().await;
    let (mut open, mut far_open) = pair.stream().await;
    let sent = pattern(200_000);
    ending.write_all(&sent).await.unwrap();
    ending.close().await.unwrap();
    drop(ending);
    let closing = async { poll_fn(|cx| pair.dialer.poll_close(cx)).await.unwrap() };
    let reading = async {
        let mut read = Vec::new();
        far_ending.read_to_end(&mut read).await.unwrap();
        read
    };
    let ((), read) = tokio::join!(closing, reading);
    assert!(read == sent);
    assert_eq!(kind(open.read(&mut [0]).await), io::ErrorKind::ConnectionReset);
    assert_eq!(kind(far_open.read(&mut [0]).await), io::ErrorKind::ConnectionReset);
    let ended = poll_fn(|cx| pair.listener.poll_ended(cx)).await;
    assert!(matches!(ended, Error::ClosedByPeer), "{ended}");
}

#[tokio::test]
async fn closing_sends_what_was_written_though_the_far_end_goes_on_talking() {
    let mut pair = pair();
    let (mut near, mut far) = pair.stream().await;
    let sent = pattern(200_000);
    near.write_all(&sent).await.unwrap();
    near.close().await.unwrap();
    far.write_all(&sent).await.unwrap();
    let closing = async { poll_fn(|cx| pair.dialer.poll_close(cx)).await.unwrap() };
    let reading = async {
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.unwrap();
        read
    };
    let ((), read) = tokio::join!(closing, reading);
    assert!(read == sent);
}

#[tokio::test]
async fn a_stream_that_nobody_wrote_on_is_never_heard_of() {
    let mut pair = pair();
    for _ in 0..1_000 {
        drop(open(&mut pair.dialer).await);
    }
    let (mut near, mut far) = pair.stream().await;
    near.close().await.unwrap();
    assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
    assert!(futures::poll!(poll_fn(|cx| pair.listener.poll_inbound(cx))).is_pending());
}

#[tokio::test]
async fn what_was_closed_arrives_though_the_far_end_goes_on_talking() {
    let mut pair = pair();
    let (mut near, mut far) = pair.stream().await;
    let sent = pattern(200_000);
    near.write_all(&sent).await.unwrap();
    near.close().await.unwrap();
    drop(near);
    // More than a late answer, before all of that has gone out.
    far.write_all(&[0; 1_000]).await.unwrap();
    let mut read = Vec::new();
    far.read_to_end(&mut read).await.unwrap();
    assert!(read == sent);
    while far.write_all(&[0; 1_000]).await.is_ok() {}
}

#[tokio::test]
async fn what_was_said_arrives_though_the_connection_was_dropped_if_it_is_to_close_then() {
    let mut pair = pair();
    let (mut near, mut far) = pair.stream().await;
    let (open, mut cut) = pair.stream().await;
    let sent = pattern(200_000);
    near.write_all(&sent).await.unwrap();
    near.close().await.unwrap();
    drop(near);
    pair.dialer.close_when_dropped();
    drop(pair.dialer);
    let mut read = Vec::new();
    far.read_to_end(&mut read).await.unwrap();
    assert!(read == sent);
    assert_eq!(kind(cut.read(&mut [0]).await), io::ErrorKind::ConnectionReset);
    drop((open, far, cut, pair.listener));
    let ended = pair.drivers.join_all().await;
    assert!(ended.iter().all(|error| matches!(error, Error::Closed | Error::ClosedByPeer)), "{ended:?}");
}
