use std::os::unix::net::UnixDatagram;

use super::*;
use crate::spec::PeerId;

fn status() -> Status {
    Status::new(PeerId::random(), "/etc/p2ptun.toml".into())
}

fn notifier(name: &OsStr) -> Notifier {
    Notifier::to(name, None).unwrap()
}

fn received(socket: &UnixDatagram) -> Option<String> {
    let mut buffer = [0; 4096];
    match socket.recv(&mut buffer) {
        Ok(length) => Some(String::from_utf8(buffer[..length].to_vec()).unwrap()),
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            None
        }
    }
}

/// A manager that looks at its socket only when it is asked to.
fn manager(directory: &tempfile::TempDir) -> (UnixDatagram, Notifier) {
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    (socket, notifier(path.as_os_str()))
}

#[tokio::test]
async fn a_status_is_told_once_and_with_the_word_that_it_belongs_to() {
    let directory = tempfile::tempdir().unwrap();
    let (manager, mut notifier) = manager(&directory);
    let mut status = status();
    notifier.ready(&status).await;
    assert_eq!(received(&manager).unwrap(), "READY=1\nSTATUS=no tunnels; 0 streams\n");
    notifier.show(&status);
    notifier.reloading().await;
    let reloading = received(&manager).unwrap();
    let (word, time) = reloading.split_once('\n').unwrap();
    assert_eq!(word, "RELOADING=1");
    assert!(time.trim_end().strip_prefix("MONOTONIC_USEC=").unwrap().parse::<u64>().unwrap() > 0, "{reloading}");
    status.config.error = Some("no".into());
    notifier.ready(&status).await;
    assert_eq!(received(&manager).unwrap(), "READY=1\nSTATUS=no tunnels; 0 streams; refused: no\n");
    notifier.alive();
    assert_eq!(received(&manager).unwrap(), "WATCHDOG=1\n");
    notifier.stopping(&status).await;
    assert_eq!(
        received(&manager).unwrap(),
        "STOPPING=1\nEXTEND_TIMEOUT_USEC=15000000\nSTATUS=stopping; no tunnels; 0 streams; refused: no\n"
    );
    assert_eq!(received(&manager), None);
}

#[tokio::test]
async fn a_manager_behind_an_abstract_name_is_told_too() {
    use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
    let name = format!("p2ptun-test-{}", PeerId::random());
    let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    manager.set_nonblocking(true).unwrap();
    notifier(OsStr::new(&format!("@{name}"))).alive();
    assert_eq!(received(&manager).unwrap(), "WATCHDOG=1\n");
}

#[test]
fn a_name_of_another_kind_is_no_address() {
    for name in ["vsock:2:1234", "relative/notify", "@"] {
        assert!(Notifier::to(OsStr::new(name), None).is_err(), "{name}");
    }
}

/// Fills the manager's queue; tells with how many words.
fn fill(notifier: &mut Notifier) -> usize {
    (0..1_000_000)
        .find(|_| {
            notifier.alive();
            notifier.0.as_ref().unwrap().failing
        })
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_busy_manager_holds_nobody_up_and_learns_that_the_service_is_ready_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let (manager, mut notifier) = manager(&directory);
    let waiting = fill(&mut notifier);
    let began = Instant::now();
    notifier.ready(&status()).await;
    assert!(began.elapsed() >= PATIENCE, "it should have insisted");
    for _ in 0..waiting {
        assert_eq!(received(&manager).unwrap(), "WATCHDOG=1\n");
    }
    assert_eq!(received(&manager), None);
    notifier.alive();
    assert_eq!(received(&manager).unwrap(), "READY=1\nWATCHDOG=1\n");
    notifier.alive();
    assert_eq!(received(&manager).unwrap(), "WATCHDOG=1\n");
}

#[tokio::test(start_paused = true)]
async fn a_word_that_must_arrive_waits_for_room() {
    let directory = tempfile::tempdir().unwrap();
    let (manager, mut notifier) = manager(&directory);
    fill(&mut notifier);
    let status = status();
    let reading = async {
        sleep(TRY_AGAIN * 3).await;
        std::iter::from_fn(|| received(&manager)).count()
    };
    let ((), read) = tokio::join!(notifier.ready(&status), reading);
    assert!(read > 0);
    assert_eq!(received(&manager).unwrap(), "READY=1\nSTATUS=no tunnels; 0 streams\n");
}
