//! A page of the manual, written down piece by piece.
//!
//! Text is plain, but for `` `this` ``, which is to be typed or stands in a file as it is, and `*this*`, which stands for
//! something else. It is ASCII, so that a page looks the same in every locale.

use roff::{Inline, Roff, bold, italic, roman};

pub(super) struct Page {
    roff: Roff,
    /// Whether a heading is the last thing so far, which makes a paragraph by itself.
    after_heading: bool,
}

impl Page {
    /// `about`: what whatis(1) prints.
    pub(super) fn new(name: &str, section: &str, about: &str) -> Self {
        let mut roff = Roff::new();
        let source = concat!("p2ptun ", env!("CARGO_PKG_VERSION"));
        let manual = "p2ptun manual";
        roff.control("TH", [name, section, super::DATE, source, manual]);
        // Ragged, unhyphenated text: names and paths stay whole.
        roff.control("nh", []).control("ad", ["l"]);
        let mut page = Self { roff, after_heading: false };
        page.section("NAME");
        page.paragraph(&format!("{name} - {about}"));
        page
    }

    pub(super) fn render(&self) -> String {
        self.roff.render()
    }

    pub(super) fn section(&mut self, title: &str) {
        self.roff.control("SH", [title]);
        self.after_heading = true;
    }

    pub(super) fn subsection(&mut self, title: &str) {
        self.roff.control("SS", [title]);
        self.after_heading = true;
    }

    pub(super) fn paragraph(&mut self, text: &str) {
        self.begin("PP");
        self.text(text);
    }

    pub(super) fn paragraphs(&mut self, texts: &[&str]) {
        for text in texts {
            self.paragraph(text);
        }
    }

    /// What is told of `tag`, indented below it.
    pub(super) fn item(&mut self, tag: &str, text: &str) {
        self.roff.control("TP", []).text(inlines(tag));
        self.after_heading = false;
        self.text(text);
    }

    /// One more paragraph of the last item.
    pub(super) fn more(&mut self, text: &str) {
        self.roff.control("IP", []);
        self.text(text);
    }

    /// One more line of the last paragraph.
    pub(super) fn line(&mut self, text: &str) {
        self.roff.control("br", []);
        self.text(text);
    }

    /// Lines that stand as they are.
    pub(super) fn block(&mut self, lines: &str) {
        self.begin("PP");
        self.roff.control("RS", ["4"]);
        self.lines(lines);
        self.roff.control("RE", []);
    }

    fn lines(&mut self, lines: &str) {
        self.roff.control("nf", []);
        for line in lines.lines() {
            // An empty line is a paragraph's end to some readers.
            if line.is_empty() {
                self.roff.control("sp", [])
            } else {
                self.roff.text([roman(line)])
            };
        }
        self.roff.control("fi", []);
    }

    fn begin(&mut self, paragraph: &str) {
        if !self.after_heading {
            self.roff.control(paragraph, []);
        }
        self.after_heading = false;
    }

    /// One line of source for each sentence, so that a change shows as what it is.
    fn text(&mut self, text: &str) {
        let mut rest = text;
        while let Some(end) = rest.find(". ") {
            let (sentence, next) = rest.split_at(end + 1);
            self.roff.text(inlines(sentence));
            rest = next.trim_start();
        }
        self.roff.text(inlines(rest));
    }
}

/// `text` in the fonts that its marks ask for.
fn inlines(text: &str) -> Vec<Inline> {
    let mut inlines = Vec::new();
    for (number, part) in text.split('`').enumerate() {
        if number % 2 == 1 {
            inlines.push(bold(part));
            continue;
        }
        inlines.extend(part.split('*').enumerate().map(|(number, part)| match number % 2 {
            0 => roman(part),
            _ => italic(part),
        }));
    }
    inlines.retain(|inline| !matches!(inline, Inline::Roman(text) | Inline::Bold(text) if text.is_empty()));
    inlines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_choose_fonts_and_nothing_in_a_text_is_taken_for_a_request() {
        let mut page = Page::new("x", "1", "y");
        page.paragraph(".so `drain_timeout` of *FILE* isn't -c");
        let rendered = page.render();
        let last = rendered.lines().last().unwrap();
        assert_eq!(last, r"\&.so \fBdrain_timeout\fR of \fIFILE\fR isn\*(Aqt \-c");
    }
}
