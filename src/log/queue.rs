//! Between those who have something to say and the one thread that writes it: a reader of the log that is slow, stopped
//! or gone must never hold up the service.
//!
//! Lines wait in a queue that is bounded by its bytes. What finds no room is dropped and counted, and the number is
//! written as soon as there is room again. Writing on the caller's thread would block the runtime when a pipe is full;
//! waiting for room would as well.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// Some ten thousand lines; a burst at the level `trace` fits.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// How long the end of the process waits for a reader to take what is left.
const FAREWELL: Duration = Duration::from_millis(500);

/// Takes one line at a time; may block.
pub trait Sink: Send + 'static {
    fn write(&mut self, line: &[u8]);
    /// The line that says that `lost` lines are missing here.
    fn lost(&self, lost: u64) -> Vec<u8>;
}

/// The writing end. Clones share it.
#[derive(Clone, Default)]
pub struct Queue(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    lost: u64,
    /// Whether the thread holds lines that it has not written yet.
    writing: bool,
    closed: bool,
}

impl Queue {
    /// Puts a line at the end, or counts it as lost. Never blocks for longer than others take to do the same.
    pub fn push(&self, line: Vec<u8>) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        // While lines are missing, later ones wait for that to be said.
        if state.lost > 0 || state.bytes + line.len() > MAX_BYTES {
            state.lost += 1;
        } else {
            state.bytes += line.len();
            state.lines.push_back(line);
        }
        drop(state);
        self.0.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be written next; `None` at the end.
    fn take(&self, sink: &impl Sink) -> Option<VecDeque<Vec<u8>>> {
        let mut state = self.lock();
        state.writing = false;
        self.0.changed.notify_all();
        loop {
            if !state.lines.is_empty() || state.lost > 0 {
                state.writing = true;
                state.bytes = 0;
                let mut lines = std::mem::take(&mut state.lines);
                let lost = std::mem::take(&mut state.lost);
                if lost > 0 {
                    lines.push_back(sink.lost(lost));
                }
                return Some(lines);
            }
            if state.closed {
                return None;
            }
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Owns the thread that writes. Dropping it writes what is left, unless nobody takes it.
pub struct Writer {
    queue: Queue,
    thread: Option<thread::JoinHandle<()>>,
}

impl Writer {
    /// # Errors
    ///
    /// Where the machine has no thread to give.
    pub fn start(queue: Queue, mut sink: impl Sink) -> io::Result<Self> {
        let of_thread = queue.clone();
        let thread = thread::Builder::new().name("log".to_owned()).spawn(move || {
            while let Some(lines) = of_thread.take(&sink) {
                for line in lines {
                    sink.write(&line);
                }
            }
        })?;
        Ok(Self { queue, thread: Some(thread) })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let deadline = Instant::now() + FAREWELL;
        let mut state = self.queue.lock();
        state.closed = true;
        self.queue.0.changed.notify_all();
        while state.writing || !state.lines.is_empty() || state.lost > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // Nobody reads. The thread is stuck in a write and ends with the process.
                return;
            }
            state = self.queue.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        if let Some(thread) = self.thread.take() {
            // A panic has been reported where it happened.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Writes each line when it is allowed to.
    struct Slow {
        allowed: mpsc::Receiver<()>,
        written: Arc<Mutex<Vec<String>>>,
    }

    impl Sink for Slow {
        fn write(&mut self, line: &[u8]) {
            if self.allowed.recv().is_ok() {
                self.written.lock().unwrap().push(String::from_utf8(line.to_owned()).unwrap());
            }
        }

        fn lost(&self, lost: u64) -> Vec<u8> {
            format!("lost {lost}").into_bytes()
        }
    }

    fn slow() -> (Queue, Writer, mpsc::Sender<()>, Arc<Mutex<Vec<String>>>) {
        let (allow, allowed) = mpsc::channel();
        let written = Arc::<Mutex<Vec<String>>>::default();
        let queue = Queue::default();
        let writer = Writer::start(queue.clone(), Slow { allowed, written: written.clone() }).unwrap();
        (queue, writer, allow, written)
    }

    #[test]
    fn lines_that_find_no_room_are_counted_and_the_number_stands_where_they_are_missing() {
        let (queue, writer, allow, written) = slow();
        queue.push(b"first".to_vec());
        // The thread holds the first line, and is stuck with it.
        while !queue.lock().writing {
            thread::yield_now();
        }
        for n in 0..10 {
            queue.push(format!("{n}{}", "x".repeat(MAX_BYTES / 8)).into_bytes());
        }
        for _ in 0..10 {
            allow.send(()).unwrap();
        }
        drop(writer);
        let written = written.lock().unwrap();
        let short: Vec<_> = written.iter().map(|line| line.trim_end_matches('x')).collect();
        assert_eq!(short, ["first", "0", "1", "2", "3", "4", "5", "6", "lost 3"]);
    }

    #[test]
    fn what_is_left_is_written_at_the_end() {
        let (queue, writer, allow, written) = slow();
        for n in 0..100 {
            queue.push(n.to_string().into_bytes());
            allow.send(()).unwrap();
        }
        drop(writer);
        assert_eq!(written.lock().unwrap().len(), 100);
        queue.push(b"too late".to_vec());
        assert_eq!(queue.lock().lines.len(), 0);
    }

    #[test]
    fn an_end_does_not_wait_for_ever_for_a_reader_that_has_stopped() {
        let (queue, writer, allow, _) = slow();
        queue.push(b"nobody reads this".to_vec());
        let begun = Instant::now();
        drop(writer);
        assert!(begun.elapsed() >= FAREWELL);
        drop(allow);
    }
}
