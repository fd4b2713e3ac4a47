//! What a comparison found, for files, for programs and for people.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    time::Duration,
};

use crossfade_visibility::{
    compare::{Drifted, Progress},
    record::Key,
    repair::Repaired,
};
use serde_json::{Value, json};

use super::{CLASSES, scope::Scope, truth::Verdict};
use crate::{
    cli::Diff,
    exit::Failure,
    render::{self, Table},
};

/// Records that are named under `--json`, of each class, and to people.
const NAMED: usize = 20;
const SHOWN: usize = 5;

/// What was found, and what became of it.
pub(super) struct Findings {
    /// What the comparison says.
    pub(super) progress: Progress,
    took: Duration,
    /// Who is right, where somebody was asked.
    pub(super) verdicts: BTreeMap<Key, Verdict>,
    /// What was put right, and how many records still differ.
    pub(super) repaired: Option<(Repaired, u64)>,
    sample: Option<Sample>,
}

/// The part of the records that was looked at.
struct Sample {
    share: f64,
    seed: u64,
    of: u64,
}

pub(super) fn create(path: &Path) -> Result<File, Failure> {
    File::create(path).map_err(|error| cannot_write(path, &error))
}

pub(super) fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("{} cannot be written: {error}", path.display()))
}

impl Findings {
    pub(super) fn new(progress: Progress, took: Duration, args: &Diff, scope: &Scope) -> Self {
        let sample = args.sample.map(|share| Sample {
            share: share.0,
            seed: args.seed,
            of: scope.of,
        });
        Self {
            progress,
            took,
            verdicts: BTreeMap::new(),
            repaired: None,
            sample,
        }
    }

    fn drifted(&self) -> impl Iterator<Item = &Drifted> {
        CLASSES
            .into_iter()
            .flat_map(|class| &self.progress.drift.of(class).sample)
    }

    /// The records that differ, as far as they are named.
    pub(super) fn keys(&self) -> Vec<Key> {
        self.drifted().map(|drifted| drifted.key.clone()).collect()
    }

    /// Those that are to be put right by the source: where somebody was asked, only where it is right.
    pub(super) fn to_repair(&self) -> BTreeSet<Key> {
        let right = |key: &Key| self.verdicts.is_empty() || self.verdicts.get(key) == Some(&Verdict::Source);
        self.keys().into_iter().filter(right).collect()
    }

    /// How many records differ in the end.
    pub(super) fn left(&self) -> u64 {
        match &self.repaired {
            Some((_, left)) => *left,
            None => self.progress.drift.total(),
        }
    }

    pub(super) fn write_all(&self, file: File) -> std::io::Result<()> {
        let mut file = BufWriter::new(file);
        for drifted in self.drifted() {
            writeln!(file, "{}", self.line(drifted))?;
        }
        file.flush()
    }

    /// One record that differs: which, and how; never its content.
    fn line(&self, drifted: &Drifted) -> Value {
        let mut line = json!({
            "class": drifted.class.label(),
            "namespace_id": drifted.key.namespace_id,
            "run_id": drifted.key.run_id,
            "columns": drifted.columns,
            "source_version": drifted.source_version,
            "target_version": drifted.target_version,
        });
        if let Some(verdict) = self.verdicts.get(&drifted.key) {
            line["right"] = json!(verdict.label());
        }
        line
    }

    fn right(&self) -> BTreeMap<&'static str, u64> {
        let mut right = BTreeMap::new();
        for verdict in self.verdicts.values() {
            *right.entry(verdict.label()).or_default() += 1;
        }
        right
    }

    pub(super) fn answer(&self) -> Value {
        let drift: serde_json::Map<String, Value> = CLASSES
            .into_iter()
            .map(|class| (class.label().to_owned(), self.progress.drift.of(class).count.into()))
            .collect();
        let named: Vec<Value> = CLASSES
            .into_iter()
            .flat_map(|class| self.progress.drift.of(class).sample.iter().take(NAMED))
            .map(|drifted| self.line(drifted))
            .collect();
        let mut answer = json!({
            "source_records": self.progress.source_records,
            "target_records": self.progress.target_records,
            "same_by_digest": self.progress.by_digest,
            "drift": drift,
            "sample": named,
            "seconds": self.took.as_secs_f64(),
        });
        if let Some(sample) = &self.sample {
            answer["sampled"] = json!({
                "share": sample.share,
                "seed": sample.seed,
                "of_source_records": sample.of,
                "differing_share_at_most": self.at_most(),
            });
        }
        if !self.verdicts.is_empty() {
            answer["right"] = json!(self.right());
        }
        if let Some((repaired, left)) = &self.repaired {
            answer["repaired"] = json!({
                "written": repaired.written,
                "deleted": repaired.deleted,
                "left_as_later": repaired.left_count,
                "still_differ": left,
            });
        }
        answer
    }

    /// The share of all records that differs at most, with 95 % confidence: none found among `n` leaves 3 in `n`, and some
    /// as many as a Poisson distribution allows.
    fn at_most(&self) -> f64 {
        let looked_at = self.progress.source_records.max(self.progress.target_records).max(1) as f64;
        let found = self.progress.drift.total() as f64;
        let bound = if found == 0.0 {
            3.0
        } else {
            found + 2.0 + 1.96 * found.sqrt()
        };
        (bound / looked_at).min(1.0)
    }

    pub(super) fn for_people(&self) -> String {
        let progress = &self.progress;
        let mut namespaces = Table::new(&["NAMESPACE", ">SOURCE", ">TARGET", ">DRIFT"]);
        for (id, tally) in &progress.namespaces {
            namespaces.row([
                id.clone(),
                render::count(tally.source),
                render::count(tally.target),
                render::count(tally.drift),
            ]);
        }
        let mut text = format!(
            "  {} in the source, {} in the target, compared in {}",
            render::count(progress.source_records),
            render::count(progress.target_records),
            render::span(self.took)
        );
        if progress.by_digest > 0 {
            let same = render::count(progress.by_digest);
            text.push_str(&format!(
                "\n  {same} of them were the same by their digests and not read"
            ));
        }
        if let Some(sample) = &self.sample {
            text.push_str(&format!(
                "\n  a sample of about {}, seed {}, of {}: with 95% confidence at most {:.4}% of all differ",
                percent(sample.share),
                sample.seed,
                render::counted(sample.of, "record"),
                self.at_most() * 100.0
            ));
        }
        if !namespaces.is_empty() {
            text.push_str(&format!("\n\n{namespaces}"));
        }
        if progress.drift.total() == 0 {
            return format!("{text}\n\nno drift");
        }
        let mut sample = Table::new(&["CLASS", "NAMESPACE", "RUN", "COLUMNS", "RIGHT"]);
        for drifted in CLASSES
            .into_iter()
            .flat_map(|class| progress.drift.of(class).sample.iter().take(SHOWN))
        {
            let right = self.verdicts.get(&drifted.key).map_or("", |verdict| verdict.label());
            sample.row([
                drifted.class.label().to_owned(),
                drifted.key.namespace_id.clone(),
                drifted.key.run_id.clone(),
                drifted.columns.join(", "),
                right.to_owned(),
            ]);
        }
        let counts: Vec<String> = CLASSES
            .into_iter()
            .map(|class| format!("{} {}", render::count(progress.drift.of(class).count), class.label()))
            .collect();
        text.push_str(&format!("\n\ndrift: {}; some of it:\n{sample}", counts.join(", ")));
        if !self.verdicts.is_empty() {
            let right = self.right();
            let right: Vec<String> = right.iter().map(|(who, count)| format!("{who} {count}")).collect();
            text.push_str(&format!("\nright by the cluster's own state: {}", right.join(", ")));
        }
        if let Some((repaired, left)) = &self.repaired {
            text.push_str(&format!(
                "\nrepaired: {} written, {} deleted, {} left because the target's version is later; {} still differ",
                render::count(repaired.written),
                render::count(repaired.deleted),
                render::count(repaired.left_count),
                render::count(*left)
            ));
        }
        text
    }
}

fn percent(share: f64) -> String {
    format!("{}%", (share * 1e8).round() / 1e6)
}
