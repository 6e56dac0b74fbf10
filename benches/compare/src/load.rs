//! The load generators: what is at the far end of a tunnel, and what clients do at its entrance.

pub mod bulk;
pub mod crowd;
pub mod http;
pub mod latency;
pub mod service;

/// What a thread moves at once.
pub const BUFFER: usize = 256 * 1024;
