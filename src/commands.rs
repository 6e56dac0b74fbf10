//! One file per subcommand, each thin: ask the part of the house that knows, print, and choose an exit code.

pub mod check;
