//! Measures p2ptun and its peers in one run, by turns.
//!
//! `peers` and `place` start pairs of daemons, anywhere; `load` is what goes through them. `experiments` puts the two together,
//! and yields samples of `measures`. `setting` says where: on loopback, or over a `line`, which is two namespaces with a `wire` between
//! them. `run` is the order of it all. `targets`, `report` and `plot` only look at the results;
//! `readme` only at those that are committed.

pub mod arguments;
pub mod experiments;
pub mod interrupt;
pub mod line;
pub mod load;
pub mod machine;
pub mod measures;
pub mod namespace;
pub mod peers;
pub mod place;
pub mod plot;
pub mod procfs;
pub mod readme;
pub mod report;
pub mod results;
pub mod run;
pub mod service_manager;
pub mod setting;
pub mod statistics;
pub mod targets;
pub mod wire;
