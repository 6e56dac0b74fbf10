//! How much the far end may send on a stream: as much as its reader takes in some round-trip times, so that the sender
//! never waits for a permission that is on its way, and no more, so that what lies about unread stays small.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::budget::{Budget, Lease};

/// The window of every new stream. The specification fixes it, so that neither end has to ask.
pub const INITIAL: u32 = 256 * 1024;

/// The window that a stream may grow to: a bandwidth of 1.3 Gbit/s for two round-trip times of 50 ms.
pub const MAX: u32 = 16 << 20;

/// Round-trip times for which a window lasts. Two are enough where every byte arrives at once. Where some are lost, those
/// behind them wait for a round trip or two more, and a window for two never grows: over 40 ms with 1 % of loss and BBR,
/// one stream got 35 Mbit/s of 220 with two, and 200 with four.
const ROUND_TRIPS: u64 = 4;

/// Windows grow by whole frames.
const STEP: u64 = super::chunk::MAX as u64;

/// What a window leaves of the budget to others is at least this many times what it has grown by. What a stream has been
/// granted can't be taken back when it falls idle, and those that come later shall find something, too.
const LEFT_TO_OTHERS: usize = 2;

/// The far end has sent more than it may.
#[derive(Debug, PartialEq)]
pub struct Exceeded;

/// What the far end may send on one stream.
#[derive(Debug)]
pub struct Window {
    /// What may be on its way or unread, once the far end has been told.
    size: u32,
    /// What the far end may still send.
    left: u32,
    /// What it has sent and nobody has read.
    unread: u32,
    /// What `size` has beyond [`INITIAL`].
    growth: Lease,
    /// Since when `read` bytes have been read.
    measuring_since: Option<Instant>,
    read: u64,
}

impl Window {
    pub fn new(budget: Arc<Budget>) -> Self {
        let growth = Lease::nothing_of(budget);
        Self { size: INITIAL, left: INITIAL, unread: 0, growth, measuring_since: None, read: 0 }
    }

    /// Counts bytes that the far end has sent.
    pub fn receive(&mut self, bytes: u32) -> Result<(), Exceeded> {
        self.left = self.left.checked_sub(bytes).ok_or(Exceeded)?;
        self.unread += bytes;
        Ok(())
    }

    /// Counts bytes that the reader has taken, and says whether the far end is to be told.
    pub fn consume(&mut self, bytes: u32) -> bool {
        self.unread -= bytes;
        self.read += u64::from(bytes);
        // Half a window at a time: few frames, and the sender is busy with the other half meanwhile.
        self.missing() >= self.size / 2
    }

    /// What the far end is to be told that it may send in addition. First grows or shrinks the window by what has been
    /// read in each round-trip time of late.
    pub fn credit(&mut self, now: Instant, round_trip: Option<Duration>) -> u32 {
        match (self.measuring_since, round_trip) {
            (Some(since), Some(round_trip)) if now.duration_since(since) >= round_trip => {
                let elapsed = now.duration_since(since).as_nanos().max(1);
                let in_a_round_trip = u128::from(self.read) * round_trip.as_nanos() / elapsed;
                self.fit(u64::try_from(in_a_round_trip).unwrap_or(u64::MAX));
                (self.measuring_since, self.read) = (Some(now), 0);
            }
            (Some(_), _) => {}
            (None, _) => (self.measuring_since, self.read) = (Some(now), 0),
        }
        let credit = self.missing();
        self.left += credit;
        credit
    }

    /// What the far end lacks; nothing while it has more than a window that has shrunk.
    fn missing(&self) -> u32 {
        self.size.saturating_sub(self.left + self.unread)
    }

    /// How much further it may grow, in whole frames.
    fn most_more(&self) -> u32 {
        let growth = (self.growth.left() + self.growth.bytes()) / (1 + LEFT_TO_OTHERS);
        let more = growth.saturating_sub(self.growth.bytes()) as u64 / STEP * STEP;
        u32::try_from(more).unwrap_or(u32::MAX)
    }

    fn fit(&mut self, in_a_round_trip: u64) {
        let wanted =
            in_a_round_trip.saturating_mul(ROUND_TRIPS).next_multiple_of(STEP).clamp(INITIAL.into(), MAX.into()) as u32;
        if wanted > self.size {
            // As fast as TCP's own window grows.
            let more = (wanted - self.size).min(self.size).min(self.most_more());
            if self.growth.grow(more as usize) {
                self.size += more;
            }
        } else if wanted <= self.size / 4 {
            // By half: a reader that has paused does not start from the beginning.
            let less = self.size / 2;
            self.size -= less;
            self.growth.shrink(less as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(40);

    /// Reads as fast as the window allows, for `rounds` round trips.
    fn stream_at_full_speed(window: &mut Window, now: &mut Instant, rounds: usize) {
        for _ in 0..rounds {
            let bytes = window.left;
            window.receive(bytes).unwrap();
            if window.consume(bytes) {
                window.credit(*now, Some(ROUND_TRIP));
            }
            *now += ROUND_TRIP;
        }
    }

    #[test]
    fn a_reader_that_takes_all_it_gets_gets_more_until_the_largest_window() {
        let budget = Budget::new(1 << 30);
        let (mut window, mut now) = (Window::new(budget.clone()), Instant::now());
        stream_at_full_speed(&mut window, &mut now, 4);
        assert!(window.size >= 4 * INITIAL, "{window:?}");
        stream_at_full_speed(&mut window, &mut now, 10);
        assert_eq!((window.size, budget.left()), (MAX, (1 << 30) - (MAX - INITIAL) as usize));
        drop(window);
        assert_eq!(budget.left(), 1 << 30);
    }

    #[test]
    fn a_window_grows_also_where_what_was_lost_holds_up_the_rest_for_two_round_trips() {
        let (mut window, mut now) = (Window::new(Budget::new(1 << 30)), Instant::now());
        for _ in 0..20 {
            now += 2 * ROUND_TRIP;
            stream_at_full_speed(&mut window, &mut now, 1);
        }
        assert_eq!(window.size, MAX);
    }

    #[test]
    fn a_window_stays_small_where_the_round_trip_is_short() {
        let (mut window, mut now) = (Window::new(Budget::new(1 << 30)), Instant::now());
        for _ in 0..1_000 {
            window.receive(128 * 1024).unwrap();
            assert!(window.consume(128 * 1024));
            // 10 Gbit/s at 50 µs are 64 KiB.
            now += Duration::from_micros(105);
            assert_eq!(window.credit(now, Some(Duration::from_micros(50))), 128 * 1024);
        }
        assert_eq!(window.size, INITIAL);
    }

    #[test]
    fn a_window_grows_no_further_than_the_budget() {
        let budget = Budget::new(3 * INITIAL as usize);
        let (mut window, mut now) = (Window::new(budget.clone()), Instant::now());
        stream_at_full_speed(&mut window, &mut now, 20);
        assert_eq!((window.size, budget.left()), (2 * INITIAL, 2 * INITIAL as usize));
    }

    #[test]
    fn windows_that_have_grown_and_fallen_idle_leave_something_to_those_that_come_later() {
        let (budget, mut now) = (Budget::new(8 * MAX as usize), Instant::now());
        let mut idle = Vec::new();
        for nth in 0..12 {
            let mut window = Window::new(budget.clone());
            stream_at_full_speed(&mut window, &mut now, 20);
            assert!(window.size >= 4 * INITIAL, "{nth}: {window:?}");
            idle.push(window);
        }
    }

    #[test]
    fn a_window_that_is_not_needed_any_more_is_given_back() {
        let budget = Budget::new(1 << 30);
        let (mut window, mut now) = (Window::new(budget.clone()), Instant::now());
        stream_at_full_speed(&mut window, &mut now, 20);
        // 100 KiB each second.
        for _ in 0..1_000 {
            window.receive(100 * 1024).unwrap();
            if window.consume(100 * 1024) {
                window.credit(now, Some(ROUND_TRIP));
            }
            now += Duration::from_secs(1);
        }
        assert_eq!((window.size, budget.left()), (2 * INITIAL, (1 << 30) - INITIAL as usize));
        assert!(window.left <= 2 * INITIAL);
    }

    #[test]
    fn more_than_the_window_is_not_taken() {
        let mut window = Window::new(Budget::new(0));
        window.receive(INITIAL).unwrap();
        assert_eq!(window.receive(1), Err(Exceeded));
        assert!(!window.consume(INITIAL / 2 - 1), "less than half is not worth a frame");
        assert!(window.consume(1));
        assert_eq!(window.credit(Instant::now(), None), INITIAL / 2);
        window.receive(INITIAL / 2).unwrap();
        assert_eq!(window.receive(1), Err(Exceeded));
    }
}
