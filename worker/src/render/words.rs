//! Numbers and times in words.

use std::time::Duration;

use jiff::Timestamp;

/// `1234567` as `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 record`, `2 records`.
pub(crate) fn counted(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", count(number))
}

/// `32 %`: never a hundred before all is done.
pub(crate) fn percent(done: u64, all: u64) -> String {
    let percent = u128::from(done) * 100 / u128::from(all.max(1));
    format!("{percent} %")
}

/// A number of bytes, as people say it: in steps of 1000.
pub(crate) fn size(bytes: u64) -> String {
    let mut size = bytes as f64;
    let mut unit = "bytes";
    for larger in ["kB", "MB", "GB", "TB", "PB"] {
        if size < 999.5 {
            break;
        }
        size /= 1000.0;
        unit = larger;
    }
    if unit == "bytes" || size >= 9.95 {
        format!("{size:.0} {unit}")
    } else {
        format!("{size:.1} {unit}")
    }
}

/// A length of time by its two largest units: `2h 3m`, `4.2s`, `350ms`.
pub(crate) fn span(length: Duration) -> String {
    match (length.as_secs(), length.subsec_millis() / 100) {
        (0, _) => return format!("{}ms", length.as_millis()),
        (whole @ 1..10, tenths @ 1..) => return format!("{whole}.{tenths}s"),
        _ => {}
    }
    let mut rest = length.as_secs();
    let mut parts = Vec::new();
    for (name, seconds) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
        let whole = rest / seconds;
        rest %= seconds;
        if whole > 0 {
            parts.push(format!("{whole}{name}"));
        } else if !parts.is_empty() {
            break;
        }
    }
    parts.truncate(2);
    parts.join(" ")
}

/// Seconds, as [`span`].
pub(crate) fn seconds(length: u64) -> String {
    span(Duration::from_secs(length))
}

/// A Retention Period in seconds, where 0 is for ever.
pub(crate) fn retention(length: u64) -> String {
    if length == 0 {
        "for ever".to_owned()
    } else {
        seconds(length)
    }
}

/// A point in time, to the second, in UTC.
pub(crate) fn exact_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// The time from `from` to `to`; zero when `to` is earlier.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// A point in time with its distance from now: `2026-01-01 00:00:00 UTC (in 2h 3m)`.
pub(crate) fn time(at: Timestamp, now: Timestamp) -> String {
    let distance = if at > now {
        format!("in {}", span(between(now, at)))
    } else {
        format!("{} ago", span(between(at, now)))
    };
    format!("{} ({distance})", exact_time(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_read_well() {
        assert_eq!(
            [count(0), count(999), count(1_000), count(1_234_567)],
            ["0", "999", "1,000", "1,234,567"]
        );
        for (millis, text) in [
            (0, "0ms"),
            (350, "350ms"),
            (4_000, "4s"),
            (4_299, "4.2s"),
            (10_900, "10s"),
            (60_000, "1m"),
            (3_723_000, "1h 2m"),
            (86_400_000, "1d"),
            (86_405_000, "1d"),
            (90_000_000, "1d 1h"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
        let at: Timestamp = "2026-01-01T10:00:00Z".parse().expect("a time");
        assert_eq!(
            time(at, at + Duration::from_secs(61)),
            "2026-01-01 10:00:00 UTC (1m 1s ago)"
        );
        assert_eq!(time(at, at - Duration::from_secs(5)), "2026-01-01 10:00:00 UTC (in 5s)");
        assert_eq!(between(at, at - Duration::from_secs(5)), Duration::ZERO);
    }
}
