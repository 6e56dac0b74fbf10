//! One file per subcommand, each thin: ask the part of the house that knows, print, and choose an exit code.

mod ask;
pub mod check;
pub mod completions;
pub mod demo;
pub mod forward;
pub mod global;
pub mod id;
mod layout;
pub mod listen;
pub mod logging;
pub mod man;
pub mod manual;
pub mod outcome;
mod palette;
mod quantities;
pub mod reload;
pub mod remove;
pub mod run;
mod save;
pub mod status;
pub mod streams;
pub mod terminal;
mod tunnel;
