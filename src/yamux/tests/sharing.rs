//! What streams of a connection, and connections of a process, leave to one another.

use std::{
    future::pending,
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    task::Poll,
    time::Duration,
};

use futures::future::join_all;
use tokio::{
    io::AsyncReadExt as _,
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::*;

/// The smallest window, and the largest frame.
const WINDOW: usize = 256 * 1024;
const FRAME: usize = 64 * 1024;

/// How long a byte is on its way over a [`long_pair`], either way.
const ONE_WAY: Duration = Duration::from_millis(20);

/// Two ends far from one another. The listener's windows grow out of `budget`, and the dialer's don't.
fn long_pair(budget: Arc<Budget>) -> (Pair, JoinSet<()>) {
    let (near, far) = (tokio::io::duplex(FRAME), tokio::io::duplex(FRAME));
    let listening = Config { max_inbound_streams: Box::new(|| usize::MAX), budget };
    let (dialer, first) = new(BufReader::new(near.0.compat()), Role::Dialer, config_with(|| 0, 0));
    let (listener, second) = new(BufReader::new(far.0.compat()), Role::Listener, listening);
    let (mut drivers, mut carriers) = (JoinSet::new(), JoinSet::new());
    drivers.spawn(first);
    drivers.spawn(second);
    let ((from_near, to_near), (from_far, to_far)) = (tokio::io::split(near.1), tokio::io::split(far.1));
    carriers.spawn(carry(from_near, to_far));
    carriers.spawn(carry(from_far, to_near));
    (Pair { dialer, listener, drivers }, carriers)
}

/// Takes whatever is said at once, and passes it on when it has been on its way for long enough.
async fn carry(mut from: impl tokio::io::AsyncRead + Unpin, mut to: impl tokio::io::AsyncWrite + Unpin) {
    let (sent, mut on_its_way) = mpsc::channel::<(Instant, Vec<u8>)>(100_000);
    let sending = async move {
        let mut piece = vec![0; FRAME];
        while let Ok(n @ 1..) = from.read(&mut piece).await {
            sent.send((Instant::now() + ONE_WAY, piece[..n].to_vec())).await.unwrap();
        }
    };
    let arriving = async {
        while let Some((arrival, piece)) = on_its_way.recv().await {
            sleep_until(arrival).await;
            if tokio::io::AsyncWriteExt::write_all(&mut to, &piece).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(sending, arriving);
}

/// Sends as fast as the far end's window allows, until that has long found its size.
async fn stream_at_full_speed(near: &mut Stream, far: &mut Stream) {
    let flood = async {
        let chunk = vec![0; FRAME];
        while near.write_all(&chunk).await.is_ok() {}
    };
    let mut read = vec![0; FRAME];
    let drain = async { while far.read(&mut read).await.is_ok_and(|n| n > 0) {} };
    let both = futures::future::join(flood, drain);
    assert!(timeout(ONE_WAY * 2 * 20, both).await.is_err(), "the connection has ended");
}

#[tokio::test(start_paused = true)]
async fn what_windows_of_one_connection_hold_is_missing_at_another_until_that_one_ends() {
    const ALL: usize = 12 * WINDOW;
    let process = Budget::new(ALL);
    let (mut one, _carriers) = long_pair(process.part(ALL));
    let (mut other, _carriers) = long_pair(process.part(ALL));
    let (mut near, mut far) = one.stream().await;
    stream_at_full_speed(&mut near, &mut far).await;
    // Each takes a third of what there is, in whole frames.
    assert_eq!(process.left(), ALL - ALL / 3);

    let (mut second_near, mut second_far) = other.stream().await;
    stream_at_full_speed(&mut second_near, &mut second_far).await;
    let taken = (ALL - ALL / 3) / 3 / FRAME * FRAME;
    assert_eq!(process.left(), ALL - ALL / 3 - taken);

    let Pair { dialer, listener, mut drivers } = one;
    drop((dialer, listener));
    while drivers.join_next().await.is_some() {}
    assert_eq!(kind(near.write_all(&[0]).await), io::ErrorKind::ConnectionReset);
    drop((near, far));
    assert_eq!(process.left(), ALL - taken);
    stream_at_full_speed(&mut second_near, &mut second_far).await;
    assert_eq!(process.left(), ALL - ALL / 3);
}

#[tokio::test]
async fn streams_that_all_have_much_to_say_get_about_the_same() {
    const STREAMS: usize = 8;
    const ALL: usize = 32 << 20;
    let mut pair = pair();
    let got = [const { AtomicUsize::new(0) }; STREAMS];
    let (mut floods, mut drains) = (JoinSet::new(), Vec::new());
    for got in &got {
        let (mut near, mut far) = pair.stream().await;
        floods.spawn(async move {
            let chunk = vec![0; 1 << 20];
            while near.write_all(&chunk).await.is_ok() {}
        });
        drains.push(async move {
            let mut read = vec![0; FRAME];
            while let Ok(n @ 1..) = far.read(&mut read).await {
                got.fetch_add(n, SeqCst);
            }
        });
    }
    let all = || got.iter().map(|got| got.load(SeqCst)).collect::<Vec<_>>();
    let mut drains = pin!(join_all(drains));
    poll_fn(|cx| {
        assert!(drains.as_mut().poll(cx).is_pending(), "the connection has ended");
        if all().iter().sum::<usize>() < ALL { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    let (least, most) = (all().into_iter().min().unwrap(), all().into_iter().max().unwrap());
    assert!(2 * least > most, "{:?}", all());
}

/// The far end is played by the test, which sees in what order things come.
#[tokio::test(start_paused = true)]
async fn a_message_waits_for_no_more_than_a_frame_of_each_other_stream() {
    const BULKS: usize = 16;
    const WIRE: usize = 16 * 1024;
    let (near, mut far) = tokio::io::duplex(WIRE);
    let (mut connection, driver) = new(BufReader::new(near.compat()), Role::Dialer, config());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        driver.await;
    });
    for _ in 0..BULKS {
        let mut bulk = open(&mut connection).await;
        tasks.spawn(async move {
            let _ = bulk.write_all(&[0; WINDOW]).await;
            pending().await
        });
    }
    let mut modest = open(&mut connection).await;
    // The clock moves when nobody can do anything any more: all have filled what there is for them.
    sleep(Duration::from_secs(1)).await;
    modest.write_all(b"me too").await.unwrap();
    let mut before = 0;
    loop {
        let mut header = [0; 12];
        far.read_exact(&mut header).await.unwrap();
        let [_, kind, .., l0, l1, l2, l3] = header;
        let length = if kind == 0 { u32::from_be_bytes([l0, l1, l2, l3]) as usize } else { 0 };
        let mut payload = vec![0; length];
        far.read_exact(&mut payload).await.unwrap();
        if payload == b"me too" {
            break;
        }
        before += length;
    }
    // What is on the wire, and what is just being sent, goes first.
    let bound = WIRE + (BULKS + 1) * FRAME;
    assert!(before <= bound, "{before} bytes went before it, of at most {bound}");
}
