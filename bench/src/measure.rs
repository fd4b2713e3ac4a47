//! What is measured, and how it is written down.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::job::{Done, Stores};
use crate::stand::Taken;

/// One line of a benchmark's file.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Case {
    /// Which pair, or how many processes.
    pub(crate) case: String,
    /// How many records were copied or compared.
    pub(crate) records: u64,
    /// How long it took us.
    pub(crate) seconds: f64,
    /// How long the stores alone take for it.
    pub(crate) bound_seconds: f64,
    /// `seconds` by `bound_seconds`: 1 is as quick as the stores allow.
    pub(crate) ratio_to_bound: f64,
    /// How long others take for the same.
    pub(crate) peers: BTreeMap<String, f64>,
    /// The most memory that our process held, in megabytes (10^6 bytes).
    pub(crate) peak_rss_mb: f64,
}

/// One time through a case.
#[derive(Debug, Clone, Default)]
pub(crate) struct Round {
    /// What our own process told of itself.
    pub(crate) done: Done,
    /// How long our way took in all.
    pub(crate) seconds: f64,
    /// How long the stores alone took.
    pub(crate) bound_seconds: f64,
    /// How long others took.
    pub(crate) peers: BTreeMap<String, f64>,
}

impl Round {
    /// A round of a job, with what the stores took for the bound and for us.
    pub(crate) fn with_stores(mut done: Done, bound: Taken, ours: Taken) -> Self {
        done.stores = Some(Stores { bound, ours });
        Self::of(done, bound.seconds)
    }

    /// A round of a job that began and ended with its process.
    pub(crate) fn of(done: Done, bound_seconds: f64) -> Self {
        Self {
            seconds: done.seconds,
            done,
            bound_seconds,
            peers: BTreeMap::new(),
        }
    }
}

/// The case that `rounds` make: the median of each time, the most of the memory.
pub(crate) fn case(name: &str, records: u64, rounds: &[Round]) -> Case {
    let seconds = median(rounds.iter().map(|round| round.seconds));
    let bound_seconds = median(rounds.iter().map(|round| round.bound_seconds));
    let names = rounds.iter().flat_map(|round| round.peers.keys());
    let peers = names.map(|name| {
        let times = rounds.iter().filter_map(|round| round.peers.get(name).copied());
        (name.clone(), thousandths(median(times)))
    });
    Case {
        case: name.to_owned(),
        records,
        seconds: thousandths(seconds),
        bound_seconds: thousandths(bound_seconds),
        ratio_to_bound: thousandths(seconds / bound_seconds.max(f64::EPSILON)),
        peers: peers.collect(),
        peak_rss_mb: rounds.iter().map(|round| round.done.peak_rss_mb).fold(0.0, f64::max),
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

fn thousandths(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// The table of `cases`, for people: also good Markdown.
pub(crate) fn table(cases: &[Case]) -> String {
    let mut rows = vec![
        [
            "case",
            "records",
            "seconds",
            "records/s",
            "bound s",
            "ratio",
            "peak MB",
            "peers",
        ]
        .map(str::to_owned),
    ];
    rows.extend(cases.iter().map(|case| {
        let peers = case
            .peers
            .iter()
            .map(|(name, seconds)| format!("{name} {seconds:.1} s"));
        [
            case.case.clone(),
            case.records.to_string(),
            format!("{:.2}", case.seconds),
            format!("{:.0}", case.records as f64 / case.seconds.max(f64::EPSILON)),
            format!("{:.2}", case.bound_seconds),
            format!("{:.2}", case.ratio_to_bound),
            format!("{:.0}", case.peak_rss_mb),
            peers.collect::<Vec<_>>().join(", "),
        ]
    }));
    lines(&rows)
}

/// Where the time of our side went: each port's calls, as the last round had them.
pub(crate) fn phases(name: &str, done: &Done) -> String {
    let mut rows = vec![["call", "calls", "seconds", "of the whole"].map(str::to_owned)];
    let mut row = |name: &str, calls: String, seconds: f64| {
        let share = 100.0 * seconds / done.seconds.max(f64::EPSILON);
        rows.push([name.to_owned(), calls, format!("{seconds:.2}"), format!("{share:.0} %")]);
    };
    for phase in &done.phases {
        row(&phase.name, phase.calls.to_string(), phase.seconds);
    }
    row("no call under way", String::new(), done.alone_seconds);
    let stores = done.stores.as_ref().map_or_else(String::new, |stores| {
        let words = |taken: &Taken| {
            format!(
                "PostgreSQL {:.2} s, Elasticsearch {:.2} s",
                taken.postgres_cpu_seconds, taken.elasticsearch_cpu_seconds
            )
        };
        format!(
            "on processors: bound {}; we {}\n",
            words(&stores.bound),
            words(&stores.ours)
        )
    });
    let cpu = 1e6 * done.cpu_seconds / done.records.max(1) as f64;
    format!(
        "{name}: {:.2} s on processors in {:.2} s, {cpu:.0} us a record (of calls under way together, each counts)\n{stores}{}",
        done.cpu_seconds,
        done.seconds,
        lines(&rows)
    )
}

/// Rows with columns of one width; the first is the head.
fn lines<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] =
        std::array::from_fn(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
        if number == 0 {
            for width in widths {
                let _ = write!(text, "|{}", "-".repeat(width + 2));
            }
            text.push_str("|\n");
        }
    }
    text
}

/// Writes `value` as `NAME.json` into `folder`.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write(folder: &Path, name: &str, value: &impl Serialize) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = folder.join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(value)?;
    std::fs::write(&file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
}

/// Writes a fact to standard output.
pub(crate) fn say(text: &str) {
    // A closed pipe (`| head`) is the reader's choice, not a failure.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Writes what is going on to standard error.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_the_median_of_its_rounds() {
        let round = |seconds, bound_seconds, peer| Round {
            seconds,
            bound_seconds,
            peers: BTreeMap::from([("other".to_owned(), peer)]),
            ..Round::default()
        };
        let case = case(
            "pair",
            10,
            &[round(3.0, 2.0, 9.0), round(9.0, 1.0, 1.0), round(1.0, 4.0, 5.0)],
        );
        assert_eq!((case.seconds, case.bound_seconds, case.ratio_to_bound), (3.0, 2.0, 1.5));
        assert_eq!(case.peers["other"], 5.0);
        assert!((median([1.0, 2.0].into_iter()) - 1.5).abs() < f64::EPSILON);
    }

    #[test]
    fn the_file_has_the_fields_that_readers_know() {
        let case = case("pair", 10, &[Round::default()]);
        let value = serde_json::to_value(&case).unwrap();
        let fields: Vec<&String> = value.as_object().unwrap().keys().collect();
        let known = [
            "case",
            "records",
            "seconds",
            "bound_seconds",
            "ratio_to_bound",
            "peers",
            "peak_rss_mb",
        ];
        assert_eq!(fields, known);
    }
}
