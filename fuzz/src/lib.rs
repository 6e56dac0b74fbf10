//! What the fuzz targets share: p2ptun's multiplexer by itself, a wire that does as it is told, and tasks that run only
//! when they are woken, so that a wake-up that is lost shows.

#[path = "../../src"]
mod source {
    #[allow(dead_code, reason = "nothing here negotiates")]
    pub mod yamux;
}
pub mod task;
pub mod wire;

pub use source::yamux;

use std::cell::RefCell;

use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: RefCell<Runtime> =
        Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().into();
}

/// Runs `future` where time passes only when it says so.
pub fn run(future: impl Future<Output = ()>) {
    RUNTIME.with_borrow_mut(|runtime| runtime.block_on(future));
}

/// An amount of bytes that `choice` stands for: those at which something else begins, and others.
pub fn amount(choice: u8) -> usize {
    const AMOUNTS: [usize; 16] =
        [1, 2, 11, 12, 13, 100, 512, 513, 1_000, 4_096, 4_097, 16_385, 65_536, 65_537, 131_072, 262_144];
    AMOUNTS[usize::from(choice) % AMOUNTS.len()]
}

/// `bytes` of the endless pattern that everybody writes, from a place in it.
pub fn pattern(from: usize, bytes: usize) -> Vec<u8> {
    (from..from + bytes).map(at).collect()
}

/// The byte at a place of the pattern.
pub fn at(place: usize) -> u8 {
    (place % 251) as u8
}
