//! Durations as Go writes them.

use std::time::Duration;

/// Reads `1m30s`, `10s`, `1.5h`, `0` as Go's `time.ParseDuration` does; `None` for anything else and for negatives.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let text = text.strip_prefix('+').unwrap_or(text);
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() || total == Duration::ZERO && rest.len() == text.len() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .filter(|n| *n > 0)?;
        let (number, after) = rest.split_at(digits);
        let unit_end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let part = number
            .parse::<f64>()
            .ok()
            .and_then(|n| Duration::try_from_secs_f64(n * seconds).ok())?;
        total = total.checked_add(part)?;
        rest = next;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        let seconds = |s| parse(s).map(|d| d.as_secs_f64());
        assert_eq!(seconds("10s"), Some(10.0));
        assert_eq!(seconds("1m30s"), Some(90.0));
        assert_eq!(seconds("1.5h"), Some(5400.0));
        assert_eq!(seconds("500ms"), Some(0.5));
        assert_eq!(seconds("0"), Some(0.0));
        assert_eq!(seconds("0s"), Some(0.0));
        for bad in ["", "10", "s", "-5s", "10 s", "1d", "ten", "1..2s", "5s,"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
