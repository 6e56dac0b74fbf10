//! What the service tells systemd, or whoever else has set `NOTIFY_SOCKET` as sd_notify(3) has it. Where nobody has, it
//! costs nothing.
//!
//! sd-notify knows the words; the socket is ours, for its own blocks the caller while the manager is busy, and knows no
//! abstract names.

mod line;

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    time::Duration,
};

use sd_notify::NotifyState;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::time::{Instant, sleep};

use crate::status::Status;

const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// How much longer than it would the manager is asked to wait at a time. The next word must come before that.
const EXTENSION_MICROS: u32 = 15_000_000;

/// How often to ask for that.
pub const EXTEND_EVERY: Duration = Duration::from_secs(5);

/// How long to insist where the manager's queue is full.
const PATIENCE: Duration = Duration::from_secs(5);
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// Tells the service manager how the service is doing.
///
/// Nothing here fails: a manager that can't be reached is logged once, and the service goes on.
pub struct Notifier(Option<Manager>);

struct Manager {
    socket: SockAddr,
    watchdog: Option<Duration>,
    stopping: bool,
    /// The status line that the manager has.
    line: String,
    /// READY=1 did not arrive, and without it the unit stays in "activating" or "reloading": every later word brings it.
    owes_ready: bool,
    /// The last word did not arrive.
    failing: bool,
}

impl Notifier {
    /// Tells nobody anything.
    pub fn silent() -> Self {
        Self(None)
    }

    /// Tells whoever the environment names. The environment stays as it is.
    pub fn from_environment() -> Self {
        let Some(name) = env::var_os(NOTIFY_SOCKET).filter(|name| !name.is_empty()) else { return Self::silent() };
        Self::to(&name, sd_notify::watchdog_enabled()).unwrap_or_else(|error| {
            tracing::warn!(socket = ?name, %error, "can't tell the service manager anything");
            Self::silent()
        })
    }

    /// Tells whoever listens at `name`: a path, or an abstract name behind an `@`.
    ///
    /// # Errors
    ///
    /// Where it is neither.
    pub fn to(name: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        // A watchdog that never waits would only keep the loop busy.
        let watchdog = watchdog.filter(|interval| !interval.is_zero());
        Ok(Self(Some(Manager {
            socket: address(name)?,
            watchdog,
            stopping: false,
            line: String::new(),
            owes_ready: false,
            failing: false,
        })))
    }

    pub fn is_silent(&self) -> bool {
        self.0.is_none()
    }

    /// Within which time the manager wants each [sign of life](Self::alive), if it wants any.
    pub fn watchdog(&self) -> Option<Duration> {
        self.0.as_ref()?.watchdog
    }

    /// The local sockets are bound, or a reload is over, whatever came of it.
    pub async fn ready(&mut self, status: &Status) {
        let Some(manager) = &mut self.0 else { return };
        manager.owes_ready = true;
        manager.insist(&[], Some(status)).await;
    }

    /// The configuration is being applied anew; [`Notifier::ready`] follows.
    pub async fn reloading(&mut self) {
        let Some(manager) = &mut self.0 else { return };
        match NotifyState::monotonic_usec_now() {
            Ok(now) => manager.insist(&[NotifyState::Reloading, now], None).await,
            Err(error) => manager.report(Err(error)),
        }
    }

    /// The service takes no more streams, and ends when those that live have ended.
    pub async fn stopping(&mut self, status: &Status) {
        let Some(manager) = &mut self.0 else { return };
        manager.stopping = true;
        let states = [NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(EXTENSION_MICROS)];
        manager.insist(&states, Some(status)).await;
    }

    /// What is under way takes longer than the manager may expect.
    pub fn extend(&mut self) {
        self.say(&[NotifyState::ExtendTimeoutUsec(EXTENSION_MICROS)]);
    }

    /// The service works.
    pub fn alive(&mut self) {
        self.say(&[NotifyState::Watchdog]);
    }

    /// Shows the status, if that is news.
    pub fn show(&mut self, status: &Status) {
        let Some(manager) = &mut self.0 else { return };
        let sent = manager.send(&[], Some(status));
        manager.report(sent);
    }

    fn say(&mut self, states: &[NotifyState<'_>]) {
        let Some(manager) = &mut self.0 else { return };
        let sent = manager.send(states, None);
        manager.report(sent);
    }
}

impl Manager {
    /// Says what must arrive: waits while the manager's queue is full.
    async fn insist(&mut self, states: &[NotifyState<'_>], status: Option<&Status>) {
        let deadline = Instant::now() + PATIENCE;
        let sent = loop {
            match self.send(states, status) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                    sleep(TRY_AGAIN).await;
                }
                sent => break sent,
            }
        };
        self.report(sent);
    }

    /// Sends `states`, and the status as far as the manager doesn't have it. Never waits.
    fn send(&mut self, states: &[NotifyState<'_>], status: Option<&Status>) -> io::Result<()> {
        let ready = self.owes_ready.then_some(NotifyState::Ready);
        let line = status.map(|status| line::of(status, self.stopping)).filter(|line| *line != self.line);
        let shown = line.as_deref().map(NotifyState::Status);
        let message: String = ready.iter().chain(states).chain(&shown).map(|state| format!("{state}\n")).collect();
        if message.is_empty() {
            return Ok(());
        }
        // A socket for each message: the manager may have been restarted.
        let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&self.socket)?;
        socket.send(message.as_bytes())?;
        self.owes_ready = false;
        if let Some(line) = line {
            self.line = line;
        }
        Ok(())
    }

    fn report(&mut self, sent: io::Result<()>) {
        let failing = sent.is_err();
        if let Err(error) = sent
            && !self.failing
        {
            tracing::warn!(%error, "can't tell the service manager how the service is doing; going on without it");
        }
        self.failing = failing;
    }
}

fn address(name: &OsStr) -> io::Result<SockAddr> {
    match name.as_bytes() {
        [b'/', ..] => SockAddr::unix(name),
        [b'@', name @ ..] if !name.is_empty() => SockAddr::unix(OsString::from_vec([b"\0", name].concat())),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "neither an absolute path nor an abstract name (@…)")),
    }
}

#[cfg(test)]
mod tests;
