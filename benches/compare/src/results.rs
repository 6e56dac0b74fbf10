//! What a run has found, and the table of it.

use std::{collections::BTreeMap, fmt::Write};

use crate::{experiments::Measure, statistics};

/// The samples of each measure and peer, and why there are none.
#[derive(Debug, Default)]
pub struct Results {
    samples: BTreeMap<(Measure, String), Vec<f64>>,
    pub failures: Vec<String>,
}

impl Results {
    pub fn add(&mut self, measure: Measure, peer: &str, sample: f64) {
        self.samples.entry((measure, peer.to_owned())).or_default().push(sample);
    }

    pub fn samples(&self, measure: Measure, peer: &str) -> &[f64] {
        self.samples.get(&(measure, peer.to_owned())).map_or(&[], Vec::as_slice)
    }

    pub fn median(&self, measure: Measure, peer: &str) -> Option<f64> {
        statistics::median(self.samples(measure, peer))
    }

    /// A row for each measure that has samples, a column for each peer: median, and least to greatest.
    pub fn table(&self, peers: &[String]) -> String {
        let mut table = format!("| | {} |\n|---|{}\n", peers.join(" | "), "---|".repeat(peers.len()));
        for measure in Measure::ALL {
            if peers.iter().all(|peer| self.samples(measure, peer).is_empty()) {
                continue;
            }
            let cells: Vec<_> = peers.iter().map(|peer| cell(self.samples(measure, peer), measure.digits())).collect();
            let _ = writeln!(table, "| {} | {} |", measure.title(), cells.join(" | "));
        }
        table
    }
}

fn cell(samples: &[f64], digits: usize) -> String {
    match (statistics::median(samples), statistics::range(samples)) {
        (Some(median), Some((least, greatest))) => {
            format!("**{median:.digits$}** ({least:.digits$}–{greatest:.digits$})")
        }
        _ => "–".to_owned(),
    }
}
