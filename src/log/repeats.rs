//! What happens again and again: told at once, and then counted.

use std::time::Duration;

use tokio::time::Instant;

/// The pause after a first line.
const FIRST_PAUSE: Duration = Duration::from_secs(30);

/// What pauses grow to.
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);

/// Says which of many events are worth a line, and counts the others. Each line stands for [`Told::times`] events, and
/// all lines together for every event, unless its owner says that it is [settled](Repeats::settle).
///
/// Events are told apart by their kind, up to a number of kinds; what is more is told together. So neither the memory nor
/// the number of lines depends on how many kinds there are, even if a stranger can make new ones for nothing. `V` is
/// what a line says besides: that of the latest event.
///
/// It has no clock and does no I/O: its owner calls [`Repeats::due`] at [`Repeats::next_due`].
pub struct Repeats<K, V = ()> {
    /// One for each kind.
    slots: Vec<Slot<K, V>>,
    /// For all kinds that have found no slot.
    crowd: Option<Slot<K, V>>,
    limits: Limits,
}

/// How much is told.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Kinds that are told apart.
    pub kinds: usize,
    /// Lines of one kind before the first pause.
    pub burst: u32,
}

struct Slot<K, V> {
    kind: K,
    detail: V,
    /// Lines since the pause began.
    lines: u32,
    held_back: u64,
    pause: Duration,
    /// When the pause ends.
    next: Instant,
}

/// A line that is to be written.
#[derive(Debug, PartialEq)]
pub struct Told<K, V = ()> {
    pub kind: K,
    pub detail: V,
    /// How many events this line stands for.
    pub times: u64,
    /// Whether these were of several kinds; `kind` is that of the latest.
    pub mixed: bool,
}

impl<K, V> Told<K, V> {
    /// [`Told::times`] as a field, which is left out where the line stands for one event.
    pub fn repeated(&self) -> Option<u64> {
        (self.times > 1).then_some(self.times)
    }
}

impl<K: Clone + PartialEq, V: Clone> Repeats<K, V> {
    pub const fn new(limits: Limits) -> Self {
        Self { slots: Vec::new(), crowd: None, limits }
    }

    /// An event: returns the line to write about it, if it is worth one now.
    pub fn seen(&mut self, kind: K, detail: V, now: Instant) -> Option<Told<K, V>> {
        let burst = self.limits.burst;
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.kind == kind) {
            return slot.seen(kind, detail, burst, now, false);
        }
        if self.slots.len() < self.limits.kinds {
            self.slots.push(Slot::new(kind, detail, now));
            return self.slots.last_mut().map(|slot| slot.tell(1, false));
        }
        // A slot keeps its grown pause when another kind takes it: new kinds must not buy new lines.
        let at_rest = self.slots.iter_mut().filter(|slot| slot.held_back == 0 && slot.next <= now);
        if let Some(slot) = at_rest.min_by_key(|slot| slot.next) {
            return slot.seen(kind, detail, burst, now, false);
        }
        match &mut self.crowd {
            Some(crowd) => crowd.seen(kind, detail, burst, now, true),
            None => Some(self.crowd.insert(Slot::new(kind, detail, now)).tell(1, true)),
        }
    }

    /// When [`Repeats::due`] has something to tell next.
    pub fn next_due(&self) -> Option<Instant> {
        self.slots.iter().chain(&self.crowd).filter(|slot| slot.held_back > 0).map(|slot| slot.next).min()
    }

    /// The lines about what was held back and whose pause has ended.
    pub fn due(&mut self, now: Instant) -> Vec<Told<K, V>> {
        self.flush(|slot| slot.next <= now, now)
    }

    /// These kinds are settled: what was held back of them is no longer worth a line.
    pub fn settle(&mut self, is_settled: impl Fn(&K) -> bool) {
        for slot in self.slots.iter_mut().filter(|slot| is_settled(&slot.kind)) {
            slot.held_back = 0;
        }
    }

    /// The lines about all that was held back, because there will be no later.
    pub fn rest(&mut self, now: Instant) -> Vec<Told<K, V>> {
        self.flush(|_| true, now)
    }

    fn flush(&mut self, is_due: impl Fn(&Slot<K, V>) -> bool, now: Instant) -> Vec<Told<K, V>> {
        let burst = self.limits.burst;
        let slots = self.slots.iter_mut().map(|slot| (slot, false));
        let all = slots.chain(self.crowd.iter_mut().map(|slot| (slot, true)));
        let due = all.filter(|(slot, _)| slot.held_back > 0 && is_due(slot));
        due.map(|(slot, mixed)| {
            let times = std::mem::take(&mut slot.held_back);
            slot.begin_pause(now);
            // A burst is for what comes after a quiet time.
            slot.lines = burst;
            slot.tell(times, mixed)
        })
        .collect()
    }
}

impl<K: Clone, V: Clone> Slot<K, V> {
    fn new(kind: K, detail: V, now: Instant) -> Self {
        Self { kind, detail, lines: 1, held_back: 0, pause: FIRST_PAUSE, next: now + FIRST_PAUSE }
    }

    fn seen(&mut self, kind: K, detail: V, burst: u32, now: Instant, mixed: bool) -> Option<Told<K, V>> {
        (self.kind, self.detail) = (kind, detail);
        if self.next <= now {
            let times = std::mem::take(&mut self.held_back) + 1;
            self.begin_pause(now);
            self.lines = if times > 1 { burst } else { 1 };
            return Some(self.tell(times, mixed));
        }
        if self.lines < burst {
            self.lines += 1;
            return Some(self.tell(1, mixed));
        }
        self.held_back += 1;
        None
    }

    /// A line is written now, and the next one later than the last time, unless it has been quiet for long.
    fn begin_pause(&mut self, now: Instant) {
        self.pause = match self.next + self.pause <= now {
            true => FIRST_PAUSE,
            false => (self.pause * 2).min(LONGEST_PAUSE),
        };
        self.next = now + self.pause;
    }

    fn tell(&self, times: u64, mixed: bool) -> Told<K, V> {
        Told { kind: self.kind.clone(), detail: self.detail.clone(), times, mixed }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep_until};

    use super::*;

    const ONE: Limits = Limits { kinds: 4, burst: 1 };

    fn told(kind: u32, times: u64) -> Told<u32> {
        Told { kind, detail: (), times, mixed: false }
    }

    /// Runs the clock for `time`, with one event of each of `kinds` a second, and returns the lines and when they came.
    async fn run(repeats: &mut Repeats<u32>, kinds: &[u32], time: Duration) -> Vec<(u64, Told<u32>)> {
        let begun = Instant::now();
        let mut lines = Vec::new();
        while begun.elapsed() < time {
            let (now, seconds) = (Instant::now(), begun.elapsed().as_secs());
            lines.extend(repeats.due(now).into_iter().map(|line| (seconds, line)));
            lines.extend(kinds.iter().filter_map(|kind| Some((seconds, repeats.seen(*kind, (), now)?))));
            advance(Duration::from_secs(1)).await;
        }
        lines
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_told_at_once_then_ever_more_seldom_with_its_number() {
        let mut repeats = Repeats::new(ONE);
        let lines = run(&mut repeats, &[7; 1000], Duration::from_secs(3600)).await;
        let seconds: Vec<_> = lines.iter().map(|(second, _)| *second).collect();
        assert_eq!(seconds, [0, 30, 90, 210, 450, 930, 1830, 2730]);
        assert_eq!(lines[0].1, told(7, 1));
        assert_eq!(lines[1].1, told(7, 29_999));
        let counted: u64 = lines.iter().map(|(_, line)| line.times).sum();
        let rest: u64 = repeats.rest(Instant::now()).iter().map(|line| line.times).sum();
        assert_eq!(counted + rest, 3_600_000);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_held_back_is_told_when_the_pause_ends_although_nothing_more_happens() {
        let mut repeats = Repeats::new(ONE);
        for _ in 0..1000 {
            repeats.seen(7, (), Instant::now());
        }
        let due = repeats.next_due().unwrap();
        assert_eq!(due, Instant::now() + FIRST_PAUSE);
        assert_eq!(repeats.due(Instant::now()), []);
        sleep_until(due).await;
        assert_eq!(repeats.due(Instant::now()), [told(7, 999)]);
        assert_eq!(repeats.next_due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn two_kinds_that_take_turns_are_counted_apart_and_do_not_flood() {
        let mut repeats = Repeats::new(ONE);
        let lines = run(&mut repeats, &[1, 2], Duration::from_secs(40)).await;
        assert_eq!(lines, [(0, told(1, 1)), (0, told(2, 1)), (30, told(1, 29)), (30, told(2, 29))]);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_long_quiet_it_is_news_again() {
        let mut repeats = Repeats::new(ONE);
        run(&mut repeats, &[1], Duration::from_secs(3600)).await;
        repeats.rest(Instant::now());
        advance(2 * LONGEST_PAUSE).await;
        let lines = run(&mut repeats, &[1], Duration::from_secs(31)).await;
        assert_eq!(lines, [(0, told(1, 1)), (30, told(1, 29))]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_told_line_by_line() {
        let mut repeats = Repeats::new(Limits { kinds: 4, burst: 3 });
        let lines = run(&mut repeats, &[1], Duration::from_secs(31)).await;
        assert_eq!(lines, [(0, told(1, 1)), (1, told(1, 1)), (2, told(1, 1)), (30, told(1, 27))]);
    }

    #[tokio::test(start_paused = true)]
    async fn new_kinds_for_nothing_buy_neither_memory_nor_lines() {
        let mut repeats = Repeats::new(ONE);
        let (mut kind, mut lines) = (0_u32, Vec::new());
        for _ in 0..86_400 {
            let now = Instant::now();
            lines.extend(repeats.due(now));
            for _ in 0..3 {
                kind += 1;
                lines.extend(repeats.seen(kind, (), now));
            }
            advance(Duration::from_secs(1)).await;
        }
        assert_eq!(repeats.slots.len(), ONE.kinds);
        // A day has 96 of the longest pauses.
        assert!(lines.len() < (ONE.kinds + 1) * (96 + 8), "{}", lines.len());
        lines.extend(repeats.rest(Instant::now()));
        assert_eq!(lines.iter().map(|line| line.times).sum::<u64>(), u64::from(kind));
        assert!(lines.iter().any(|line| line.mixed && line.times > 1000));
    }

    #[test]
    fn a_line_says_the_latest_detail() {
        let (mut repeats, now) = (Repeats::new(ONE), Instant::now());
        assert_eq!(repeats.seen(1, "first", now).unwrap().detail, "first");
        assert_eq!(repeats.seen(1, "second", now), None);
        assert_eq!(repeats.due(now + FIRST_PAUSE)[0].detail, "second");
    }
}
