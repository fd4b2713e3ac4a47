//! What is said at the end, by the judge's findings.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use crossfade_plan::drift::Drift;
use crossfade_plan::progress::Outcome;
use serde_json::{Value, json};

use super::product::Reported;
use super::words::{count, span};

/// How many complaints are shown.
const SHOWN: usize = 20;

/// What the judge found in the store that the cluster is on.
pub(super) struct Verdict {
    /// Which store that is: `new`, or `old` after a way back.
    store: &'static str,
    /// Executions that traffic made and did not delete.
    made: u64,
    /// Those of them that are in the store.
    found: u64,
    /// How many the cluster itself counts.
    counted: u64,
    drift: Drift,
    complaints: Vec<String>,
}

impl Verdict {
    /// From what traffic made, what the judge found, and what the cluster counts.
    pub(super) fn new(store: &'static str, made: u64, judged: e2e::judge::Verdict, counted: u64) -> Self {
        let drift = drift(&judged.complaints);
        Self {
            store,
            made,
            found: made.saturating_sub(drift.missing),
            counted,
            drift,
            complaints: judged.complaints,
        }
    }

    /// In words.
    pub(super) fn words(&self) -> String {
        if self.complaints.is_empty() {
            format!(
                "all {} executions that traffic made are in the {} store, each with its status, search attributes and memo",
                count(self.made),
                self.store
            )
        } else {
            format!(
                "{} of {} executions are in the {} store: {}",
                count(self.found),
                count(self.made),
                self.store,
                self.drift
            )
        }
    }

    /// The last line for programs.
    pub(super) fn line(&self, reported: &Reported) -> Value {
        json!({
            "result": reported.report.result,
            "records": self.found,
            "drift": self.drift,
            "gates_approved": reported.report.gates_approved,
            "report": reported.json,
        })
    }

    /// The last lines for people.
    pub(super) fn summary(&self, reported: &Reported, events: u64, took: Duration) -> String {
        let Reported { report, html, .. } = reported;
        format!(
            "{result}: {words}\n  drift           {drift}\n  gates approved  {gates}\n  history         {events} events\n  \
             took            {took}\n  report          {html}",
            result = report
                .result
                .map_or_else(|| "not ended".to_owned(), |result| outcome(result).to_owned()),
            words = self.words(),
            drift = self.drift,
            gates = report.gates_approved,
            events = count(events),
            took = span(took),
            html = html.display(),
        )
    }

    /// Fails when anything is short: with what.
    pub(super) fn demand_whole(&self, reported: &Reported) -> Result<()> {
        let report = &reported.report;
        let mut short: Vec<String> = self.complaints.iter().take(SHOWN).cloned().collect();
        if self.complaints.len() > SHOWN {
            short.push(format!("and {} more like these", self.complaints.len() - SHOWN));
        }
        if self.counted != self.made {
            short.push(format!(
                "the cluster counts {} executions, and traffic made {}",
                self.counted, self.made
            ));
        }
        if report.result != Some(Outcome::Migrated) {
            let result = report.result.map_or("not ended", outcome);
            short.push(format!("the migration is {result}, not migrated"));
        }
        if !report.drift.is_clean() {
            short.push(format!("the report says {}", report.drift));
        }
        if report.gates_approved != 3 {
            short.push(format!("{} gates were approved, not 3", report.gates_approved));
        }
        if short.is_empty() {
            return Ok(());
        }
        bail!("this is short:\n- {}", short.join("\n- "))
    }
}

/// An outcome's name.
pub(super) fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Migrated => "migrated",
        Outcome::RolledBack => "rolled back",
        Outcome::Aborted => "aborted",
        Outcome::Refused => "refused",
    }
}

/// The judge's complaints by class, each record once, in its worst class.
fn drift(complaints: &[String]) -> Drift {
    let mut records: BTreeMap<&str, Class> = BTreeMap::new();
    for complaint in complaints {
        let class = Class::of(complaint);
        // `WORKFLOW_ID run RUN_ID ...`: what comes before the run id's end names the record.
        let record = complaint.split_once(" run ").map_or(complaint.as_str(), |(_, rest)| {
            rest.split([' ', ':']).next().unwrap_or(rest)
        });
        let known = records.entry(record).or_insert(class);
        *known = class.min(*known);
    }
    let of = |class| records.values().filter(|known| **known == class).count() as u64;
    Drift {
        missing: of(Class::Missing),
        stale: of(Class::Stale),
        different: of(Class::Different),
        extra: of(Class::Extra),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Missing,
    Extra,
    Stale,
    Different,
}

impl Class {
    /// The class of one of the judge's sentences.
    fn of(complaint: &str) -> Self {
        if complaint.ends_with(" is missing") {
            Self::Missing
        } else if complaint.ends_with(" was deleted and is there") || complaint.ends_with(" and nobody made it") {
            Self::Extra
        } else if complaint.contains(": the status is ") || complaint.contains(": by its close time it ") {
            // An execution's last status is known: another one is an earlier version.
            Self::Stale
        } else {
            Self::Different
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_judges_complaints_are_counted_by_record_and_class() {
        let complaints = [
            "order-1 run 11 (Completed) is missing",
            "order-2 run 12: the status is \"1\", expected \"2\"",
            "order-2 run 12: the memo is {}, expected {\"a\": 1}",
            "order-3 run 13: Paid (Bool01) is nothing, expected true",
            "order-3 run 13: the memo is {}, expected {\"a\": 1}",
            "order-4 run 14 was deleted and is there",
            "order-5 run 15 is there, and nobody made it",
        ]
        .map(str::to_owned);
        let expected = Drift {
            missing: 1,
            stale: 1,
            different: 1,
            extra: 2,
        };
        assert_eq!(drift(&complaints), expected);
        let judged = e2e::judge::Verdict {
            judged: 10,
            complaints: complaints.to_vec(),
        };
        assert_eq!(Verdict::new("new", 10, judged, 10).found, 9);
    }
}
