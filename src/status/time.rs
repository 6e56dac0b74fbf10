//! When something happened, or is due.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::time::Instant;

use super::as_text;

/// A time as people read it: RFC 3339, UTC, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(SystemTime);

impl Time {
    pub fn now() -> Self {
        // A clock that was never set can stand before what can be written down.
        Self(SystemTime::now().max(SystemTime::UNIX_EPOCH))
    }

    /// How long before `later` this was; `None` if it was not before.
    pub fn until(self, later: Self) -> Option<Duration> {
        later.0.duration_since(self.0).ok()
    }
}

impl std::ops::Add<Duration> for Time {
    type Output = Self;

    /// Stays where it is at the end of all times.
    fn add(self, pause: Duration) -> Self {
        Self(self.0.checked_add(pause).unwrap_or(self.0))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds(self.0).fmt(f)
    }
}

impl FromStr for Time {
    type Err = humantime::TimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_rfc3339_weak(text).map(Self)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        as_text::serialize(self, to)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        as_text::deserialize(from)
    }
}

/// When something is to be tried again: by the clock that timers follow, and by the one that people read. Both are fixed
/// when it is planned, so that it looks the same until it is planned anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    pub at: Instant,
    pub time: Time,
}

impl Due {
    pub fn after(pause: Duration) -> Self {
        Self::at(Instant::now() + pause, Instant::now())
    }

    /// What is due at `at`, where it is `now`.
    pub fn at(at: Instant, now: Instant) -> Self {
        Self { at, time: Time::now() + at.saturating_duration_since(now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_back_as_it_was_written() {
        let time: Time = "2026-11-20T10:00:00Z".parse().unwrap();
        assert_eq!(time.to_string(), "2026-11-20T10:00:00Z");
        assert_eq!(serde_json::from_value::<Time>(serde_json::to_value(time).unwrap()).unwrap(), time);
        serde_json::from_str::<Time>("\"yesterday\"").unwrap_err();
        let later = time + Duration::from_secs(90);
        assert_eq!(time.until(later), Some(Duration::from_secs(90)));
        assert_eq!(later.until(time), None);
    }
}
