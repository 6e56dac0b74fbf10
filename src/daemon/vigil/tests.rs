use std::{io, os::unix::net::UnixDatagram, sync::Arc};

use libp2p::identity::Keypair;
use tokio::{
    runtime::{self, Runtime},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::*;

/// A manager, and the vigil that keeps it informed.
struct Scene {
    manager: UnixDatagram,
    vigil: Vigil,
    node: JoinSet<()>,
    _status: watch::Sender<Status>,
    _directory: tempfile::TempDir,
}

impl Scene {
    /// With a node whose task never gets a turn, for its runtime is not driven.
    fn with_a_stuck_node(watchdog: Duration) -> (Self, Runtime) {
        let idle = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let scene = {
            let _within = idle.enter();
            Self::new(Some(watchdog))
        };
        (scene, idle)
    }

    fn new(watchdog: Option<Duration>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let mut tasks = JoinSet::new();
        let node = Node::start(&Keypair::generate_ed25519(), None, &mut tasks).unwrap();
        let status = watch::Sender::new(Status::new(node.peer_id(), "/etc/p2ptun.toml".into()));
        let vigil = Vigil::new(Notifier::to(path.as_os_str(), watchdog).unwrap(), node, status.subscribe());
        Self { manager, vigil, node: tasks, _status: status, _directory: directory }
    }

    /// What has been said so far, but for status lines.
    fn heard(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let mut heard = Vec::new();
        loop {
            match self.manager.recv(&mut buffer) {
                Ok(length) => heard.extend(String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned)),
                Err(error) => break assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        heard.retain(|field| !field.starts_with("STATUS="));
        heard
    }

    /// Does something until the manager has heard some signs of life.
    async fn signs_of_life(&mut self, steps: Option<&Counter>) {
        let manager = self.manager.try_clone().unwrap();
        let heard = async {
            let mut buffer = [0; 4096];
            let mut signs = 0;
            while signs < 5 {
                sleep(Duration::from_millis(10)).await;
                steps.inspect(|steps| steps.add(1));
                while let Ok(length) = manager.recv(&mut buffer) {
                    signs += usize::from(buffer[..length].starts_with(b"WATCHDOG=1"));
                }
            }
        };
        let done = async {
            match steps {
                Some(steps) => self.vigil.during(steps, heard).await,
                None => tokio::select! { () = heard => {}, () = self.vigil.keep() => {} },
            }
        };
        timeout(Duration::from_secs(60), done).await.expect("signs of life");
    }
}

/// An interval of the watchdog that keeps tests short.
const OFTEN: Duration = Duration::from_millis(40);

const EXTENDED: &str = "EXTEND_TIMEOUT_USEC=15000000";

#[tokio::test(start_paused = true)]
async fn work_that_gets_on_is_given_time_and_work_that_hangs_is_not() {
    let mut scene = Scene::new(None);
    let steps = Arc::new(Counter::default());
    let work = async {
        for _ in 0..20 {
            sleep(Duration::from_secs(3)).await;
            steps.add(1);
        }
        "done"
    };
    assert_eq!(scene.vigil.during(&steps, work).await, "done");
    let extended = scene.heard();
    assert!((11..=12).contains(&extended.len()) && extended.iter().all(|field| field == EXTENDED), "{extended:?}");

    steps.add(1);
    scene.vigil.during(&steps, sleep(Duration::from_secs(60))).await;
    assert_eq!(scene.heard(), [""; 0]);
}

#[tokio::test]
async fn long_work_feeds_the_watchdog_while_it_gets_on_and_the_node_answers() {
    let mut scene = Scene::new(Some(OFTEN));
    let steps = Counter::default();
    scene.signs_of_life(Some(&steps)).await;

    scene.heard();
    scene.vigil.during(&steps, sleep(Duration::from_millis(400))).await;
    // One may have been on its way.
    let heard = scene.heard();
    assert!(pings(&heard) <= 1, "{heard:?}");

    let (mut scene, idle) = Scene::with_a_stuck_node(OFTEN);
    let work = async {
        for _ in 0..40 {
            sleep(Duration::from_millis(10)).await;
            steps.add(1);
        }
    };
    scene.vigil.during(&steps, work).await;
    let heard = scene.heard();
    assert!(pings(&heard) == 0 && heard.contains(&EXTENDED.to_owned()), "{heard:?}");
    idle.shutdown_background();
}

#[tokio::test]
async fn a_loop_with_one_short_piece_of_work_after_the_other_feeds_the_watchdog() {
    let mut scene = Scene::new(Some(OFTEN));
    let steps = Counter::default();
    for _ in 0..40 {
        scene.vigil.during(&steps, sleep(OFTEN / 4)).await;
    }
    let heard = scene.heard();
    assert!(pings(&heard) >= 3, "{heard:?}");
}

#[tokio::test]
async fn a_loop_that_waits_feeds_the_watchdog_if_the_node_answers() {
    let mut scene = Scene::new(Some(OFTEN));
    scene.signs_of_life(None).await;
    // A node that has ended is no longer vouched for; one sign may have been on its way.
    scene.node.shutdown().await;
    scene.heard();
    assert!(timeout(OFTEN * 10, scene.vigil.keep()).await.is_err(), "the vigil has ended");
    assert!(pings(&scene.heard()) <= 1);
}

#[tokio::test]
async fn a_loop_that_waits_lets_the_watchdog_starve_if_the_node_is_stuck() {
    let (mut scene, idle) = Scene::with_a_stuck_node(OFTEN);
    assert!(timeout(OFTEN * 10, scene.vigil.keep()).await.is_err(), "the vigil has ended");
    assert_eq!(scene.heard(), [""; 0]);
    idle.shutdown_background();
}

fn pings(heard: &[String]) -> usize {
    heard.iter().filter(|field| *field == "WATCHDOG=1").count()
}
