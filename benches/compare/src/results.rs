//! What a run has found.

use std::collections::BTreeMap;

use crate::{measures::Measure, statistics};

/// The samples of each measure and peer, and what is not among them.
#[derive(Debug, Default)]
pub struct Results {
    samples: BTreeMap<(Measure, String), Vec<f64>>,
    /// What was to be measured and wasn't: a peer that isn't here, or something that p2ptun doesn't do.
    pub failures: Vec<String>,
    /// What a peer can't do.
    pub inabilities: Vec<String>,
    /// What makes no sense, and the peers for which it doesn't.
    pub exclusions: BTreeMap<String, Vec<String>>,
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

    /// Those that there are samples of, of any peer.
    pub fn measures(&self) -> impl Iterator<Item = Measure> {
        Measure::ALL.into_iter().filter(|measure| self.samples.keys().any(|(sampled, _)| sampled == measure))
    }
}
