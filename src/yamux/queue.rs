//! What has been written and not yet sent.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use super::chunk::{self, Chunk};

/// What one stream may have unsent: a frame is filled while another is being sent. With four, whoever fills them and
/// whoever sends them, on the same processor, take so long a turn each that the far end waits: 5.1 Gbit/s in place of
/// 7.3 (loopback, 2 cores, one connection).
const SHARE: usize = chunk::MAX;

/// What it may have while all streams of the connection together have more than [`CROWDED`]. A slow connection with
/// thousands of busy streams would hold a gigabyte otherwise.
const SMALL_SHARE: usize = chunk::MAX / 4;
const CROWDED: usize = 4 << 20;

/// What all streams of a connection have unsent. Shared.
#[derive(Debug, Default)]
pub struct Backlog(AtomicUsize);

impl Backlog {
    fn share(&self) -> usize {
        // Nothing else is read or written on the strength of this number.
        match self.0.load(Relaxed) > CROWDED {
            true => SMALL_SHARE,
            false => SHARE,
        }
    }
}

/// The unsent pieces of one stream.
#[derive(Debug)]
pub struct Queue {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    backlog: Arc<Backlog>,
}

impl Queue {
    pub fn new(backlog: Arc<Backlog>) -> Self {
        Self { chunks: VecDeque::new(), bytes: 0, backlog }
    }

    /// How much may be added.
    pub fn room(&self) -> usize {
        self.backlog.share().saturating_sub(self.bytes)
    }

    /// Whether there is so much room that it is worth to wake a writer.
    pub fn has_much_room(&self) -> bool {
        self.bytes <= self.backlog.share() / 2
    }

    pub fn push(&mut self, chunk: Chunk) {
        self.bytes += chunk.len();
        self.backlog.0.fetch_add(chunk.len(), Relaxed);
        append(&mut self.chunks, chunk);
    }

    pub fn pop(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.pop_front()?;
        self.bytes -= chunk.len();
        self.backlog.0.fetch_sub(chunk.len(), Relaxed);
        Some(chunk)
    }

    pub fn clear(&mut self) {
        while self.pop().is_some() {}
    }

    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Puts `chunk` behind the others, into the last of them if it has room: small ones share a piece, or somebody who
/// sends byte by byte would have us keep a piece for each. Only what fills most of a piece anyway isn't copied.
pub fn append(chunks: &mut VecDeque<Chunk>, chunk: Chunk) {
    match chunks.back_mut() {
        Some(last) if chunk.len() <= chunk::MAX / 2 && last.room() >= chunk.len() => {
            last.fill(chunk.as_slice());
        }
        _ => chunks.push_back(chunk),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(bytes: usize) -> Chunk {
        let mut chunk = Chunk::for_bytes(bytes);
        chunk.fill(&vec![0; bytes]);
        chunk
    }

    #[test]
    fn shares_are_small_while_a_connection_is_crowded() {
        let backlog = Arc::new(Backlog::default());
        let mut queues: Vec<_> = (0..100).map(|_| Queue::new(backlog.clone())).collect();
        for queue in &mut queues {
            while queue.room() >= chunk::MAX {
                queue.push(chunk(chunk::MAX));
            }
        }
        assert!(backlog.0.load(Relaxed) <= CROWDED + chunk::MAX);
        let mut late = Queue::new(backlog.clone());
        assert_eq!(late.room(), SMALL_SHARE, "nobody is left with nothing");
        late.push(chunk(SMALL_SHARE));
        assert!(late.room() == 0 && !late.has_much_room());
        drop(queues);
        assert_eq!(late.room(), SHARE - SMALL_SHARE);
        late.clear();
        assert_eq!(backlog.0.load(Relaxed), 0);
    }

    #[test]
    fn no_pieces_of_any_length_are_much_larger_than_what_they_hold() {
        for length in [1, chunk::MAX / 4, chunk::MAX / 4 + 1, chunk::MAX / 2, chunk::MAX / 2 + 1, chunk::MAX] {
            let mut queue = Queue::new(Arc::default());
            let bytes = 64 * length;
            for _ in 0..64 {
                queue.push(chunk(length));
            }
            let held = queue.chunks.iter().map(Chunk::capacity).sum::<usize>();
            assert!(held <= 2 * bytes + chunk::MAX, "{length}: {held} for {bytes}");
        }
    }

    #[test]
    fn small_pieces_share_one() {
        let mut queue = Queue::new(Arc::default());
        for _ in 0..512 {
            queue.push(chunk(1));
        }
        assert_eq!(queue.pop().map(|chunk| chunk.len()), Some(512));
        assert!(queue.is_empty());
    }
}
