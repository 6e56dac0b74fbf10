//! Pieces of a stream on their way: what has been received and not yet read, or written and not yet sent.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::BufMut as _;
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

/// The largest piece, and the largest payload of a frame that is sent: small enough that a stream doesn't have to wait
/// long for the frame of another, large enough to be worth a header, a hand-over and a wake-up.
pub const MAX: usize = 64 * 1024;

/// The smallest piece that is set up, so that frames of a few bytes share one.
const MIN: usize = 512;

/// Pieces for no more than this are as large as what they are for.
const SMALL: usize = MAX / 4;

/// Spare pieces of [`MAX`] bytes that a thread keeps.
const SPARE: usize = 16;

thread_local! {
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Up to [`MAX`] bytes, filled at the back and emptied at the front.
#[derive(Debug)]
pub struct Chunk {
    bytes: Vec<u8>,
    taken: usize,
}

impl Chunk {
    /// An empty piece, for `expected` bytes or as many of them as go into one.
    pub fn for_bytes(expected: usize) -> Self {
        let bytes = match expected <= SMALL {
            true => Vec::with_capacity(expected.max(MIN)),
            false => POOL.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(MAX)),
        };
        Self { bytes, taken: 0 }
    }

    /// How many bytes may still be added.
    pub fn room(&self) -> usize {
        self.bytes.capacity().min(MAX) - self.bytes.len()
    }

    /// Adds as much of `bytes` as there is room for, and says how much that was.
    pub fn fill(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.room());
        self.bytes.extend_from_slice(&bytes[..n]);
        n
    }

    /// Adds what `from` says, at most `limit` bytes and as many as there is room for, and says how many those were.
    pub fn poll_fill_from<R>(&mut self, cx: &mut Context<'_>, from: &mut R, limit: usize) -> Poll<io::Result<usize>>
    where
        R: AsyncRead + Unpin,
    {
        let limit = limit.min(self.room());
        poll_read_buf(Pin::new(from), cx, &mut (&mut self.bytes).limit(limit))
    }

    /// The same bytes in a piece that is not much larger than they are, if they are few: many of them may have to wait.
    pub fn fitted(self) -> Self {
        if self.len() > SMALL || self.bytes.capacity() < MAX {
            return self;
        }
        let mut fitted = Self::for_bytes(self.len());
        fitted.fill(self.as_slice());
        fitted
    }

    /// Leaves out the next `n` bytes.
    pub fn skip(&mut self, n: usize) {
        self.taken += n.min(self.len());
    }

    /// What has not been taken yet.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    pub fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    /// What is held, whether or not it is filled.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if self.bytes.capacity() < MAX {
            return;
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        // Where the thread is ending, the pool has gone, and the piece goes with it.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < SPARE {
                pool.push(bytes);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_filled_at_the_back_and_taken_from_the_front() {
        let mut chunk = Chunk::for_bytes(3);
        assert_eq!(chunk.fill(b"abcdef"), 6, "the smallest piece has room");
        chunk.skip(4);
        assert_eq!((chunk.as_slice(), chunk.len()), (&b"ef"[..], 2));
    }

    #[test]
    fn no_piece_is_larger_than_the_largest() {
        for expected in [SMALL, SMALL + 1, MAX, 16 * MAX] {
            let mut chunk = Chunk::for_bytes(expected);
            assert_eq!(chunk.fill(&vec![0; 32 * MAX]), expected.min(MAX).max(chunk.len()));
            assert!(chunk.len() <= MAX && chunk.room() == 0);
        }
    }

    #[test]
    fn a_few_bytes_do_not_keep_a_large_piece() {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for (said, capacity) in [(SMALL, SMALL), (SMALL + 1, MAX), (2 * MAX, MAX)] {
            let said = vec![7; said];
            let mut chunk = Chunk::for_bytes(MAX);
            let filled = chunk.poll_fill_from(&mut cx, &mut said.as_slice(), MAX);
            assert!(matches!(filled, Poll::Ready(Ok(n)) if n == said.len().min(MAX)));
            let chunk = chunk.fitted();
            assert_eq!((chunk.as_slice(), chunk.bytes.capacity()), (&said[..said.len().min(MAX)], capacity));
        }
    }
}
