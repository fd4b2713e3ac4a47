//! What a migration will do.

use console::style;
use crossfade_plan::{
    existing,
    indexes::Deferral,
    order::StoreFact,
    plan::{FilePlan, HostPlan, Plan},
};

use super::{
    table::Table,
    words::{count, counted, retention},
};

/// The whole plan.
pub(crate) fn plan(plan: &Plan) -> String {
    let mut parts = vec![
        format!(
            "{} -> {}\n  Temporal Server {}, {}, route {}",
            style(&plan.source_name).bold(),
            style(&plan.target_name).bold(),
            plan.server_version,
            counted(plan.shards.into(), "history shard"),
            plan.route
        ),
        format!("Route\n{}", lines(&plan.route_notes)),
        format!("Stores\n{}", stores(plan)),
        format!("Namespaces\n{}", namespaces(plan)),
        format!("Existing records\n{}", lines(&existing_records(plan))),
        format!(
            "Edits, host by host in the order of their restarts\n\n{}",
            edits(&plan.hosts)
        ),
        format!("Steps\n  {}", plan.steps.join("\n  ")),
        format!(
            "Point of no return\n  {}: until it begins, `crossfade rollback` restores every file byte for byte",
            plan.point_of_no_return
        ),
        format!("Time\n  {}", plan.estimate.lines().join("\n  ")),
    ];
    if !plan.warnings.is_empty() {
        parts.push(format!("{}\n{}", style("Warnings").yellow(), lines(&plan.warnings)));
    }
    parts.join("\n\n")
}

/// How they reach the target, and what it does without meanwhile.
fn existing_records(plan: &Plan) -> Vec<String> {
    let mut lines = existing::lines(&plan.namespaces);
    lines.extend(plan.deferral.as_ref().map(Deferral::line));
    lines
}

fn lines(lines: &[String]) -> String {
    let lines: Vec<String> = lines.iter().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}

fn stores(plan: &Plan) -> String {
    let mut table = Table::new(&["", "NAME", "STORE", "PLUGIN", "SCHEMA", ">RECORDS"]);
    let mut row = |role: &str, name: &str, fact: &StoreFact| {
        table.row([
            role.to_owned(),
            name.to_owned(),
            fact.description.clone(),
            fact.plugin.clone(),
            fact.schema_version.clone().unwrap_or_else(|| "none yet".to_owned()),
            count(fact.records),
        ]);
    };
    row("source", &plan.source_name, &plan.source);
    row("target", &plan.target_name, &plan.target);
    table.to_string()
}

fn namespaces(plan: &Plan) -> String {
    let mut table = Table::new(&["NAMESPACE", ">OPEN", ">CLOSED", ">RETENTION", "ARCHIVAL"]);
    for namespace in &plan.namespaces {
        let archival = match (namespace.history_archival, namespace.visibility_archival) {
            (true, true) => "histories and visibility",
            (true, false) => "histories",
            (false, true) => "visibility",
            (false, false) => "none",
        };
        table.row([
            namespace.name.clone(),
            count(namespace.open),
            count(namespace.closed),
            retention(namespace.retention_seconds),
            archival.to_owned(),
        ]);
    }
    table.to_string()
}

fn edits(hosts: &[HostPlan]) -> String {
    hosts
        .iter()
        .flat_map(|host| host.files.iter().map(|file| edit(&host.name, file)))
        .collect::<Vec<_>>()
        .join("\n\n")
}

fn edit(host: &str, file: &FilePlan) -> String {
    let title = style(format!("{host}, {}: {}", file.stage, file.path)).bold();
    if file.diff.is_empty() {
        return format!("{title}\nno change");
    }
    let diff: Vec<String> = file.diff.lines().map(colored).collect();
    format!("{title}\n{}", diff.join("\n"))
}

/// A line of a unified diff in its usual colour.
fn colored(line: &str) -> String {
    let line = match line.as_bytes().first() {
        Some(b'+') => style(line).green(),
        Some(b'-') => style(line).red(),
        Some(b'@') => style(line).cyan(),
        _ => style(line),
    };
    line.to_string()
}
