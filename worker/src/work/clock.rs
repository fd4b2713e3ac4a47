//! Clocks: what counts as written before or after dual writes began is decided by comparing times of several machines.

use crossfade_plan::problem::{Code, Problem};
use jiff::{SignedDuration, Timestamp};

/// The most that two clocks may differ. Answers travel for some milliseconds, and a loaded machine takes a second more.
const TOLERATED: SignedDuration = SignedDuration::from_secs(5);

/// How far `seen` lies outside of the time in which it must have happened, by this machine's clock: how much the other
/// clock differs at least. Negative when the other one is behind.
pub(crate) fn off_by(seen: Timestamp, not_before: Timestamp, not_after: Timestamp) -> SignedDuration {
    if seen < not_before {
        seen.duration_since(not_before)
    } else if seen > not_after {
        seen.duration_since(not_after)
    } else {
        SignedDuration::ZERO
    }
}

/// The problem of a clock that differs by `off`, if that is too much.
pub(crate) fn skewed(off: SignedDuration, whose: &str, from: &str) -> Option<Problem> {
    let amount = off.abs();
    (amount > TOLERATED).then(|| {
        let direction = if off.is_negative() { "behind" } else { "ahead of" };
        Problem::new(
            Code::ClockSkew,
            format!(
                "{whose} is {:.1} s {direction} {from}; at most {} s can be reasoned with",
                amount.as_secs_f64(),
                TOLERATED.as_secs()
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("a time")
    }

    #[test]
    fn only_what_cannot_be_otherwise_is_held_against_a_clock() {
        for (seen, off) in [(100, 0), (105, 0), (110, 0), (90, -10), (117, 7)] {
            assert_eq!(
                off_by(at(seen), at(100), at(110)),
                SignedDuration::from_secs(off),
                "{seen}"
            );
        }
    }

    #[test]
    fn a_skew_is_told_with_its_numbers() {
        assert_eq!(skewed(SignedDuration::from_secs(5), "a", "b"), None);
        let told = skewed(SignedDuration::from_millis(-7_300), "host a's clock", "the server's").expect("too much");
        assert_eq!(told.code, Code::ClockSkew);
        assert_eq!(
            told.message,
            "host a's clock is 7.3 s behind the server's; at most 5 s can be reasoned with"
        );
    }
}
