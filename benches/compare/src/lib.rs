//! Measures p2ptun and its peers in one run, by turns.

pub mod experiments;
pub mod load;
pub mod peers;
pub mod place;
pub mod procfs;
pub mod results;
pub mod statistics;
