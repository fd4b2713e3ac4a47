//! `crossfade start`: start a migration, and say how to follow it.

use crossfade_plan::{spec::Spec, stage::Gate};
use serde_json::json;

use super::watch;
use crate::{
    cli::{Global, Start},
    connection::Place,
    exit::{Exit, Outcome},
    migration::Migration,
    render,
    spec_file::SpecFile,
};

pub(super) async fn run(global: &Global, args: &Start) -> Outcome {
    let read = SpecFile::read(&args.file)?;
    let migration = Migration::find(&global.connection, &args.migration.id).await?;
    let summary = format!("Visibility store -> {}", read.spec.target.name);
    let run_id = migration.start(&read.json, summary, details(&read.spec)).await?;
    if global.json {
        render::json(&json!({
            "migration": migration.id(),
            "run_id": run_id,
            "address": migration.place().address,
            "namespace": migration.place().namespace,
        }));
    } else {
        render::text(format!(
            "started `{}` (run {run_id}) on {}",
            migration.id(),
            migration.place()
        ));
        render::text(how_to_follow(migration.id(), migration.place(), &read.spec));
    }
    if args.watch {
        watch::until_the_end(global, &migration).await
    } else {
        Ok(Exit::Done)
    }
}

/// What the Temporal UI shows of the migration.
fn details(spec: &Spec) -> String {
    let hosts: Vec<&str> = spec.cluster.hosts.iter().map(|host| host.name.as_str()).collect();
    let gates: Vec<String> = spec.gates.iter().map(Gate::to_string).collect();
    format!(
        "Crossfade moves the Visibility store of the cluster at `{}` to `{}`.\n\n- hosts: {}\n- gates: {}\n\n\
         `crossfade watch` shows it live; the queries are `status`, `plan`, `audit` and `report`.",
        spec.cluster.frontend,
        spec.target.name,
        hosts.join(", "),
        if gates.is_empty() {
            "none".to_owned()
        } else {
            gates.join(", ")
        }
    )
}

/// The commands to follow and to steer it, each as it can be pasted.
fn how_to_follow(id: &str, place: &Place, spec: &Spec) -> String {
    let Place { address, namespace } = place;
    let tctl = format!("tctl --address {address} --namespace {namespace} workflow");
    let temporal = format!("--address {address} --namespace {namespace} --workflow-id {id}");
    let mut lines = vec![
        "Follow it:".to_owned(),
        format!("  crossfade watch --id {id}"),
        format!("  {tctl} query -w {id} -qt status"),
        format!("  temporal workflow query {temporal} --type status"),
    ];
    if let Some(gate) = spec.gates.first() {
        lines.extend([
            format!("Open its first gate, `{gate}`, when you have read the plan (`crossfade plan --id {id}`):"),
            format!("  crossfade approve {gate} --id {id}"),
            format!("  {tctl} signal -w {id} -n approve -i '\"{gate}\"'"),
            format!("  temporal workflow signal {temporal} --name approve --input '\"{gate}\"'"),
        ]);
    }
    lines.join("\n")
}
