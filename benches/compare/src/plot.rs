//! The results as a picture: a panel for each measure, a bar for each peer.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::{
    measures::{Better, Measure},
    results::Results,
    statistics,
};

const COLUMNS: usize = 3;
const PANEL_WIDTH: i32 = 400;
const BAR: i32 = 18;
const TITLE: i32 = 44;
const GAP: i32 = 22;
/// What is kept free beside the bars: names on the left, figures on the right.
const NAMES: i32 = 84;
const FIGURES: i32 = 70;

const OWN: RGBColor = RGBColor(0x1b, 0x6e, 0xc2);
const OTHER: RGBColor = RGBColor(0xa9, 0xb4, 0xc0);
/// No tunnel at all, or one without encryption: no peers, but limits.
const LIMIT: RGBColor = RGBColor(0xdd, 0xe2, 0xe7);
const INK: RGBColor = RGBColor(0x20, 0x26, 0x2c);
const FAINT: RGBColor = RGBColor(0x60, 0x68, 0x70);
const LIMITS: [&str; 2] = ["direct", "haproxy"];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Writes the picture. The first `own` of `peers` are p2ptun's.
pub fn svg(file: &Path, results: &Results, peers: &[String], own: usize, caption: &str) -> Result<()> {
    let measures: Vec<_> = results.measures().collect();
    let drawn = |measure: Measure| -> Vec<&String> {
        peers.iter().filter(|peer| !results.samples(measure, peer).is_empty()).collect()
    };
    let mut places = Vec::new();
    let mut height = 2 * GAP + BAR;
    for row in measures.chunks(COLUMNS) {
        places.extend((0..row.len() as i32).map(|column| (column * PANEL_WIDTH, height)));
        height += TITLE + BAR * row.iter().map(|measure| drawn(*measure).len()).max().unwrap_or(0) as i32 + GAP;
    }
    let width = COLUMNS as i32 * PANEL_WIDTH;
    let area = SVGBackend::new(file, (width as u32, height as u32)).into_drawing_area();
    area.fill(&WHITE).map_err(|error| anyhow!("{error}"))?;
    text(&area, caption, (GAP, GAP), 13, FAINT, HPos::Left)?;
    for (measure, place) in measures.into_iter().zip(places) {
        panel(&area, place, measure, results, &drawn(measure), &peers[..own.min(peers.len())])?;
    }
    area.present().map_err(|error| anyhow!("{error}"))
}

fn panel(
    area: &Area,
    (left, top): (i32, i32),
    measure: Measure,
    results: &Results,
    peers: &[&String],
    own: &[String],
) -> Result<()> {
    let unit = match measure.better() {
        Better::More => format!("{}, more is better", measure.unit()),
        Better::Less => format!("{}, less is better", measure.unit()),
        Better::Neither => measure.unit().to_owned(),
    };
    text(area, measure.title(), (left + GAP, top + 10), 15, INK, HPos::Left)?;
    text(area, &unit, (left + GAP, top + 28), 12, FAINT, HPos::Left)?;
    let limited = |peer: &str| LIMITS.contains(&peer);
    let most = |of: &dyn Fn(&str) -> bool| {
        let medians = peers.iter().filter(|peer| of(peer)).filter_map(|peer| results.median(measure, peer));
        medians.fold(0.0, f64::max)
    };
    // What is several times as fast without a tunnel would leave no room to see the others: its bar is cut off.
    let (all, compared) = (most(&|_| true), most(&|peer| !limited(peer)));
    let scale = if compared > 0.0 { all.min(compared * 1.6) } else { all };
    let (from, to) = (left + GAP + NAMES, left + PANEL_WIDTH - FIGURES);
    let at = |value: f64| {
        let share = if scale > 0.0 { (value / scale).min(1.0) } else { 0.0 };
        from + (share * f64::from(to - from)) as i32
    };
    for (nth, peer) in peers.iter().enumerate() {
        let (y, samples) = (top + TITLE + BAR * nth as i32, results.samples(measure, peer));
        let Some((median, (least, greatest))) = statistics::median(samples).zip(statistics::range(samples)) else {
            continue;
        };
        let colour = match peer {
            peer if own.contains(peer) => OWN,
            peer if limited(peer) => LIMIT,
            _ => OTHER,
        };
        text(area, peer, (from - 8, y + BAR / 2), 13, INK, HPos::Right)?;
        rectangle(area, [(from, y + 2), (at(median).max(from + 1), y + BAR - 3)], colour)?;
        // The spread, as a thin line over the end of the bar.
        rectangle(area, [(at(least), y + BAR / 2 - 1), (at(greatest).max(at(least) + 1), y + BAR / 2)], INK)?;
        let beyond = if median > scale { "→ " } else { "" };
        let figure = format!("{beyond}{median:.*}", measure.digits());
        text(area, &figure, (at(median.max(greatest)) + 6, y + BAR / 2), 12, INK, HPos::Left)?;
    }
    Ok(())
}

fn rectangle(area: &Area, corners: [(i32, i32); 2], colour: RGBColor) -> Result<()> {
    area.draw(&Rectangle::new(corners, colour.filled())).map_err(|error| anyhow!("{error}"))
}

fn text(area: &Area, words: &str, at: (i32, i32), size: i32, colour: RGBColor, side: HPos) -> Result<()> {
    let style = ("sans-serif", size).into_font().color(&colour).pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(words.to_owned(), at, style)).map_err(|error| anyhow!("{error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_measure_and_every_peer_is_in_the_picture() {
        let mut results = Results::default();
        let peers = ["p2ptun".to_owned(), "kubo".to_owned(), "direct".to_owned()];
        for (nth, peer) in peers.iter().enumerate() {
            results.add(Measure::Throughput1, peer, 1.0 + 20.0 * nth as f64);
            results.add(Measure::BurstLost, peer, 0.0);
        }
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("a.svg");
        svg(&file, &results, &peers, 1, "a caption").unwrap();
        let picture = std::fs::read_to_string(file).unwrap();
        for word in ["p2ptun", "kubo", "direct", Measure::Throughput1.title(), Measure::BurstLost.title(), "a caption"]
        {
            assert!(picture.contains(word), "{word} is missing");
        }
    }
}
