//! `benches/wan.sh` builds and finds what this is given, and starts it.

use std::process::ExitCode;

use anyhow::Result;
use p2ptun_compare::{run, setting::Setting};

fn main() -> Result<ExitCode> {
    run::run(&Setting::WAN)
}
