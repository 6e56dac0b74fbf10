//! One file per subcommand, each thin: ask the part of the house that knows, print, and choose an exit code.

mod ask;
pub mod check;
pub mod demo;
pub mod forward;
pub mod global;
pub mod id;
pub mod listen;
pub mod outcome;
pub mod reload;
pub mod remove;
pub mod run;
mod save;
pub mod status;
pub mod terminal;
mod tunnel;
