//! Puts the committed results into the README.

use std::fs;

use anyhow::{Context as _, Result};
use p2ptun_compare::readme::{put, section};

fn main() -> Result<()> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| path.to_owned());
    let section = section(&read("benches/results/loopback.md")?, &read("benches/results/wan.md")?)?;
    let readme = put(&read("README.md")?, &section)?;
    fs::write("README.md", readme).context("README.md")
}
