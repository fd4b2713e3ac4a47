//! What was done, and who did what when.

use crossfade_plan::{progress::AuditEntry, report::Report};

use super::{
    status::{by_digest, config, of_bytes, words_of},
    table::Table,
    words::{between, count, exact_time, span},
};

/// The report, without the audit log.
pub(crate) fn report(report: &Report) -> String {
    let result = report
        .result
        .as_ref()
        .map_or("it goes on; this is how it stands", words_of);
    let mut parts = vec![
        format!("{}  {result}", console::style(&report.migration).bold()),
        facts(report)
            .into_iter()
            .map(|(name, value)| format!("  {name:<18}  {value}"))
            .collect::<Vec<_>>()
            .join("\n"),
    ];
    for (title, table) in [
        ("Stages", stages(report)),
        ("Hosts", hosts(report)),
        ("Approvals", approvals(report)),
    ] {
        if !table.is_empty() {
            parts.push(format!("{title}\n{table}"));
        }
    }
    if !report.next_steps.is_empty() {
        parts.push(format!("Next steps\n  {}", report.next_steps.join("\n  ")));
    }
    parts.join("\n\n")
}

/// The facts of a report, by name.
pub(super) fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let unknown = || "not known yet".to_owned();
    let drift = if report.drift.is_clean() {
        "none".to_owned()
    } else {
        report.drift.to_string()
    };
    let mut facts = vec![
        ("began", exact_time(report.began)),
        ("server", report.server_version.clone().unwrap_or_else(unknown)),
        ("from", report.source.clone().unwrap_or_else(unknown)),
        ("to", report.target.clone().unwrap_or_else(unknown)),
        (
            "dual writes since",
            report.dual_since.map_or_else(|| "not yet".to_owned(), exact_time),
        ),
        (
            "records copied",
            format!("{}{}", count(report.copied), of_bytes(report.copied_bytes)),
        ),
        (
            "records compared",
            format!("{}{}", count(report.compared), by_digest(report.by_digest)),
        ),
        ("records repaired", count(report.repaired)),
        ("drift", drift),
    ];
    facts.extend(report.gaps.iter().map(|gap| ("gap", gap.words())));
    facts.extend(report.indexes.clone().map(|words| ("target's indexes", words)));
    if !report.accepted_drift.is_empty() {
        let classes: Vec<String> = report.accepted_drift.iter().map(ToString::to_string).collect();
        facts.push((
            "accepted drift",
            format!("{} (accepted by an operator)", classes.join(", ")),
        ));
    }
    facts.extend(report.records.map(|records| ("records at the end", count(records))));
    facts.push(("gates approved", report.gates_approved.to_string()));
    facts
}

/// Each stage: its name, when it began, and how long it took.
pub(super) fn stage_rows(report: &Report) -> Vec<[String; 3]> {
    report
        .stages
        .iter()
        .map(|timing| {
            let took = timing
                .ended
                .map_or_else(|| "not done".to_owned(), |ended| span(between(timing.began, ended)));
            [timing.stage.to_string(), exact_time(timing.began), took]
        })
        .collect()
}

/// Each host: its name, the config it was proven to run with, and how long its last restart took.
pub(super) fn host_rows(report: &Report) -> Vec<[String; 3]> {
    report
        .hosts
        .iter()
        .map(|host| {
            let restart = host
                .restart_millis
                .map(|millis| span(std::time::Duration::from_millis(millis)));
            [host.name.clone(), config(host.config), restart.unwrap_or_default()]
        })
        .collect()
}

/// Each approval: the gate, by whom, what drift was accepted, and why.
pub(super) fn approval_rows(report: &Report) -> Vec<[String; 4]> {
    report
        .approvals
        .iter()
        .map(|approval| {
            let classes: Vec<String> = approval.accept_drift.iter().map(ToString::to_string).collect();
            [
                approval.gate.to_string(),
                approval.by.clone().unwrap_or_else(|| "someone".to_owned()),
                classes.join(", "),
                approval.note.clone().unwrap_or_default(),
            ]
        })
        .collect()
}

fn stages(report: &Report) -> Table {
    filled(&["STAGE", "BEGAN", ">TOOK"], stage_rows(report))
}

fn hosts(report: &Report) -> Table {
    filled(&["HOST", "CONFIG", ">RESTART"], host_rows(report))
}

fn approvals(report: &Report) -> Table {
    filled(&["GATE", "BY", "ACCEPTED DRIFT", "NOTE"], approval_rows(report))
}

/// The audit log.
pub(crate) fn audit(entries: &[AuditEntry]) -> String {
    let rows = entries.iter().map(|entry| {
        let taken = if entry.taken { "" } else { "not taken" };
        [
            exact_time(entry.at),
            entry.what.clone(),
            taken.to_owned(),
            entry.entry.clone(),
        ]
    });
    filled(&["WHEN", "WHAT", "", "ENTRY"], rows).to_string()
}

fn filled<const N: usize>(header: &[&str; N], rows: impl IntoIterator<Item = [String; N]>) -> Table {
    let mut table = Table::new(header);
    for row in rows {
        table.row(row);
    }
    table
}
