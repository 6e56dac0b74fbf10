//! Counts, sizes and times as a person reads them.

use std::time::Duration;

use crate::status::Time;

/// `1 stream`, `2 streams`.
pub fn count(number: u64, what: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {what}{s}")
}

/// A size in three digits, so that columns of it keep their width: `0 B`, `1.18 MiB`, `920 GiB`.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let mut value = number as f64 / 1024.0;
    let mut unit = 0;
    // 1023.5 would be written as 1024.
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{value:.decimals$} {}", UNITS[unit])
}

pub fn milliseconds(number: f64) -> String {
    if number < 99.95 { format!("{number:.1} ms") } else { format!("{number:.0} ms") }
}

/// How long something has taken, to its largest unit or two digits of it.
pub fn age(since: Time, now: Time) -> String {
    elapsed(since.until(now).unwrap_or_default().as_secs())
}

pub fn ago(at: Time, now: Time) -> String {
    match at.until(now) {
        Some(passed) if passed >= Duration::from_secs(1) => format!("{} ago", elapsed(passed.as_secs())),
        // Times are told in whole seconds, and clocks get set.
        _ => "just now".into(),
    }
}

/// When the next attempt is.
pub fn next_attempt(at: Time, now: Time) -> String {
    match now.until(at) {
        Some(left) if !left.is_zero() => {
            let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
            format!("next attempt in {}", elapsed(seconds))
        }
        _ => "trying now".into(),
    }
}

fn elapsed(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match seconds {
        ..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / MINUTE),
        7200..172_800 => format!("{}h", seconds / HOUR),
        _ => format!("{}d", seconds / DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits_from_nothing_to_the_largest() {
        let shown = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (10 * 1024 - 1, "10.0 KiB"),
            (1_234_567, "1.18 MiB"),
            (102_399, "100 KiB"),
            (1_048_575, "1.00 MiB"),
            (987_654_321_000, "920 GiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (number, text) in shown {
            assert_eq!(bytes(number), text);
            assert!(text.len() <= 8);
        }
        // Nothing is wider.
        for shift in 0..64 {
            for number in [(1_u64 << shift) - 1, 1 << shift, (1 << shift) / 10 * 9, (1 << shift) / 1000 * 999] {
                assert!(bytes(number).len() <= 8, "{}", bytes(number));
            }
        }
    }

    #[test]
    fn times_are_told_as_people_do() {
        let now: Time = "2026-11-20T10:00:00Z".parse().unwrap();
        let earlier = |seconds| -> Time {
            let text = humantime::format_rfc3339(
                humantime::parse_rfc3339("2026-11-20T10:00:00Z").unwrap() - Duration::from_secs(seconds),
            );
            text.to_string().parse().unwrap()
        };
        for (seconds, text) in [
            (0, "just now"),
            (1, "1s ago"),
            (119, "119s ago"),
            (120, "2m ago"),
            (7200, "2h ago"),
            (90_000_000, "1041d ago"),
        ] {
            assert_eq!(ago(earlier(seconds), now), text);
        }
        assert_eq!(ago(now + Duration::from_secs(5), now), "just now", "a clock was set");
        assert_eq!(age(now, now), "0s");
        assert_eq!(next_attempt(now + Duration::from_millis(11_200), now), "next attempt in 12s");
        assert_eq!(next_attempt(now, now), "trying now");
        assert_eq!(next_attempt(earlier(3), now), "trying now");
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!((count(1, "stream"), count(0, "stream")), ("1 stream".into(), "0 streams".into()));
    }
}
