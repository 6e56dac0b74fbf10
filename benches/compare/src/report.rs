//! The results as Markdown.

use std::fmt::{self, Write};

use crate::{
    machine::Machine,
    measures::{Better, Measure},
    results::Results,
    setting::Setting,
    statistics,
    targets::Verdict,
};

/// What stands where there is no figure.
const GAP: &str = "–";

/// What is told beside the figures.
pub struct Circumstances {
    pub setting: &'static Setting,
    pub machine: Machine,
    pub date: String,
    pub commit: String,
    pub command: String,
    pub rounds: Rounds,
    /// The columns, each with what it is. Those of p2ptun come first.
    pub peers: Vec<(String, String)>,
    /// What else somebody must know who reads the figures.
    pub notes: Vec<String>,
}

/// How many samples a median is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounds {
    /// Taken of pairs that run through all rounds.
    pub running: usize,
    /// Taken of pairs that are started for it.
    pub anew: usize,
}

impl fmt::Display for Rounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { running, anew } if running == anew => write!(f, "{running} rounds"),
            Self { running, anew } => {
                write!(f, "{running} rounds, and {anew} of bursts and of what takes daemons that have done nothing yet")
            }
        }
    }
}

impl Circumstances {
    /// The one that targets apply to.
    fn p2ptun(&self) -> &str {
        self.peers.first().map_or("p2ptun", |(name, _)| name)
    }
}

/// The whole file. `plot` is the name of a picture beside it.
pub fn markdown(results: &Results, of: &Circumstances, plot: Option<&str>) -> String {
    let mut text = format!(
        "# p2ptun and its peers {}\n\nMade by `{}` on {} at commit {}.\n\n\
         Medians of {}, in which all took turns, with the least and the greatest. {}: {}, {} cores ({}), {}, Linux {}.\n",
        of.setting.place,
        of.command,
        of.date,
        of.commit,
        of.rounds,
        of.setting.sharing,
        of.machine.cpu,
        of.machine.cores,
        of.machine.features.join(" "),
        of.machine.memory,
        of.machine.kernel,
    );
    if let Some(plot) = plot {
        let _ = writeln!(text, "\n![Medians of all measures as bars]({plot})");
    }
    let _ = write!(text, "\n## Figures\n\n{}\n", figures(results, of));
    let _ = write!(text, "## {} in proportion\n\n{}\n", of.p2ptun(), proportions(results, of));
    let _ = write!(text, "## Targets\n\n{}\n## What was measured\n\n", targets(results, of));
    for (name, description) in &of.peers {
        let _ = writeln!(text, "- {name}: {description}");
    }
    for note in &of.notes {
        let _ = writeln!(text, "- {note}");
    }
    for (exclusion, peers) in &results.exclusions {
        let _ = writeln!(text, "- – in {}: {exclusion}", peers.join(", "));
    }
    for inability in &results.inabilities {
        let _ = writeln!(text, "- – {inability}");
    }
    for failure in &results.failures {
        let _ = writeln!(text, "- **not measured**: {failure}");
    }
    let _ = write!(text, "\n{}", of.setting.method);
    text
}

/// A row for each measure, a column for each peer: median, and least to greatest.
fn figures(results: &Results, of: &Circumstances) -> String {
    table(results, &of.peers, |measure, peer| cell(results.samples(measure, peer), measure.digits()))
}

/// p2ptun's medians divided by those of the others.
fn proportions(results: &Results, of: &Circumstances) -> String {
    let Some((_, others)) = of.peers.split_first() else { return String::new() };
    table(results, others, |measure, peer| {
        match results.median(measure, of.p2ptun()).zip(results.median(measure, peer)) {
            Some((own, other)) if other > 0.0 && measure.better() != Better::Neither => format!("{:.2}", own / other),
            _ => GAP.to_owned(),
        }
    })
}

fn table(results: &Results, columns: &[(String, String)], cell: impl Fn(Measure, &str) -> String) -> String {
    let names: Vec<_> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let mut text = format!("| | {} |\n|---|{}\n", names.join(" | "), "--:|".repeat(names.len()));
    for measure in results.measures() {
        let cells: Vec<_> = names.iter().map(|name| cell(measure, name)).collect();
        if cells.iter().all(|cell| cell == GAP) {
            continue;
        }
        let _ = writeln!(text, "| {} | {} |", row_title(measure), cells.join(" | "));
    }
    text
}

/// A measure with its unit, and whether more of it is better.
pub fn row_title(measure: Measure) -> String {
    let better = match measure.better() {
        Better::More => " ↑",
        Better::Less => " ↓",
        Better::Neither => "",
    };
    format!("{} ({}){better}", measure.title(), measure.unit())
}

/// A row for each target: what is wanted, what there is, and whether that is enough.
fn targets(results: &Results, of: &Circumstances) -> String {
    let mut text = "| measure | target | figure | |\n|---|---|--:|---|\n".to_owned();
    for target in of.setting.targets {
        let avx512 = of.machine.has_avx512();
        let figure = target.figure(results, of.p2ptun(), avx512);
        let figure = figure.map_or(GAP.to_owned(), |figure| format!("{figure:.3}"));
        let verdict = target.verdict(results, of.p2ptun(), avx512);
        let _ = writeln!(text, "| {} | {} | {figure} | {} |", target.measure.title(), target.bound(), verdict.word());
    }
    text
}

/// One line: how many targets are reached, and which are missed.
pub fn summary(results: &Results, of: &Circumstances) -> String {
    let verdict = |wanted| {
        of.setting
            .targets
            .iter()
            .filter(move |target| target.verdict(results, of.p2ptun(), of.machine.has_avx512()) == wanted)
            .map(|target| format!("{} {}", target.measure.title(), target.bound()))
            .collect::<Vec<_>>()
    };
    let (reached, missed, untried) = (verdict(Verdict::Reached), verdict(Verdict::Missed), verdict(Verdict::NotTried));
    let mut text = format!("targets: {} reached, {} missed, {} not tried", reached.len(), missed.len(), untried.len());
    for target in missed {
        let _ = write!(text, "\nmissed: {target}");
    }
    text
}

fn cell(samples: &[f64], digits: usize) -> String {
    match (statistics::median(samples), statistics::range(samples)) {
        (Some(median), Some((least, greatest))) => {
            format!("**{median:.digits$}** ({least:.digits$}–{greatest:.digits$})")
        }
        _ => GAP.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Circumstances {
        let machine = Machine {
            cpu: String::new(),
            cores: 2,
            kernel: String::new(),
            memory: String::new(),
            features: vec!["avx512f"],
        };
        let peers = names.iter().map(|name| (name.to_string(), "a tunnel".to_owned())).collect();
        Circumstances {
            setting: &Setting::LOOPBACK,
            machine,
            date: String::new(),
            commit: String::new(),
            command: String::new(),
            rounds: Rounds { running: 3, anew: 3 },
            peers,
            notes: Vec::new(),
        }
    }

    #[test]
    fn a_cell_shows_median_and_spread_and_a_gap_is_a_dash() {
        let mut results = Results::default();
        for sample in [3.0, 1.0, 2.0] {
            results.add(Measure::Throughput1, "p2ptun", sample);
        }
        let text = figures(&results, &of(&["p2ptun", "kubo"]));
        let row = text.lines().last().unwrap();
        assert_eq!(row, "| throughput, 1 connection (Gbit/s) ↑ | **2.00** (1.00–3.00) | – |");
    }

    #[test]
    fn the_number_of_rounds_is_said_once_where_it_is_the_same_for_all() {
        assert_eq!(Rounds { running: 5, anew: 5 }.to_string(), "5 rounds");
        assert!(Rounds { running: 11, anew: 5 }.to_string().starts_with("11 rounds, and 5 of bursts"));
    }

    #[test]
    fn proportions_are_of_the_first_p2ptun_to_each_of_the_others() {
        let mut results = Results::default();
        results.add(Measure::Cpu8, "new", 1.0);
        results.add(Measure::Cpu8, "old", 2.0);
        results.add(Measure::Cpu8, "kubo", 4.0);
        let text = proportions(&results, &of(&["new", "old", "kubo"]));
        results.add(Measure::Spare8, "new", 1.0);
        results.add(Measure::Spare8, "kubo", 4.0);
        assert_eq!(text.lines().last().unwrap(), "| CPU, 8 connections (s/GiB) ↓ | 0.50 | 0.25 |");
        assert_eq!(proportions(&results, &of(&["new", "old", "kubo"])), text, "idle processors are no figure of merit");
    }

    #[test]
    fn what_could_not_be_measured_is_told() {
        let mut results = Results::default();
        results.failures.push("kubo: no ipfs here".to_owned());
        assert!(markdown(&results, &of(&["p2ptun"]), None).contains("**not measured**: kubo: no ipfs here"));
    }

    #[test]
    fn each_target_is_called_reached_or_missed() {
        let mut results = Results::default();
        results.add(Measure::Throughput8, "p2ptun", 6.0);
        results.add(Measure::Throughput8, "stunnel", 6.0);
        results.add(Measure::Throughput8, "kubo", 6.0);
        let text = targets(&results, &of(&["p2ptun", "stunnel", "kubo"]));
        assert!(text.contains("| throughput, 8 connections | ≥ 1 × stunnel | 1.000 | reached |"), "{text}");
        assert!(text.contains("| throughput, 8 connections | ≥ 1.2 × kubo | 1.000 | **missed** |"), "{text}");
        assert!(text.contains("| throughput, 1 connection | ≥ 1.2 × stunnel | – | not tried |"), "{text}");
        assert!(summary(&results, &of(&["p2ptun"])).starts_with("targets: 1 reached, 1 missed"));
    }
}
