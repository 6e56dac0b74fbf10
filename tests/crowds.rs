//! Thousands of connections that are open at once, and what they cost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use socket2::SockRef;
use support::{
    Node, Pair, Service, Transport, forward, listen,
    process::{raise_file_limit, resident_kib, unsent_kib},
    soon,
    traffic::{Ending, receive, send},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::{Mutex, watch},
    task::JoinSet,
    time::sleep,
};

/// One crowd at a time, so that each meets the machine to itself.
static TURN: Mutex<()> = Mutex::const_new(());

const CROWD: usize = 4_000;

#[tokio::test(flavor = "multi_thread")]
async fn of_four_thousand_open_connections_all_go_on_when_the_forward_refuses_one_more() {
    let echo = Service::echo();
    let listens = format!("{}max_connections = 5000\n", listen("echo", echo.address));
    let forwards = format!("{}max_connections = {CROWD}\n", forward("echo"));
    let pair = Pair::start(Transport::Tcp, &listens, &forwards).await;
    meet_the_limit(&pair, &pair.client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_four_thousand_open_connections_all_go_on_when_the_far_end_refuses_one_more() {
    let echo = Service::echo();
    let listens = format!("{}max_connections = {CROWD}\n", listen("echo", echo.address));
    let forwards = format!("{}max_connections = 5000\n", forward("echo"));
    let pair = Pair::start(Transport::Tcp, &listens, &forwards).await;
    meet_the_limit(&pair, &pair.server).await;
}

/// Opens as many connections as may be, and one more, which is refused by `refusing`.
async fn meet_the_limit(pair: &Pair, refusing: &Node) {
    let _turn = TURN.lock().await;
    raise_file_limit();
    let (address, began) = (pair.client.bind("echo").await, Instant::now());
    let mut opening = JoinSet::new();
    for nth in 0..CROWD {
        opening.spawn(async move {
            let mut client = TcpStream::connect(address).await.unwrap();
            echoes(&mut client, nth).await;
            (nth, client)
        });
    }
    let crowd = soon("everybody is served", opening.join_all()).await;
    println!("{CROWD} connections served in {:.2?}", began.elapsed());
    for node in [&pair.client, &pair.server] {
        assert_eq!(node.tunnel("echo").await["streams"], CROWD);
    }

    assert_eq!(pair.client.ending_of_a_connection("echo").await, (vec![], Ending::Reset));
    let mut going_on = JoinSet::new();
    for (nth, mut client) in crowd {
        going_on.spawn(async move {
            echoes(&mut client, nth).await;
            client
        });
    }
    let _crowd = soon("everybody is served", going_on.join_all()).await;
    println!("… and once more, in {:.2?} altogether", began.elapsed());
    let tunnel = refusing.tunnel("echo").await;
    assert_eq!((&tunnel["streams"], &tunnel["refused"]), (&CROWD.into(), &1.into()));
}

/// Sends bytes that nobody else sends, and waits for them.
async fn echoes(client: &mut TcpStream, nth: usize) {
    let (from, to) = (nth as u64 * 64, (nth as u64 + 1) * 64);
    send(client, from, to).await.unwrap();
    receive(client, from, to).await.unwrap();
}

const READERS: u64 = 1_000;

/// What each reader asks for: more than all buffers on the way hold.
const DOWNLOAD: u64 = 4_000_000;

/// What each of them has read when it stops.
const READ: u64 = 100_000;

/// What the daemon at the reader's side holds of a stream that nobody reads, in KiB: a window of the muxer. At the
/// service's side it is nothing, for nothing is read from the service that the window doesn't take.
const WINDOW: u64 = 256;

/// How far the windows of one connection may grow together, beyond what each is born with.
const GROWTH: u64 = 128 * 1024;

/// A daemon in a debug build, its tasks, and what its allocator keeps.
const REST: u64 = 96 * 1024;

/// What the kernel holds for a reader on its daemon's behalf: 256 KiB that can't be sent, one write more, and what has been
/// sent into the reader's own small buffer. By itself it takes megabytes, and all TCP of a machine slows down when its
/// `tcp_mem` is used up.
const IN_THE_KERNEL: u64 = 256 + 64 + 64;

/// The buffers of the readers and of the service, in bytes.
const SMALL: u32 = 32 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_readers_that_stop_hold_up_nobody_and_cost_no_more_than_their_windows() {
    let _turn = TURN.lock().await;
    raise_file_limit();
    // Sends as many bytes as it is asked for.
    let service = Service::new(|mut client| async move {
        SockRef::from(&client).set_send_buffer_size(SMALL as usize).unwrap();
        let wanted = client.read_u64().await?;
        send(&mut client, 0, wanted).await
    });
    let pair = Pair::echo(Transport::Tcp, service.address).await;
    let address = pair.client.bind("echo").await;
    let alone = download(address).await;
    let mut asking = JoinSet::new();
    for _ in 0..READERS {
        asking.spawn(async move {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(SMALL).unwrap();
            let mut reader = socket.connect(address).await.unwrap();
            reader.write_u64(DOWNLOAD).await.unwrap();
            receive(&mut reader, 0, READ).await.unwrap();
            reader
        });
    }
    let mut readers = soon("every download has begun", asking.join_all()).await;
    standstill(&pair.client).await;

    let beside = download(address).await;
    println!("50 MB beside {READERS} readers that have stopped: {beside:.2?}, alone {alone:.2?}");
    // For whatever else the machine does meanwhile. Who had to wait for one of them would wait for ever.
    assert!(beside < 4 * alone + Duration::from_secs(1), "{beside:?}, alone {alone:?}");

    for (node, of_each, of_all) in [(&pair.client, WINDOW, GROWTH + REST), (&pair.server, 0, REST)] {
        let (resident, bound) = (resident_kib(node.pid()), READERS * of_each + of_all);
        println!("{} MiB of at most {} MiB", resident / 1024, bound / 1024);
        assert!(resident <= bound, "{resident} KiB of at most {bound} KiB");
    }
    let unsent = unsent_kib(pair.client.pid());
    println!("{} MiB in the kernel", unsent / 1024);
    assert!(unsent <= READERS * IN_THE_KERNEL, "{unsent} KiB");

    // None has lost anything.
    for mut reader in readers.drain(..10) {
        soon("the rest", receive(&mut reader, READ, DOWNLOAD)).await.unwrap();
    }
}

const WRITERS: u64 = 200;

/// What each writer says: all of them together have far more to say than may be held for them.
const UPLOAD: u64 = 4_000_000;

/// How many targets read on in the end.
const READ_ON: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_writers_whose_target_stops_reading_stand_still_cost_little_and_lose_nothing_when_it_reads_on() {
    let _turn = TURN.lock().await;
    raise_file_limit();
    let (go_on, resumed) = watch::channel(0);
    // Reads what the writer of some number says, after a pause, and says how much that was.
    let service = Service::new(move |mut client| {
        let mut resumed = resumed.clone();
        async move {
            SockRef::from(&client).set_recv_buffer_size(SMALL as usize).unwrap();
            let nth = client.read_u64().await?;
            receive(&mut client, nth * UPLOAD, nth * UPLOAD + READ).await?;
            if nth < WRITERS {
                resumed.wait_for(|resumed| nth < *resumed).await.unwrap();
            }
            receive(&mut client, nth * UPLOAD + READ, (nth + 1) * UPLOAD).await?;
            let rest = client.read_to_end(&mut Vec::new()).await?;
            client.write_u64(UPLOAD + rest as u64).await
        }
    });
    let pair = Pair::echo(Transport::Tcp, service.address).await;
    let address = pair.client.bind("echo").await;
    let alone = upload(address, WRITERS).await;
    let (mut writing, mut silent) = (JoinSet::new(), JoinSet::new());
    for nth in 0..WRITERS {
        let uploads = if nth < READ_ON { &mut writing } else { &mut silent };
        uploads.spawn(upload(address, nth));
    }
    let begun = UPLOAD + WRITERS * READ;
    pair.server.wait_for_tunnel("echo", "all have begun", |tunnel| tunnel["bytes_in"].as_u64() >= Some(begun)).await;
    standstill(&pair.client).await;
    assert!(writing.try_join_next().is_none() && silent.try_join_next().is_none());

    let beside = upload(address, WRITERS + 1).await;
    println!("an upload beside {WRITERS} that stand still: {beside:.2?}, alone {alone:.2?}");
    // As beside readers that have stopped.
    assert!(beside < 4 * alone + Duration::from_secs(1), "{beside:?}, alone {alone:?}");

    // Of each stream, the muxer at the writers' side holds what it is about to send.
    for (node, of_each, of_all) in [(&pair.server, WINDOW, GROWTH + REST), (&pair.client, 64, REST)] {
        let (resident, bound) = (resident_kib(node.pid()), WRITERS * of_each + of_all);
        println!("{} MiB of at most {} MiB", resident / 1024, bound / 1024);
        assert!(resident <= bound, "{resident} KiB of at most {bound} KiB");
    }

    go_on.send_replace(READ_ON);
    soon("the rest", writing.join_all()).await;
    assert!(silent.try_join_next().is_none());
}

/// How long the upload of the writer of this number takes, of which nothing is lost.
async fn upload(address: SocketAddr, nth: u64) -> Duration {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(SMALL).unwrap();
    let mut writer = socket.connect(address).await.unwrap();
    let began = Instant::now();
    writer.write_u64(nth).await.unwrap();
    send(&mut writer, nth * UPLOAD, (nth + 1) * UPLOAD).await.unwrap();
    writer.shutdown().await.unwrap();
    assert_eq!(writer.read_u64().await.unwrap(), UPLOAD);
    began.elapsed()
}

/// How long 50 MB take.
async fn download(address: SocketAddr) -> Duration {
    let mut reader = TcpStream::connect(address).await.unwrap();
    let began = Instant::now();
    reader.write_u64(50_000_000).await.unwrap();
    soon("a download", receive(&mut reader, 0, 50_000_000)).await.unwrap();
    began.elapsed()
}

/// Waits until nothing moves any more.
async fn standstill(node: &Node) {
    soon("nothing moves any more", async {
        let mut before = None;
        loop {
            let tunnel = node.tunnel("echo").await;
            let bytes = Some((tunnel["bytes_in"].as_u64(), tunnel["bytes_out"].as_u64()));
            if bytes == before {
                break;
            }
            before = bytes;
            sleep(Duration::from_millis(500)).await;
        }
    })
    .await;
}
