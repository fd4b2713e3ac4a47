//! The time after promote in which the source stays written, so that going back needs no copy.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    dead_letters::{merge_command, read_command},
    guard::GuardProgress,
    message::Side,
    problem::{Code, Problem},
};

/// How far keeping the source written is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Warm {
    /// Whether a host was ordered to have its roles swapped.
    #[serde(default)]
    pub begun: bool,
    /// When every host had its roles swapped, proven; absent before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When the source is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Whether the operator said `finish`.
    #[serde(default)]
    pub finish: bool,
    /// Whether the time is over: the source is left, and there is no way back.
    #[serde(default)]
    pub over: bool,
}

impl Warm {
    /// Whether there is nothing to tell.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// What the operator is asked, if anything, when the guard found that a store fails for too long or that records were given
    /// up. Who said `finish` has said what is to become of the source.
    pub fn asks(&self, guard: &GuardProgress, frontend: &str) -> Option<Problem> {
        let fails = guard.failing();
        if !guard.lost || (self.finish && fails != Some(Side::Target)) {
            return None;
        }
        let why = guard.why.as_deref().unwrap_or("no reason was given");
        let since = guard.failing_since.map(|since| since.to_string()).unwrap_or_default();
        let letters = guard.dead_letters;
        let (given_up, merge) = match letters {
            0 => (String::new(), String::new()),
            _ => (
                format!("; the server gave up on records already ({letters} dead letters)"),
                format!(
                    ", have done what the server gave up (`{}`; `{}` shows it)",
                    merge_command(frontend),
                    read_command(frontend)
                ),
            ),
        };
        let (code, message, remedy) = match fails {
            Some(Side::Target) => (
                Code::TargetFails,
                format!("the target is the primary of every host, and its writes fail since {since} ({why}){given_up}"),
                format!("`rollback`, which needs no copy; or put the target right{merge}, then `resume`"),
            ),
            Some(Side::Source) => (
                Code::SourceFails,
                format!(
                    "the source, kept written so that `rollback` needs no copy, is not whole: its writes fail since {since} \
                     ({why}){given_up}"
                ),
                format!(
                    "put the source right{merge}, then `resume`: what failed is tried again, and the source counts as whole \
                     when canaries are in both stores and nothing is given up; or leave it now, for good: `finish`"
                ),
            ),
            None => (
                Code::SourceFails,
                format!(
                    "the source, kept written so that `rollback` needs no copy, may not be whole: the server gave up on records \
                     ({letters} dead letters)"
                ),
                format!(
                    "put right what made them fail{merge}, then `resume`; or leave the source now, for good: `finish`"
                ),
            ),
        };
        Some(Problem::new(code, message).remedy(remedy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRONTEND: &str = "f:7233";

    fn failing(fails: Side) -> GuardProgress {
        GuardProgress {
            failing_since: Some(Timestamp::UNIX_EPOCH),
            fails,
            why: Some("it is down".to_owned()),
            kept: true,
            lost: true,
            ..GuardProgress::default()
        }
    }

    fn check_asked(warm: Warm, guard: &GuardProgress, code: Code, parts: &[&str]) {
        let problem = warm.asks(guard, FRONTEND).expect("asked");
        assert_eq!(problem.code, code);
        for part in parts {
            assert!(problem.to_string().contains(part), "{part}: {problem}");
        }
    }

    #[test]
    fn a_source_that_fails_is_put_right_or_left() {
        let mut guard = failing(Side::Source);
        let parts = ["not whole", "1970-01-01T00:00:00Z (it is down)", "`resume`", "`finish`"];
        check_asked(Warm::default(), &guard, Code::SourceFails, &parts);
        let said = Warm::default().asks(&guard, FRONTEND).expect("asked").to_string();
        assert!(!said.contains("tdbg"), "{said}");
        guard.dead_letters = 3;
        let merge = [
            "3 dead letters",
            "`tdbg --address f:7233 dlq --dlq-version v2 merge --dlq-type 4`",
        ];
        check_asked(Warm::default(), &guard, Code::SourceFails, &merge);
        // Given up without a store that fails now: nobody knows which one lacks them.
        guard.failing_since = None;
        check_asked(
            Warm::default(),
            &guard,
            Code::SourceFails,
            &["may not be whole", merge[1]],
        );
        let finish = Warm {
            finish: true,
            ..Warm::default()
        };
        assert_eq!(finish.asks(&guard, FRONTEND), None);
        assert_eq!(finish.asks(&failing(Side::Source), FRONTEND), None);
    }

    #[test]
    fn a_target_that_fails_is_turned_back_from_whatever_was_said_of_the_source() {
        for finish in [false, true] {
            let warm = Warm {
                finish,
                ..Warm::default()
            };
            let parts = ["Next step: `rollback`, which needs no copy", "`resume`"];
            check_asked(warm, &failing(Side::Target), Code::TargetFails, &parts);
        }
    }

    #[test]
    fn nobody_is_asked_before_the_budget_is_over() {
        for fails in [Side::Source, Side::Target] {
            let guard = GuardProgress {
                lost: false,
                ..failing(fails)
            };
            assert_eq!(Warm::default().asks(&guard, FRONTEND), None);
        }
    }
}
