//! Live progress on stderr: bars on a terminal, a line for each change elsewhere.

use std::{fmt::Display, io::IsTerminal, time::Duration};

use console::style;
use crossfade_plan::{
    progress::{Condition, Status},
    stage::Stage,
};
use crossfade_workflow::names::activity;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use jiff::Timestamp;

use super::{
    note,
    status::{activity_lines, config, headline, slices},
    words::{between, count, counted, exact_time, seconds, time},
};
use crate::migration::PendingActivity;

const SPINNER: &str = "{spinner:.cyan} {wide_msg}";
const BAR: &str = "  {prefix:9} [{bar:32.cyan/blue}] {human_pos}/{human_len} {msg}";
const LINES: &str = "{msg}";

/// A migration's progress.
pub(crate) struct MigrationView {
    screen: Screen,
    last_line: String,
}

enum Screen {
    Terminal {
        all: MultiProgress,
        headline: ProgressBar,
        copy: ProgressBar,
        indexes: ProgressBar,
        compare: ProgressBar,
        lines: ProgressBar,
    },
    Log,
}

impl MigrationView {
    /// A view that shows nothing yet.
    pub(crate) fn new() -> Self {
        let screen = if std::io::stderr().is_terminal() {
            let all = MultiProgress::new();
            let add = |template: &str| all.add(ProgressBar::no_length().with_style(template_of(template)));
            let headline = add(SPINNER);
            headline.enable_steady_tick(Duration::from_millis(120));
            // Hidden until there is something to count.
            let bar = |name: &'static str| ProgressBar::no_length().with_style(template_of(BAR)).with_prefix(name);
            Screen::Terminal {
                headline,
                copy: bar("copied"),
                indexes: bar("built"),
                compare: bar("compared"),
                lines: add(LINES),
                all,
            }
        } else {
            Screen::Log
        };
        Self {
            screen,
            last_line: String::new(),
        }
    }

    /// Shows where the migration stands now.
    pub(crate) fn show(&mut self, status: &Status, activities: &[PendingActivity], now: Timestamp) {
        let headline_now = headline(status);
        match &self.screen {
            Screen::Log => self.log(headline_now, now),
            Screen::Terminal {
                all,
                headline,
                copy,
                indexes,
                compare,
                lines,
            } => {
                headline.set_message(format!("{}  {headline_now}", style(&status.migration).bold()));
                let amounts = Amounts::of(status, activities, now);
                if let Some((done, all_records)) = amounts.copied {
                    show_bar(all, lines, copy, done, all_records, &amounts.copy_pace);
                }
                if let Some((built, total)) = amounts.built {
                    show_bar(all, lines, indexes, built, total, "indexes");
                }
                if let Some((done, all_records)) = amounts.compared {
                    show_bar(all, lines, compare, done, all_records, &amounts.drift);
                }
                lines.set_message(detail_lines(status, activities, now).join("\n"));
            }
        }
    }

    /// Says that there is no answer right now, which is expected while the server restarts.
    pub(crate) fn show_silence(&mut self, why: &impl Display, now: Timestamp) {
        match &self.screen {
            Screen::Log => self.log(format!("no answer, trying again: {why}"), now),
            Screen::Terminal { lines, .. } => {
                lines.set_message(format!("  {} {why}", style("no answer, trying again:").yellow()));
            }
        }
    }

    fn log(&mut self, line: String, now: Timestamp) {
        if line != self.last_line {
            note(format!("{}  {line}", exact_time(now)));
            self.last_line = line;
        }
    }
}

impl Drop for MigrationView {
    /// Leaves no half-drawn bars behind.
    fn drop(&mut self) {
        if let Screen::Terminal {
            headline,
            copy,
            indexes,
            compare,
            lines,
            ..
        } = &self.screen
        {
            for bar in [headline, copy, indexes, compare, lines] {
                bar.finish_and_clear();
            }
        }
    }
}

fn show_bar(all: &MultiProgress, before: &ProgressBar, bar: &ProgressBar, done: u64, length: u64, message: &str) {
    let hidden = bar.length().is_none();
    bar.set_length(length.max(done));
    bar.set_position(done);
    bar.set_message(message.to_owned());
    if hidden {
        all.insert_before(before, bar.clone());
    }
}

/// What the bars count: the status, plus what the activity under way has done since.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Amounts {
    pub(super) copied: Option<(u64, u64)>,
    pub(super) copy_pace: String,
    /// Indexes built again, of how many.
    pub(super) built: Option<(u64, u64)>,
    pub(super) compared: Option<(u64, u64)>,
    pub(super) drift: String,
}

impl Amounts {
    pub(super) fn of(status: &Status, activities: &[PendingActivity], now: Timestamp) -> Self {
        let all_live = |name: &'static str| {
            let named = activities.iter().filter(move |activity| activity.name == name);
            named.filter_map(|activity| Some((activity.heartbeat.as_ref()?, activity.started?)))
        };
        let live = |name| all_live(name).next();
        let mut amounts = Self::default();
        let copied = &status.copy.copied;
        let copying: Vec<_> = all_live(activity::COPY_RECORDS).collect();
        if !copying.is_empty() || copied.scanned > 0 {
            let since: u64 = copying.iter().map(|(heartbeat, _)| heartbeat.scanned).sum();
            let time: u64 = copying.iter().map(|(_, started)| millis_between(*started, now)).sum();
            let (done, at_once) = (copied.scanned + since, copying.len().max(1) as u64);
            // The time of slices under way at once passes at once.
            let millis = (copied.millis + time).div_ceil(at_once);
            amounts.copied = Some((done, status.copy.expected.max(done)));
            amounts.copy_pace = pace(done, status.copy.expected, millis, copied.done);
        }
        let rebuilding = live(activity::RESTORE_INDEXES).and_then(|(heartbeat, _)| heartbeat.indexes.as_ref());
        amounts.built = match rebuilding {
            Some(indexes) => Some((indexes.built, indexes.total)),
            None if status.indexes.building_since.is_some() && !status.indexes.owed() => {
                Some((status.indexes.set_aside, status.indexes.set_aside))
            }
            None => None,
        };
        let comparing: Vec<_> = all_live(activity::COMPARE_RECORDS).collect();
        let verify = &status.verify;
        if !comparing.is_empty() || verify.compared > 0 {
            let since: u64 = comparing.iter().map(|(heartbeat, _)| heartbeat.scanned).sum();
            let done = verify.compared + since;
            let mut drift = verify.drift;
            for (heartbeat, _) in comparing {
                drift.missing += heartbeat.drift.missing;
                drift.stale += heartbeat.drift.stale;
                drift.different += heartbeat.drift.different;
                drift.extra += heartbeat.drift.extra;
            }
            amounts.compared = Some((done, status.copy.expected.max(done)));
            let found = if drift.is_clean() {
                "no drift".to_owned()
            } else {
                drift.to_string()
            };
            amounts.drift = format!("round {}, {found}", verify.round.max(1));
        }
        amounts
    }
}

fn millis_between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(between(from, to).as_millis()).unwrap_or(u64::MAX)
}

/// `5,000 a second, 3m left`.
fn pace(done: u64, expected: u64, millis: u64, finished: bool) -> String {
    if finished || done == 0 || millis == 0 {
        return String::new();
    }
    let a_second = done.saturating_mul(1_000) / millis;
    let left = expected.saturating_sub(done).checked_div(a_second);
    let left = left.map(|left| format!(", {} left", seconds(left))).unwrap_or_default();
    format!("{} a second{left}", count(a_second))
}

/// Everything beside the bars.
pub(super) fn detail_lines(status: &Status, activities: &[PendingActivity], now: Timestamp) -> Vec<String> {
    let mut lines: Vec<String> = status
        .hosts
        .iter()
        .map(|host| {
            let change = if host.ordered == host.config {
                String::new()
            } else {
                format!(" -> {}", config(host.ordered))
            };
            format!("  {:<9} {}{change}", host.name, config(host.config))
        })
        .collect();
    if status.stage == Stage::ExistingRecords {
        lines.extend(status.wait.iter().map(|wait| {
            format!(
                "  {:<9} waits for {} open, {} closed",
                wait.namespace,
                count(wait.open),
                counted(wait.closed, "record")
            )
        }));
    }
    lines.extend(status.guard.words().map(|words| format!("  {}", style(words).yellow())));
    let pass = if status.stage == Stage::Verify {
        &status.verify.slices
    } else {
        &status.copy.slices
    };
    lines.extend(slices(pass));
    lines.extend(
        activities
            .iter()
            .flat_map(|activity| activity_lines(activity, now))
            .map(|line| format!("  {}", style(line).dim())),
    );
    match &status.condition {
        Condition::Waiting {
            until, next_wake_up, ..
        } => {
            lines.extend(until.map(|until| format!("  until {} at the latest", time(until, now))));
            lines.extend(next_wake_up.map(|at| format!("  looks again {}", time(at, now))));
        }
        Condition::NeedsOperator { problems } => {
            lines.extend(problems.iter().map(|problem| format!("  {}", style(problem).red())));
        }
        _ => {}
    }
    if let Some(command) = &status.awaited_command {
        lines.push(format!("  {} {command}", style("waits for:").yellow().bold()));
    }
    lines
}

/// The progress of one job of ours over records.
pub(crate) struct RecordsView {
    bar: ProgressBar,
}

impl RecordsView {
    /// A view of `what`, over about `expected` records.
    pub(crate) fn new(what: &'static str, expected: u64) -> Self {
        let bar = ProgressBar::new(expected).with_style(template_of(
            "  {prefix:9} [{bar:32.cyan/blue}] {human_pos}/{human_len} {per_sec}, {eta} left {msg}",
        ));
        Self {
            bar: bar.with_prefix(what),
        }
    }

    /// Shows that `done` records are done.
    pub(crate) fn show(&self, done: u64, message: String) {
        if self.bar.length().is_some_and(|length| length < done) {
            self.bar.set_length(done);
        }
        self.bar.set_position(done);
        self.bar.set_message(message);
    }
}

impl Drop for RecordsView {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A bar's look. The templates are constants, so the plain look stands in only if one of them has a slip.
fn template_of(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .map_or_else(|_| ProgressStyle::default_bar(), |style| style.progress_chars("=> "))
}
