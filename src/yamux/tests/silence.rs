//! Far ends that say nothing, and when they are given up.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, sleep, timeout},
};

use super::*;

/// As long as nothing may come before a far end is asked, and as it may take to answer.
const SILENCE: Duration = Duration::from_secs(25);

const HOURS: Duration = Duration::from_secs(6 * 3600);

/// A connection to a far end that is played by the test.
fn facing(tasks: &mut JoinSet<Error>) -> (Connection, DuplexStream) {
    let (one, other) = tokio::io::duplex(32 * 1024);
    let (connection, driver) = new(BufReader::new(one.compat()), Role::Dialer, config());
    tasks.spawn(driver);
    (connection, other)
}

async fn ended(connection: &mut Connection) -> Error {
    poll_fn(|cx| connection.poll_ended(cx)).await
}

#[tokio::test(start_paused = true)]
async fn a_far_end_that_answers_nothing_is_given_up() {
    let (mut tasks, begun) = (JoinSet::new(), Instant::now());
    let (mut connection, _deaf) = facing(&mut tasks);
    let mut stream = open(&mut connection).await;
    assert_eq!(kind(stream.read(&mut [0]).await), io::ErrorKind::ConnectionReset);
    assert!(matches!(ended(&mut connection).await, Error::Unanswered));
    assert!((SILENCE..SILENCE + Duration::from_secs(1)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn two_ends_that_have_nothing_to_say_stay_connected() {
    let mut pair = pair();
    assert!(timeout(HOURS, ended(&mut pair.dialer)).await.is_err());
    pair.stream().await;
}

/// Answers no pings.
#[tokio::test(start_paused = true)]
async fn whatever_comes_is_a_sign_of_life_if_it_is_part_of_a_frame() {
    let (mut tasks, mut listening) = (JoinSet::new(), JoinSet::new());
    let (mut connection, far) = facing(&mut tasks);
    let (mut from, mut to) = tokio::io::split(far);
    listening.spawn(async move { swallow(&mut from).await });
    let long_frame = [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 1, 0];
    for byte in long_frame.into_iter().chain([0; 240]) {
        to.write_all(&[byte]).await.unwrap();
        assert!(timeout(SILENCE - Duration::from_secs(1), ended(&mut connection)).await.is_err());
    }
    sleep(Duration::from_secs(2)).await;
    assert!(matches!(ended(&mut connection).await, Error::Unanswered));
}

async fn swallow(from: &mut (impl AsyncRead + Unpin)) {
    while from.read(&mut [0; 1024]).await.is_ok_and(|n| n > 0) {}
}

#[tokio::test(start_paused = true)]
async fn who_falls_silent_after_an_answer_is_found_as_soon() {
    let mut tasks = JoinSet::new();
    let (mut connection, mut far) = facing(&mut tasks);
    let mut ping = [0; 12];
    // The one that the connection begins with.
    far.read_exact(&mut ping).await.unwrap();
    // One that is late, but not too late, and two that are not.
    for late in [14, 0, 0] {
        far.read_exact(&mut ping).await.unwrap();
        sleep(Duration::from_secs(late)).await;
        ping[3] = 2;
        far.write_all(&ping).await.unwrap();
    }
    let answered = Instant::now();
    assert!(matches!(ended(&mut connection).await, Error::Unanswered));
    assert!(answered.elapsed() < SILENCE + Duration::from_secs(1), "{:?}", answered.elapsed());
}
