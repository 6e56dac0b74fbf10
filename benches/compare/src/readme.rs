//! The README's figures, taken from the committed results and from nowhere else.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};

use crate::{measures::Measure, report::row_title};

/// Between these two lines of the README stands what [`section`] makes.
const BEGIN: &str = "<!-- figures: made by benches/figures.sh -->\n";
const END: &str = "<!-- /figures -->\n";

/// What the README shows of each of the two results: on loopback, and over a line.
const SHOWN: [(&str, &[Measure]); 2] = [
    (
        "loopback",
        &[
            Measure::Throughput1,
            Measure::Throughput8,
            Measure::Cpu1,
            Measure::Cpu8,
            Measure::Fresh,
            Measure::PingPong,
            Measure::HttpKeepAlive,
            Measure::HttpClose,
            Measure::Burst,
            Measure::Memory4000,
        ],
    ),
    ("40 ms of round trip", &[Measure::LineOne, Measure::LineSlow, Measure::LineLossyEight, Measure::LineFresh]),
];

/// Peers in the order of their columns.
const COLUMNS: [&str; 6] = ["p2ptun", "stunnel", "ssh", "rathole", "kubo", "haproxy"];

const GAP: &str = "–";

/// The medians of both results in one table.
///
/// # Errors
///
/// Where a row that is to be shown isn't there.
pub fn section(loopback: &str, wan: &str) -> Result<String> {
    let mut text = format!("| | {} |\n|---|{}\n", COLUMNS.join(" | "), "--:|".repeat(COLUMNS.len()));
    for ((place, measures), results) in SHOWN.into_iter().zip([loopback, wan]) {
        let table = Table::of(results)?;
        for measure in measures {
            let _ = write!(text, "| {place}: {}", row_title(*measure));
            for column in COLUMNS {
                let _ = write!(text, " | {}", table.median(*measure, column)?);
            }
            text.push_str(" |\n");
        }
    }
    Ok(text)
}

/// The README with `section` in its place.
///
/// # Errors
///
/// Where the README has no such place.
pub fn put(readme: &str, section: &str) -> Result<String> {
    let (before, rest) = readme.split_once(BEGIN).with_context(|| format!("the README lacks {BEGIN:?}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("the README lacks {END:?}"))?;
    Ok(format!("{before}{BEGIN}{section}{END}{after}"))
}

/// The first table of a file of results.
struct Table<'a> {
    header: Vec<&'a str>,
    rows: Vec<Vec<&'a str>>,
}

impl<'a> Table<'a> {
    fn of(results: &'a str) -> Result<Self> {
        let lines = results.lines().skip_while(|line| !line.starts_with("| ")).take_while(|line| line.starts_with('|'));
        let mut rows = lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
        let header = rows.next().context("no table in the results")?;
        Ok(Self { header, rows: rows.skip(1).collect() })
    }

    fn median(&self, measure: Measure, column: &str) -> Result<&'a str> {
        let title = row_title(measure);
        let Some(row) = self.rows.iter().find(|row| row[0] == title) else { bail!("no row {title:?} in the results") };
        let cell = self.header.iter().position(|name| *name == column).and_then(|at| row.get(at));
        Ok(cell.and_then(|cell| cell.split("**").nth(1)).unwrap_or(GAP))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn committed(path: &str) -> String {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
    }

    #[test]
    fn the_readme_shows_the_committed_results() {
        let section = section(&committed("benches/results/loopback.md"), &committed("benches/results/wan.md")).unwrap();
        let readme = committed("README.md");
        assert_eq!(put(&readme, &section).unwrap(), readme, "benches/figures.sh mends that");
    }

    #[test]
    fn a_row_that_is_not_there_is_told_and_a_peer_that_is_not_is_a_gap() {
        let results = "# Title\n\n| | p2ptun | ssh |\n|---|--:|--:|\n| ping-pong of 64 bytes (ms) ↓ | **0.1** (0–1) | – |\n\n| x |";
        let table = Table::of(results).unwrap();
        let cells = ["p2ptun", "ssh", "kubo"].map(|peer| table.median(Measure::PingPong, peer).unwrap());
        assert_eq!(cells, ["0.1", GAP, GAP]);
        let error = table.median(Measure::Burst, "p2ptun").unwrap_err();
        assert_eq!(error.to_string(), "no row \"burst of 1,000 (ms) ↓\" in the results");
    }

    #[test]
    fn nothing_but_the_place_of_the_figures_changes() {
        let readme = format!("before\n{BEGIN}old\n{END}after\n");
        assert_eq!(put(&readme, "new\n").unwrap(), format!("before\n{BEGIN}new\n{END}after\n"));
        assert!(put("no place", "new\n").is_err());
    }
}
