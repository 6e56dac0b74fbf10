//! Text for the width of a terminal: columns, and lines that break where people would break them.
//!
//! Nothing is cut. What is too long for its column ends its line, and the next cell goes on beneath, at its own place;
//! the last column goes beneath as a whole.

use anstyle::Style;
use textwrap::{
    Options, WordSeparator, WordSplitter, WrapAlgorithm,
    core::{Word, display_width},
};

use super::palette::{DETAIL, paint};

/// Between columns.
const GAP: usize = 2;

/// Of what stands beneath a line and belongs to it.
const INDENT: &str = "  ";

/// Parts of a multiaddr that are nothing without the part that follows.
const LABELS: [&str; 9] = ["/ip4", "/ip6", "/dns", "/dns4", "/dns6", "/dnsaddr", "/tcp", "/udp", "/p2p"];

/// Words up to this length are never torn apart.
const LONG: usize = 40;

/// All columns but the last, whose cells are called tails here.
#[derive(Clone, Copy)]
pub struct Column {
    to_the_right: bool,
    least: usize,
    most: usize,
}

impl Column {
    /// Of words; grows up to `most` for them.
    pub const fn words(most: usize) -> Self {
        Self { to_the_right: false, least: 0, most }
    }

    /// Of numbers; `least` is for those that may come, so that nothing moves when they do.
    pub const fn numbers(least: usize) -> Self {
        Self { to_the_right: true, least, most: usize::MAX }
    }
}

/// Rows under one line of titles. All sections of a table share their columns.
pub struct Section<const N: usize> {
    pub titles: [&'static str; N],
    pub tail_title: &'static str,
    pub rows: Vec<Row<N>>,
}

pub struct Row<const N: usize> {
    pub cells: [(Style, String); N],
    pub tail: String,
    pub notes: Vec<Note>,
}

/// Something that stands beneath a row.
pub struct Note {
    pub mark: char,
    pub style: Style,
    pub text: String,
    /// Said behind it, in brackets.
    pub aside: String,
}

/// A table; empty where no section has rows.
pub fn table<const N: usize>(columns: [Column; N], sections: &[Section<N>], width: usize) -> String {
    let mut widths = columns.map(|column| column.least);
    for section in sections.iter().filter(|section| !section.rows.is_empty()) {
        for (i, column) in columns.iter().enumerate() {
            let cells = section.rows.iter().map(|row| display_width(&row.cells[i].1));
            let widest = cells.filter(|cell| *cell <= column.most).max().unwrap_or(0);
            widths[i] = widths[i].max(widest).max(display_width(section.titles[i]));
        }
    }
    let grid = Grid { columns, widths, width };
    let sections = sections.iter().filter(|section| !section.rows.is_empty()).map(|section| {
        let titles = section.titles.map(|title| (DETAIL, title.to_owned()));
        let title = grid.row(&titles, DETAIL, section.tail_title);
        let rows = section.rows.iter().map(|row| {
            let notes: String = row.notes.iter().map(|note| note.lines(width)).collect();
            grid.row(&row.cells, Style::new(), &row.tail) + &notes
        });
        title + &rows.collect::<String>()
    });
    sections.collect::<Vec<_>>().join("\n")
}

struct Grid<const N: usize> {
    columns: [Column; N],
    widths: [usize; N],
    width: usize,
}

impl<const N: usize> Grid<N> {
    fn row(&self, cells: &[(Style, String); N], tail_style: Style, tail: &str) -> String {
        let mut line = Line::default();
        let mut start = 0;
        for (i, (style, text)) in cells.iter().enumerate() {
            let spare = self.widths[i].saturating_sub(display_width(text));
            line.put(if self.columns[i].to_the_right { start + spare } else { start }, *style, text);
            start += self.widths[i] + GAP;
        }
        if start + display_width(tail) <= self.width {
            line.put(start, tail_style, tail);
            return line.text + "\n";
        }
        line.text + "\n" + &paragraph(tail, INDENT, INDENT, tail_style, self.width)
    }
}

/// A line that is written from left to right.
#[derive(Default)]
struct Line {
    text: String,
    /// How far it has come on the screen.
    end: usize,
}

impl Line {
    /// Puts `text` at column `start`; on a new line if this one has come too far for that.
    fn put(&mut self, start: usize, style: Style, text: &str) {
        if text.is_empty() {
            return;
        }
        if self.end > 0 && self.end + GAP > start {
            self.text.push('\n');
            self.end = 0;
        }
        self.text += &" ".repeat(start - self.end);
        self.text += &paint(style, text);
        self.end = start + display_width(text);
    }
}

impl Note {
    pub fn lines(&self, width: usize) -> String {
        let (first, other) = (format!("  {} ", paint(self.style, self.mark)), "    ");
        let mut text = paragraph(&self.text, &first, other, self.style, width);
        if !self.aside.is_empty() {
            let last = text.lines().last().map_or(0, display_width);
            let aside = format!("({})", self.aside);
            if last + 1 + display_width(&aside) <= width {
                text.pop();
                text += &format!(" {}\n", paint(DETAIL, aside));
            } else {
                text += &paragraph(&aside, other, other, DETAIL, width);
            }
        }
        text
    }
}

/// Lines of no more than `width`, broken between words and between the parts of addresses and paths.
pub fn paragraph(text: &str, first_indent: &str, indent: &str, style: Style, width: usize) -> String {
    let options = Options::new(width.saturating_sub(display_width(indent)))
        .word_separator(WordSeparator::Custom(words))
        .word_splitter(WordSplitter::NoHyphenation)
        .wrap_algorithm(WrapAlgorithm::FirstFit);
    let lines = textwrap::wrap(text, options).into_iter().enumerate();
    lines.map(|(i, line)| format!("{}{}\n", if i == 0 { first_indent } else { indent }, paint(style, line))).collect()
}

fn words(line: &str) -> Box<dyn Iterator<Item = Word<'_>> + '_> {
    Box::new(line.split_inclusive(' ').flat_map(|word| {
        let mut start = 0;
        let mut ends: Vec<usize> = word.match_indices('/').map(|(i, _)| i).filter(|i| may_break(word, *i)).collect();
        ends.push(word.len());
        ends.into_iter().map(move |end| Word::from(&word[std::mem::replace(&mut start, end)..end]))
    }))
}

/// Whether a line may end before the slash at `i`: in a long word, and not where that would tear apart a part of a
/// multiaddr and its value, or an URL's two slashes.
fn may_break(word: &str, i: usize) -> bool {
    let before = &word[..i];
    word.len() > LONG && i > 0 && !before.ends_with(['/', ':']) && !LABELS.iter().any(|label| before.ends_with(label))
}

#[cfg(test)]
mod tests {
    use super::{super::palette::NAME, *};

    const ID: &str = "12D3KooWGC6TvWhfajpgX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5";

    fn plain(text: &str, width: usize) -> String {
        anstream::adapter::strip_str(&paragraph(text, "  ", "  ", NAME, width)).to_string()
    }

    #[test]
    fn addresses_and_paths_break_between_their_parts() {
        let relayed = format!("/ip6/2001:db8:1234:5678:9abc:def0:1234:5678/tcp/5460/p2p/{ID}/p2p-circuit");
        insta::assert_snapshot!(plain(&relayed, 80), @r"
        /ip6/2001:db8:1234:5678:9abc:def0:1234:5678/tcp/5460
        /p2p/12D3KooWGC6TvWhfajpgX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5/p2p-circuit
        ");
        insta::assert_snapshot!(plain("see http://127.0.0.1/a/very/long/path/to/nowhere but /x/ssh", 26), @r"
        see http://127.0.0.1/a
        /very/long/path/to
        /nowhere but /x/ssh
        ");
        for line in plain(&"x".repeat(200), 80).lines() {
            assert!(line.len() <= 80, "where there is nowhere to break, it breaks anywhere");
        }
    }

    #[test]
    fn a_cell_that_is_too_long_ends_its_line_and_the_next_keeps_its_place() {
        let row = |name: &str, tail: &str| Row {
            cells: [name, "up", "7"].map(|text| (Style::new(), text.to_owned())),
            tail: tail.into(),
            notes: vec![Note { mark: '!', style: NAME, text: "a note".into(), aside: "an aside".into() }],
        };
        let rows = vec![row("short", "tail"), row("much-too-long", "tail"), row("both", "a tail that is too long")];
        let columns = [Column::words(8), Column::words(9), Column::numbers(4)];
        let section = Section { titles: ["NAME", "STATE", "N"], tail_title: "TAIL", rows };
        let text = anstream::adapter::strip_str(&table(columns, &[section], 30)).to_string();
        insta::assert_snapshot!(text, @r"
        NAME   STATE     N  TAIL
        short  up        7  tail
          ! a note (an aside)
        much-too-long
               up        7  tail
          ! a note (an aside)
        both   up        7
          a tail that is too long
          ! a note (an aside)
        ");
    }

    #[test]
    fn a_note_takes_its_aside_along_where_there_is_room() {
        let note = Note { mark: '!', style: NAME, text: "word ".repeat(5).trim().into(), aside: "2m ago".into() };
        assert_eq!(
            anstream::adapter::strip_str(&note.lines(80)).to_string(),
            "  ! word word word word word (2m ago)\n"
        );
        assert_eq!(
            anstream::adapter::strip_str(&note.lines(30)).to_string(),
            "  ! word word word word word\n    (2m ago)\n"
        );
    }
}
