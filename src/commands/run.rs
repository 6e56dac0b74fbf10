//! `p2ptun run`: the service, in the foreground.

use std::{thread, time::Duration};

use clap::Args;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::runtime;

use crate::{
    commands::{
        global::Global,
        logging::Logging,
        outcome::{Exit, Failure},
    },
    config,
    daemon::{Daemon, Died, Options, StartError},
    log::Level,
    systemd::Notifier,
};

#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    logging: Logging,
}

impl Run {
    pub fn run(self, global: &Global) -> Result<Exit, Failure> {
        let _logging = self.logging.start(Level::Info)?;
        raise_file_limit();
        let options = Options { config: config::default_path(global.config().as_deref()), socket: global.socket() };
        serve(async {
            let daemon = Daemon::start_under(options, Notifier::from_environment()).await?;
            tracing::info!(socket = %daemon.socket().display(), "ready");
            Ok(daemon.run().await?)
        })
    }
}

/// How long tasks may take to let go of what they hold. Only a name that is being resolved takes any time.
const LET_GO_TIMEOUT: Duration = Duration::from_millis(500);

/// Runs a service to its end. What its tasks hold by then is dropped: streams that are open are reset, and the files of
/// unix sockets removed.
pub(super) fn serve(service: impl Future<Output = Result<(), Failure>>) -> Result<Exit, Failure> {
    let runtime = runtime::Builder::new_multi_thread().worker_threads(workers()).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::Os, format!("can't start: {error}")))?;
    let outcome = runtime.block_on(service);
    runtime.shutdown_timeout(LET_GO_TIMEOUT);
    outcome.map(|()| Exit::Ok)
}

/// Threads that move bytes: half as many as there are processors, for at the other end of each byte's way, on this machine
/// as a rule, somebody works as hard. A lone worker hands nothing to another, which would take longer than all else that
/// a small message needs; it moves several Gbit/s. `TOKIO_WORKER_THREADS` is for those who know better.
fn workers() -> usize {
    let wanted = std::env::var("TOKIO_WORKER_THREADS").ok().and_then(|wanted| wanted.parse().ok());
    let half = || thread::available_parallelism().map_or(1, |processors| processors.get() / 2);
    wanted.unwrap_or_else(half).max(1)
}

/// Each stream takes a file descriptor, and the soft limit is often 1,024 for the sake of programs that use select(2).
pub(super) fn raise_file_limit() {
    let raised =
        getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "can't raise the limit of open files");
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Config(refused) => super::check::failure(&refused),
            StartError::Identity(error) => error.into(),
            StartError::Socket(error) => error.into(),
            StartError::Os { .. } => Self::new(Exit::Os, error.to_string()),
        }
    }
}

impl From<Died> for Failure {
    fn from(died: Died) -> Self {
        Self::new(Exit::Os, died.to_string())
    }
}
