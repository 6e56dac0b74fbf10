//! Where lines end up: standard error, or the journal's socket. Only the log's own thread writes, so it may block.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, ErrorKind, Write},
    os::{
        fd::AsFd,
        unix::{
            fs::MetadataExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    path::Path,
    thread,
    time::{Duration, SystemTime},
};

use tracing::Level;

use super::{
    queue,
    record::{Record, Value},
    render::{Form, prefixed},
};

/// Where the journal takes native messages.
pub const JOURNAL: &str = "/run/systemd/journal/socket";

/// How often a standard error that doesn't block is asked whether it takes more.
const PAUSE: Duration = Duration::from_millis(20);

/// Writes lines of one form.
pub struct Sink {
    form: Form,
    stderr: Stderr,
    journal: Option<Journal>,
}

impl Sink {
    /// Writes to standard error.
    pub fn stderr(form: Form) -> Self {
        Self { form, stderr: Stderr::open(), journal: None }
    }

    /// Writes to the journal, and to standard error what the journal doesn't take.
    pub fn journal(journal: Journal) -> Self {
        Self { form: Form::Journal, stderr: Stderr::open(), journal: Some(journal) }
    }
}

impl queue::Sink for Sink {
    fn write(&mut self, line: &[u8]) {
        match &self.journal {
            None => self.stderr.write(line),
            Some(journal) if journal.send(line).is_ok() => {}
            Some(_) => self.stderr.write(&prefixed(line)),
        }
    }

    fn lost(&self, lost: u64) -> Vec<u8> {
        self.form.line(&Record {
            time: SystemTime::now(),
            level: Level::WARN,
            module: Cow::Borrowed(module_path!()),
            message: "events are missing here, for the reader of the log was too slow".to_owned(),
            fields: vec![("lost", Value::Number(lost.into()))],
        })
    }
}

/// Standard error by a descriptor of its own: a thread that is stuck in a write must not hold the lock of the standard
/// library, or the last words of the process would wait for it.
struct Stderr(Option<File>);

impl Stderr {
    fn open() -> Self {
        Self(io::stderr().as_fd().try_clone_to_owned().ok().map(File::from))
    }

    /// Where nobody listens any more, there is nobody to tell.
    fn write(&mut self, mut line: &[u8]) {
        let Some(stderr) = &mut self.0 else { return };
        while !line.is_empty() {
            match stderr.write(line) {
                Ok(0) => return,
                Ok(written) => line = &line[written..],
                // Somebody who shares the terminal or the pipe has made it so.
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::park_timeout(PAUSE),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

/// A way to the journal.
pub struct Journal {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Journal {
    /// # Errors
    ///
    /// Where no journal listens at `path`.
    pub fn at(path: &Path) -> io::Result<Self> {
        let journal = Self { socket: UnixDatagram::unbound()?, address: SocketAddr::from_pathname(path)? };
        // The journal ignores a datagram without a field.
        journal.send(b"")?;
        Ok(journal)
    }

    /// By address each time, so that a journal that has been started anew is found.
    fn send(&self, datagram: &[u8]) -> io::Result<()> {
        loop {
            match self.socket.send_to_addr(datagram, &self.address) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether standard error leads to the journal: `JOURNAL_STREAM` names the device and the inode of the stream that systemd
/// has connected, and somebody may have put another one in its place since.
pub fn leads_to_journal(journal_stream: Option<&str>) -> bool {
    let stderr = io::stderr().as_fd().try_clone_to_owned().map(File::from);
    let Ok(stderr) = stderr.and_then(|stderr| stderr.metadata()) else { return false };
    journal_stream.is_some_and(|named| named == format!("{}:{}", stderr.dev(), stderr.ino()))
}

#[cfg(test)]
mod tests {
    use super::{queue::Sink as _, *};

    #[test]
    fn the_journal_gets_one_datagram_for_each_event_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        assert!(Journal::at(&path).is_err(), "nobody listens");
        let served = UnixDatagram::bind(&path).unwrap();
        let mut sink = Sink::journal(Journal::at(&path).unwrap());
        let received = |socket: &UnixDatagram| {
            let mut buffer = [0; 1024];
            let length = socket.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_owned()).unwrap()
        };
        assert_eq!(received(&served), "");
        sink.write(b"PRIORITY=6\nMESSAGE=one\n");
        assert_eq!(received(&served), "PRIORITY=6\nMESSAGE=one\n");

        drop(served);
        std::fs::remove_file(&path).unwrap();
        let served = UnixDatagram::bind(&path).unwrap();
        let lost = sink.lost(3);
        sink.write(&lost);
        let received = received(&served);
        assert!(received.starts_with("PRIORITY=4\nMESSAGE=events are missing") && received.contains("P2PTUN_LOST=3\n"));
    }

    #[test]
    fn another_stream_than_the_one_named_is_not_the_journal() {
        assert!(!leads_to_journal(None));
        assert!(!leads_to_journal(Some("1:1")));
        assert!(!leads_to_journal(Some("")));
        let stderr = File::from(io::stderr().as_fd().try_clone_to_owned().unwrap()).metadata().unwrap();
        assert!(leads_to_journal(Some(&format!("{}:{}", stderr.dev(), stderr.ino()))));
    }
}
