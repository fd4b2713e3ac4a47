//! The guard: from dual writes on, somebody watches whether the server's writes reach the target.
//!
//! A write to one of the two stores that fails is tried again together with the one that did not (1.30.8:
//! common/persistence/visibility/visibility_manager_dual.go), so a target that is gone holds up every record, and after an
//! hour the server gives them up. Past a budget the guard leaves dual writes, notes from when on the target lacks records,
//! and comes back when the target takes writes again; what it lacks then is found by comparing every record.
//!
//! While the source stays written after promote either store may fail, and neither can be left without the operator's word:
//! to leave the source is to give the way back up, and to leave the target is to go back. Past the budget they are asked.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    message::{Side, cut},
    order::Context,
    settings::WritingMode,
};

/// The most gaps that are kept; a target that fails more often has other problems.
const KEPT: usize = 20;

/// The longest reason that is kept, in characters.
const REASON: usize = 300;

/// What a watch ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sight {
    /// What is watched takes writes.
    Fine,
    /// It does not, since less than the budget.
    Failing,
    /// It has not for longer than the budget, or the server gave up on records already.
    Lost,
}

/// Order: watch until there is something to tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WatchWrites {
    /// The migration.
    pub context: Context,
    /// The number of history shards.
    pub shards: u32,
    /// Whether the server writes the target now. While it does not, only the target itself can be watched.
    pub mode: WritingMode,
    /// Whether the source is kept written after promote: then either store may be the one that fails, and any dead letter
    /// may be a record that the way back would lack.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kept: bool,
    /// When the target was last known to be written.
    pub proven: Option<Timestamp>,
    /// Since when a store fails, as far as was told.
    pub failing_since: Option<Timestamp>,
    /// Which one, as far as was told.
    #[serde(default, skip_serializing_if = "Side::is_target")]
    pub fails: Side,
    /// The dead letters that were told.
    pub dead_letters: u64,
    /// Return after about this many seconds in any case.
    pub budget_seconds: u64,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// In a word.
    pub sight: Sight,
    /// When.
    pub at: Timestamp,
    /// When the target was last known to be written.
    pub proven: Option<Timestamp>,
    /// Since when a store fails.
    pub failing_since: Option<Timestamp>,
    /// Which one, where one fails.
    #[serde(default, skip_serializing_if = "Side::is_target")]
    pub fails: Side,
    /// Why, in words, without secrets.
    pub why: Option<String>,
    /// Visibility tasks in the dead-letter queue.
    pub dead_letters: u64,
}

/// A time in which the target was not written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The first moment of which the target may lack records.
    pub since: Timestamp,
    /// When it was decided to leave dual writes.
    pub noticed: Timestamp,
    /// Why.
    pub why: String,
    /// When every host was told to write the source alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off: Option<Timestamp>,
    /// When both stores were proven to be written again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// When a whole comparison had found the target equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filled: Option<Timestamp>,
    /// How many records that comparison put right, and those before it since the gap.
    #[serde(default)]
    pub repaired: u64,
}

/// What the guard knows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GuardProgress {
    /// Since when the server is to write both stores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When the target was last known to be written; told now and then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven: Option<Timestamp>,
    /// Since when a store's writes fail, while it is not left yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// Which store that is: only while the source is kept written after promote it may be the source.
    #[serde(default, skip_serializing_if = "Side::is_target")]
    pub fails: Side,
    /// Whether both stores are watched, the source being kept written after promote.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kept: bool,
    /// Whether it was for too long, or records were given up, while both are watched: a person has to decide.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
    /// Why they fail, or did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Visibility tasks in the dead-letter queue when it was last told.
    #[serde(default)]
    pub dead_letters: u64,
    /// The gap that is open: the source alone is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
    /// Earlier gaps, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
    /// How many records had been put right when the last gap began.
    #[serde(default)]
    pub repaired_before: u64,
    /// How often dual writes were tried again; tells the canaries of each try from those of others.
    #[serde(default)]
    pub tries: u32,
    /// Whether somebody is closing the open gap, who must not be interrupted by it.
    #[serde(skip)]
    pub mending: bool,
}

impl GuardProgress {
    /// Whether there is nothing to tell.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether what goes on has to stop, since the target is not written any more.
    pub fn interrupts(&self) -> bool {
        self.gap.is_some() && !self.mending
    }

    /// Which store fails now, as far as is known.
    pub fn failing(&self) -> Option<Side> {
        self.failing_since.map(|_| self.fails)
    }

    /// Which store fails while both are watched, as far as is known.
    pub fn failing_while_kept(&self) -> Option<Side> {
        self.failing().filter(|_| self.kept)
    }

    /// Begins to watch both stores, or begins anew after the operator was asked. What was known of a store that fails stays
    /// known until somebody has looked.
    pub fn look_again(&mut self) {
        self.kept = true;
        self.lost = false;
        self.dead_letters = 0;
    }

    /// Whether nobody knows yet what becomes of a target that fails, which must not be left alone with the cluster's writes.
    pub fn is_undecided(&self) -> bool {
        self.failing_while_kept() == Some(Side::Target) && !self.lost
    }

    /// Takes what was seen while both stores are to be written; gives what is to be told of it, if anything is new.
    pub fn saw(&mut self, seen: &Watched) -> Option<String> {
        let failed = self.failing();
        let letters = seen.dead_letters.saturating_sub(self.dead_letters);
        self.proven = seen.proven.or(self.proven);
        self.dead_letters = seen.dead_letters;
        self.failing_since = seen.failing_since;
        if seen.failing_since.is_some() {
            self.fails = seen.fails;
        }
        if let Some(why) = &seen.why {
            self.why = Some(cut(why.clone(), REASON));
        }
        let given_up = (letters > 0).then(|| {
            format!(
                "the server gave up on {letters} more records ({} dead letters)",
                seen.dead_letters
            )
        });
        let told = match (failed, self.failing()) {
            (Some(before), Some(now)) if before == now => None,
            (_, Some(store)) => Some(format!(
                "writes to the {store} fail: {}",
                self.why.as_deref().unwrap_or("no reason was given")
            )),
            (Some(store), None) => Some(format!("the {store} takes writes again")),
            (None, None) => None,
        };
        let told: Vec<String> = told.into_iter().chain(given_up).collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    /// Begins a gap at `since`.
    pub fn leave(&mut self, since: Timestamp, noticed: Timestamp) -> String {
        let why = self.why.clone().unwrap_or_default();
        let told = format!(
            "the target is not written any more: its writes fail since {} ({why}); records since {since} are to be filled in",
            self.failing_since.unwrap_or(noticed)
        );
        self.failing_since = None;
        self.gap = Some(Gap {
            since,
            noticed,
            why,
            off: None,
            until: None,
            filled: None,
            repaired: 0,
        });
        told
    }

    /// Ends the open gap: both stores are written again since `until`.
    pub fn come_back(&mut self, until: Timestamp) -> Option<String> {
        let mut gap = self.gap.take()?;
        gap.until = Some(until);
        self.since = Some(until);
        self.proven = Some(until);
        let told = format!(
            "both stores are written again since {until}; comparing finds what the target lacks since {}",
            gap.since
        );
        self.gaps.push(gap);
        if self.gaps.len() > KEPT {
            self.gaps.remove(0);
        }
        Some(told)
    }

    /// A whole comparison found the target equal at `at`, with so many records put right since the gap. Gives what is to
    /// be told.
    pub fn filled(&mut self, at: Timestamp, repaired: u64) -> Option<String> {
        let mut filled = 0;
        for gap in self.gaps.iter_mut().filter(|gap| gap.filled.is_none()) {
            gap.filled = Some(at);
            gap.repaired = repaired;
            filled += 1;
        }
        (filled > 0).then(|| format!("the gap in the target is filled: {repaired} records were put right since"))
    }

    /// How it stands, in words; nothing while all is well and was.
    pub fn words(&self) -> Option<String> {
        if let Some(gap) = &self.gap {
            let mode = if gap.off.is_some() {
                "the source alone is written"
            } else {
                "the hosts are being told to write the source alone"
            };
            return Some(format!(
                "the target takes no writes ({}): {mode}; the gap begins {}",
                gap.why, gap.since
            ));
        }
        if let Some(since) = self.failing_since {
            let why = self.why.as_deref().unwrap_or_default();
            return Some(format!("writes to the {} fail since {since} ({why})", self.fails));
        }
        self.gaps.last().map(Gap::words)
    }
}

impl Gap {
    /// In words.
    pub fn words(&self) -> String {
        let until = self.until.map_or_else(|| "now".to_owned(), |until| until.to_string());
        let filled = match self.filled {
            Some(at) => format!("filled at {at}, {} records put right", self.repaired),
            None => "not filled yet: the next comparison does it".to_owned(),
        };
        format!(
            "the target was not written from {} to {until} ({}); {filled}",
            self.since, self.why
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("a time")
    }

    fn seen(sight: Sight, seconds: i64) -> Watched {
        Watched {
            sight,
            at: at(seconds),
            proven: Some(at(10)),
            failing_since: (sight != Sight::Fine).then(|| at(20)),
            fails: Side::Target,
            why: (sight != Sight::Fine).then(|| "it is down".to_owned()),
            dead_letters: 0,
        }
    }

    #[test]
    fn what_is_new_is_told_once() {
        let mut guard = GuardProgress::default();
        assert!(guard.is_none() && !guard.interrupts());
        assert_eq!(guard.saw(&seen(Sight::Fine, 10)), None);
        let told = guard.saw(&seen(Sight::Failing, 25)).expect("told");
        assert_eq!(told, "writes to the target fail: it is down");
        assert_eq!(guard.saw(&seen(Sight::Lost, 60)), None);
        assert!(guard.words().is_some_and(|words| words.contains("it is down")));
        let letters = Watched {
            dead_letters: 3,
            ..seen(Sight::Failing, 61)
        };
        let told = guard.saw(&letters).expect("told");
        assert!(told.contains("3 more records"), "{told}");
        assert_eq!(guard.saw(&letters), None);
        assert_eq!(
            guard.saw(&seen(Sight::Fine, 70)).as_deref(),
            Some("the target takes writes again")
        );
        assert_eq!(guard.words(), None);
    }

    #[test]
    fn it_is_told_which_store_fails_while_both_are_watched() {
        let of = |side, seconds| Watched {
            fails: side,
            ..seen(Sight::Failing, seconds)
        };
        let mut guard = GuardProgress::default();
        assert_eq!(
            guard.saw(&of(Side::Target, 20)).as_deref(),
            Some("writes to the target fail: it is down")
        );
        assert_eq!(guard.failing_while_kept(), None);
        guard.look_again();
        assert!(guard.is_undecided());
        let told = guard.saw(&of(Side::Source, 25));
        assert_eq!(told.as_deref(), Some("writes to the source fail: it is down"));
        assert_eq!(guard.saw(&of(Side::Source, 26)), None);
        assert_eq!(guard.failing_while_kept(), Some(Side::Source));
        assert!(!guard.is_undecided());
        assert!(
            guard
                .words()
                .is_some_and(|words| words.starts_with("writes to the source fail since"))
        );
        guard.lost = true;
        guard.look_again();
        assert!(
            !guard.lost && guard.failing_while_kept() == Some(Side::Source),
            "nobody has looked yet"
        );
        let told = guard.saw(&seen(Sight::Fine, 70));
        assert_eq!(told.as_deref(), Some("the source takes writes again"));
        assert_eq!(guard.failing_while_kept(), None);
    }

    #[test]
    fn a_gap_is_open_until_both_are_written_and_told_until_it_is_filled() {
        let mut guard = GuardProgress::default();
        guard.saw(&seen(Sight::Lost, 60));
        let told = guard.leave(at(5), at(60));
        assert!(
            told.contains("it is down") && told.contains("1970-01-01T00:00:05Z"),
            "{told}"
        );
        assert!(guard.interrupts());
        guard.mending = true;
        assert!(!guard.interrupts());
        guard.mending = false;
        assert!(guard.come_back(at(100)).is_some() && !guard.interrupts());
        assert_eq!(guard.come_back(at(100)), None);
        assert!(guard.words().is_some_and(|words| words.contains("not filled yet")));
        assert!(guard.filled(at(110), 7).is_some_and(|told| told.contains("7 records")));
        assert_eq!(guard.filled(at(120), 9), None);
        assert!(guard.words().is_some_and(|words| words.contains("7 records put right")));
        for number in 0..100 {
            guard.leave(at(number), at(number));
            guard.come_back(at(number));
        }
        assert_eq!(guard.gaps.len(), KEPT);
    }
}
