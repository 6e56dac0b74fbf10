//! Copy buffers, lent only while bytes are on their way: a stream that waits holds none.

use std::{
    cell::RefCell,
    ops::{Deref, DerefMut},
};

/// What a socket hands over in one read, and a few muxer frames.
pub const SIZE: usize = 64 * 1024;

/// Spare buffers that a thread keeps.
const SPARE: usize = 16;

thread_local! {
    static POOL: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

#[cfg(test)]
thread_local! {
    /// Buffers lent by this thread, less those given back here: what streams hold, where there is only one thread.
    pub static LENT: std::cell::Cell<isize> = const { std::cell::Cell::new(0) };
}

/// A buffer of [`SIZE`] bytes with arbitrary contents; goes back to the pool of the thread that drops it.
pub struct Buffer(Box<[u8]>);

impl Buffer {
    pub fn take() -> Self {
        #[cfg(test)]
        LENT.set(LENT.get() + 1);
        let spare = POOL.with_borrow_mut(Vec::pop);
        Self(spare.unwrap_or_else(|| vec![0; SIZE].into()))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        #[cfg(test)]
        LENT.set(LENT.get() - 1);
        let buffer = std::mem::take(&mut self.0);
        // Where the thread is ending, the pool has gone, and the buffer goes with it.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < SPARE {
                pool.push(buffer);
            }
        });
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}
