//! Measures p2ptun and its peers in one run, by turns.
//!
//! `peers` and `place` start pairs of daemons, anywhere; `load` is what goes through them. `experiments` puts the two together,
//! and yields samples of `measures`. `targets`, `report` and `plot` only look at the results.

pub mod experiments;
pub mod load;
pub mod machine;
pub mod measures;
pub mod peers;
pub mod place;
pub mod plot;
pub mod procfs;
pub mod report;
pub mod results;
pub mod service_manager;
pub mod statistics;
pub mod targets;
