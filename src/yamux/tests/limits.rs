//! Many streams, and too many.

use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use tokio::time::timeout;

use super::*;

/// Echoes whatever comes on whatever stream.
async fn echo(mut connection: Connection) {
    let mut streams = JoinSet::new();
    loop {
        let stream = accept(&mut connection).await;
        streams.spawn(async move {
            let (reader, mut writer) = stream.split();
            let copied = futures::io::copy(reader, &mut writer).await;
            copied.is_ok() && writer.close().await.is_ok()
        });
    }
}

#[tokio::test]
async fn four_thousand_streams_at_once_lose_nothing() {
    let Pair { mut dialer, listener, mut drivers } = pair();
    drivers.spawn(async {
        echo(listener).await;
        Error::Closed
    });
    let mut clients = JoinSet::new();
    for i in 0..4_000_u32 {
        let mut stream = open(&mut dialer).await;
        clients.spawn(async move {
            let said = pattern(1_000 + i as usize);
            stream.write_all(&said).await.unwrap();
            stream.close().await.unwrap();
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).await.unwrap();
            heard == said
        });
    }
    assert_eq!(clients.join_all().await.into_iter().filter(|same| *same).count(), 4_000);
}

#[tokio::test]
async fn what_exceeds_the_limit_is_refused_alone_and_the_limit_may_move() {
    let limit = Arc::new(AtomicUsize::new(3));
    let asked = limit.clone();
    let mut pair = pair_with(config(), config_with(move || asked.load(SeqCst), 0));
    let mut kept = Vec::new();
    for _ in 0..3 {
        kept.push(pair.stream().await);
    }
    let mut excess = open(&mut pair.dialer).await;
    excess.write_all(b"?").await.unwrap();
    assert_eq!(kind(excess.read(&mut [0]).await), io::ErrorKind::ConnectionReset);
    for (near, far) in &mut kept {
        far.write_all(b"!").await.unwrap();
        near.read_exact(&mut [0]).await.unwrap();
    }
    limit.store(4, SeqCst);
    pair.stream().await;
    // Gone again, and with it its place: the next one is welcome.
    kept.push(pair.stream().await);
}

#[tokio::test]
async fn an_opener_waits_while_the_far_end_has_not_answered() {
    let mut pair = pair();
    let mut opened = Vec::new();
    for _ in 0..256 {
        let mut stream = open(&mut pair.dialer).await;
        stream.write_all(b"?").await.unwrap();
        opened.push(stream);
    }
    assert!(futures::poll!(poll_fn(|cx| pair.dialer.poll_outbound(cx))).is_pending());
    let accepted = accept(&mut pair.listener).await;
    let _one_more = open(&mut pair.dialer).await;
    assert!(futures::poll!(poll_fn(|cx| pair.dialer.poll_outbound(cx))).is_pending());
    drop(accepted);
}

#[tokio::test]
async fn readers_that_stop_hold_nobody_up_and_hold_no_more_than_their_windows() {
    let mut pair = pair_with(config(), config_with(|| 2_000, 64 << 20));
    let mut stalled = Vec::new();
    for _ in 0..1_000 {
        let (mut near, far) = pair.stream().await;
        // As much as the far end takes unread.
        let mut written = 0;
        let chunk = vec![0; 64 * 1024];
        while let std::task::Poll::Ready(n) =
            futures::poll!(poll_fn(|cx| { std::pin::Pin::new(&mut near).poll_write(cx, &chunk) }))
        {
            written += n.unwrap();
            tokio::task::yield_now().await;
        }
        assert!(written < 256 * 1024, "{written}");
        stalled.push((near, far));
    }
    let (mut near, mut far) = pair.stream().await;
    let sent = pattern(1_000_000);
    let write = async {
        near.write_all(&sent).await.unwrap();
        near.close().await.unwrap();
    };
    let mut read = Vec::new();
    let (_, got) = tokio::join!(write, far.read_to_end(&mut read));
    assert_eq!(got.unwrap(), sent.len());
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_held_up_while_its_reader_has_stopped_and_not_once_it_reads_on() {
    let mut pair = pair();
    let (mut near, mut far) = pair.stream().await;
    assert!(!near.is_held_up());
    let bytes = pattern(4 << 20);
    let mut write = Box::pin(near.write_all(&bytes));
    let full = timeout(Duration::from_secs(1), &mut write);
    assert!(full.await.is_err());
    drop(write);
    assert!(near.is_held_up());
    while let Ok(read) = timeout(Duration::from_secs(1), far.read(&mut [0; 64 << 10])).await {
        assert!(read.unwrap() > 0);
    }
    assert!(!near.is_held_up());
}

#[tokio::test]
async fn streams_that_the_far_end_keeps_open_are_not_kept_for_ever() {
    let mut pair = pair();
    let mut kept = Vec::new();
    for _ in 0..5_000 {
        let (mut near, far) = pair.stream().await;
        near.close().await.unwrap();
        kept.push(far);
    }
    let mut reset = 0;
    for far in &mut kept {
        assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
        reset += usize::from(far.write(&[0]).await.is_err());
    }
    assert!((500..=904).contains(&reset), "{reset}");
}
