//! Where a migration stands.

use crossfade_plan::{
    indexes::IndexState,
    progress::{Condition, CutoverProgress, HostState, Status},
    slices::Slices,
    stage::Stage,
};
use jiff::Timestamp;

use super::{
    table::Table,
    words::{between, count, counted, exact_time, percent, retention, seconds, size, span, time},
};
use crate::migration::PendingActivity;

/// The whole status. `activities` is what is under way as the server tells it, `failure` why the workflow failed.
pub(crate) fn status(status: &Status, activities: &[PendingActivity], failure: Option<&str>, now: Timestamp) -> String {
    let mut parts = vec![summary(status, now)];
    parts.extend(failure.map(|why| format!("Why\n  {}", why.replace('\n', "\n  "))));
    parts.extend(next(status));
    parts.push(format!("Stages\n{}", stages(status, now)));
    if !status.hosts.is_empty() {
        parts.push(format!("Hosts\n{}", hosts(&status.hosts)));
    }
    parts.extend(records(status));
    if !activities.is_empty() {
        let lines: Vec<String> = activities
            .iter()
            .flat_map(|activity| activity_lines(activity, now))
            .collect();
        parts.push(format!("Under way\n  {}", lines.join("\n  ")));
    }
    parts.extend(rejected(status));
    parts.join("\n\n")
}

/// One line: the stage, and how it goes.
pub(crate) fn headline(status: &Status) -> String {
    let how = match &status.condition {
        Condition::Running { doing } => doing.clone(),
        Condition::AwaitingApproval { gate } => format!("waiting for the approval of gate `{gate}`"),
        Condition::Waiting { reason, .. } => format!("waiting: {reason}"),
        Condition::Paused => "paused".to_owned(),
        Condition::NeedsOperator { .. } => "stopped by a problem that needs you".to_owned(),
        Condition::RollingBack { doing } => format!("going back: {doing}"),
        Condition::Ended { result } => return format!("ended: {}", words_of(result)),
    };
    format!("{}: {how}", status.stage)
}

/// An outcome in words.
pub(super) fn words_of(outcome: &crossfade_plan::progress::Outcome) -> &'static str {
    use crossfade_plan::progress::Outcome;
    match outcome {
        Outcome::Migrated => "migrated; the cluster runs on the target",
        Outcome::RolledBack => "rolled back; the cluster is as it was",
        Outcome::Aborted => "given up; the cluster is as it was",
        Outcome::Refused => "refused; nothing was changed",
    }
}

fn summary(status: &Status, now: Timestamp) -> String {
    let mut lines = vec![
        format!("{}  {}", console::style(&status.migration).bold(), headline(status)),
        format!("  began {}, run {}", time(status.began, now), status.runs),
    ];
    match &status.condition {
        Condition::Waiting {
            until, next_wake_up, ..
        } => {
            if let Some(until) = until {
                lines.push(format!("  until {} at the latest", time(*until, now)));
            }
            if let Some(wake_up) = next_wake_up {
                lines.push(format!("  looks again {}", time(*wake_up, now)));
            }
        }
        Condition::NeedsOperator { problems } => {
            lines.extend(problems.iter().map(|problem| format!("  {problem}")));
        }
        _ => {}
    }
    if !matches!(status.condition, Condition::Ended { .. }) {
        if let Some(since) = status.dual_since {
            lines.push(format!("  both stores are written since {}", time(since, now)));
        }
        lines.extend(status.guard.words().map(|words| format!("  {words}")));
        if matches!(status.condition, Condition::NeedsOperator { .. }) && status.going_back {
            lines.push("  it is going back: `resume` tries that again where it stopped".to_owned());
        } else if !matches!(status.condition, Condition::RollingBack { .. }) {
            let open = if status.can_roll_back {
                "open"
            } else {
                "closed: the point of no return has passed"
            };
            lines.push(format!("  the way back is {open}"));
        }
    }
    lines.join("\n")
}

/// The command that is awaited, in both forms.
fn next(status: &Status) -> Option<String> {
    let tctl = status.awaited_command.as_ref()?;
    let id = &status.migration;
    let own = match &status.condition {
        Condition::AwaitingApproval { gate } => format!("crossfade approve {gate} --id {id}"),
        _ => format!("crossfade resume --id {id}"),
    };
    Some(format!("Next step\n  {own}\n  or: {tctl}"))
}

fn stages(status: &Status, now: Timestamp) -> String {
    let over = matches!(status.condition, Condition::Ended { .. });
    let mut table = Table::new(&["", "STAGE", "GATE", "BEGAN", ">TOOK"]);
    for stage in Stage::ALL {
        let timing = status.timings.iter().rev().find(|timing| timing.stage == stage);
        let gate = stage.gate().filter(|gate| status.gates.contains(gate));
        let (mark, began, took) = match timing {
            Some(timing) => match timing.ended {
                Some(ended) => ("done", exact_time(timing.began), span(between(timing.began, ended))),
                None if over => ("", exact_time(timing.began), "not done".to_owned()),
                None => (
                    "now",
                    exact_time(timing.began),
                    format!("{} so far", span(between(timing.began, now))),
                ),
            },
            None => ("", String::new(), String::new()),
        };
        let gate = match gate {
            Some(gate) if status.approvals.contains_key(&gate) => "approved",
            Some(gate) if status.condition == (Condition::AwaitingApproval { gate }) => "waits for approval",
            Some(_) if !over => "asks first",
            _ => "",
        };
        table.row([mark.to_owned(), stage.to_string(), gate.to_owned(), began, took]);
    }
    table.to_string()
}

fn hosts(hosts: &[HostState]) -> String {
    let mut table = Table::new(&["HOST", "CONFIG", "", ">RESTART"]);
    for host in hosts {
        table.row([
            host.name.clone(),
            config(host.config),
            if host.ordered == host.config {
                String::new()
            } else {
                format!("-> {}", config(host.ordered))
            },
            host.restart_millis
                .map(|millis| span(std::time::Duration::from_millis(millis)))
                .unwrap_or_default(),
        ]);
    }
    table.to_string()
}

/// A host's config in words.
pub(super) fn config(config: crossfade_plan::settings::HostConfig) -> String {
    use crossfade_plan::settings::HostConfig;
    match config {
        HostConfig::Original => "source alone",
        HostConfig::Dual => "source and target",
        HostConfig::Warm => "target and source",
        HostConfig::Promoted => "target alone",
    }
    .to_owned()
}

/// What is known of the records: copied, compared, waited for, read.
fn records(status: &Status) -> Vec<String> {
    let mut parts = Vec::new();
    let copied = &status.copy.copied;
    let mut lines = Vec::new();
    lines.extend(refreshed(status));
    if copied.scanned > 0 || copied.done {
        let left = match (status.copy_seconds_left, status.copy_records_per_second) {
            _ if copied.done => ", done".to_owned(),
            (Some(left), Some(pace)) => format!(", {} a second, {} left at this pace", count(pace), seconds(left)),
            (Some(left), None) => format!(", {} left at this pace", seconds(left)),
            (None, _) => String::new(),
        };
        let expected = status.copy.expected.max(copied.scanned);
        let rate = status
            .records_per_second
            .map(|rate| format!(", at most {} a second", count(rate.into())));
        let source = status.throttle.source_records_per_second;
        let read = source.map(|rate| format!(", reading at most {} a second", count(rate.into())));
        let pressed = if status.throttle.off {
            ", whatever the pressure"
        } else {
            ""
        };
        lines.push(format!(
            "  copied    {} of {} looked at ({}), {} written{}, {} withdrawn{left}{}{}{pressed}",
            count(copied.scanned),
            counted(expected, "record"),
            percent(copied.scanned, expected),
            count(copied.written),
            of_bytes(copied.bytes),
            count(copied.withdrawn),
            rate.unwrap_or_default(),
            read.unwrap_or_default(),
        ));
    }
    lines.extend(slices(&status.copy.slices));
    lines.extend(indexes(&status.indexes));
    let verify = &status.verify;
    if verify.round > 0 {
        lines.push(format!(
            "  compared  {}{} in round {}: {}; {} repaired in all",
            counted(verify.compared, "record"),
            by_digest(verify.by_digest),
            verify.round,
            if verify.drift.is_clean() {
                "no drift".to_owned()
            } else {
                verify.drift.to_string()
            },
            count(verify.repaired)
        ));
        lines.extend(slices(&verify.slices));
        lines.extend(verify.samples.iter().map(|sample| format!("            {sample}")));
    }
    if !status.accepted_drift.is_empty() {
        let classes: Vec<String> = status.accepted_drift.iter().map(ToString::to_string).collect();
        lines.push(format!("  accepted  drift of class {}", classes.join(", ")));
    }
    if status.cutover != CutoverProgress::NotBegun {
        lines.push(format!("  read      {}", reads(status.cutover)));
    }
    if !lines.is_empty() {
        parts.push(format!("Records\n{}", lines.join("\n")));
    }
    if !status.wait.is_empty() {
        let mut table = Table::new(&["NAMESPACE", ">RETENTION", ">CLOSED", ">OPEN"]);
        for wait in &status.wait {
            table.row([
                wait.namespace.clone(),
                retention(wait.retention_seconds),
                count(wait.closed),
                count(wait.open),
            ]);
        }
        parts.push(format!("Waits for records of before dual writes\n{table}"));
    }
    parts
}

/// How many of the compared records were not read, in brackets, where there are such.
pub(super) fn by_digest(records: u64) -> String {
    match records {
        0 => String::new(),
        records => format!(" ({} of them by digests, not read)", count(records)),
    }
}

/// ` (1.2 GB)`: their content, where it was counted.
pub(super) fn of_bytes(bytes: u64) -> String {
    if bytes == 0 {
        String::new()
    } else {
        format!(" ({})", size(bytes))
    }
}

/// Which slices of a pass are done and under way, while there are several; and the one that others may have to wait for.
pub(super) fn slices(slices: &Slices) -> Option<String> {
    if slices.total < 2 || slices.is_over() {
        return None;
    }
    let slowest = slices.slowest().filter(|_| slices.open.len() > 1).and_then(|slice| {
        let end = slice.until.as_deref().unwrap_or("the last key");
        let reached = slice.cursor.as_deref().unwrap_or("the first key");
        Some(format!(
            "; the slowest, {} a second, is at {reached} and ends at {end}",
            count(slice.pace()?)
        ))
    });
    Some(format!(
        "  slices    {} of {} done, {} under way{}",
        count(slices.done.into()),
        count(slices.total.into()),
        count(slices.under_way().into()),
        slowest.unwrap_or_default()
    ))
}

/// What the server wrote anew from its own state, where anything is refreshed at all.
fn refreshed(status: &Status) -> Option<String> {
    if status.refresh.is_none() {
        return None;
    }
    let all = &status.refresh.refreshed;
    Some(format!(
        "  refreshed {} of {} looked at, {} refreshed, {} left to the copy{}",
        count(all.scanned),
        counted(status.refresh.expected, "record"),
        count(all.refreshed),
        count(all.left),
        if all.done { ", done" } else { "" }
    ))
}

/// What became of the target's indexes, where anything was to be done about them.
fn indexes(state: &IndexState) -> Option<String> {
    let words = state
        .words()
        .or_else(|| Some(format!("stay: {}", state.kept.as_ref()?)))?;
    Some(format!("  indexes   {words}"))
}

fn reads(cutover: CutoverProgress) -> &'static str {
    match cutover {
        CutoverProgress::NotBegun => "by every Namespace from the source",
        CutoverProgress::FirstNamespaces => "by the first Namespaces from the target",
        CutoverProgress::FirstSoaked => "by the first Namespaces from the target, soaked",
        CutoverProgress::Everyone => "by every Namespace from the target",
        CutoverProgress::Soaked => "by every Namespace from the target, soaked",
    }
}

/// An activity under way: what it does, how far it is, and why it is tried again.
pub(crate) fn activity_lines(activity: &PendingActivity, now: Timestamp) -> Vec<String> {
    let mut line = activity.name.clone();
    match (activity.started, activity.next_attempt) {
        (_, Some(next)) => line.push_str(&format!(": attempt {} due {}", activity.attempt, time(next, now))),
        (Some(started), None) => line.push_str(&format!(": for {}", span(between(started, now)))),
        (None, None) => match &activity.host {
            Some(host) => line.push_str(&format!(
                ": waits for the worker of host {host}; if none runs there, start one: `crossfade worker --host {host}`"
            )),
            None => line.push_str(": waits for a worker"),
        },
    }
    if activity.attempt > 1 && activity.next_attempt.is_none() {
        line.push_str(&format!(", attempt {}", activity.attempt));
    }
    if let Some(heartbeat) = &activity.heartbeat {
        if !heartbeat.doing.is_empty() {
            line.push_str(&format!(", {}", heartbeat.doing));
        }
        if heartbeat.scanned > 0 {
            line.push_str(&format!(", {} so far", counted(heartbeat.scanned, "record")));
        }
        if let Some(limit) = &heartbeat.limit
            && let Some(because) = &limit.because
        {
            let rate = limit.records_per_second.unwrap_or_default();
            line.push_str(&format!(", slowed down to {} a second: {because}", count(rate.into())));
        }
    }
    let mut lines = vec![line];
    lines.extend(
        activity
            .last_failure
            .as_ref()
            .map(|failure| format!("  failed before: {failure}")),
    );
    lines
}

fn rejected(status: &Status) -> Option<String> {
    let newest: Vec<String> = status
        .rejected
        .iter()
        .rev()
        .take(3)
        .map(|entry| format!("  {} {}: {}", exact_time(entry.at), entry.what, entry.entry))
        .collect();
    (!newest.is_empty()).then(|| format!("Messages that were not taken, the newest first\n{}", newest.join("\n")))
}
