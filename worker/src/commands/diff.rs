//! `crossfade diff`: compare every record of two stores, without a workflow.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    time::Instant,
};

use crossfade_visibility::{
    compare::{self, Drift, Drifted, Progress},
    copy::Step,
    ports::Range,
    sameness::Class,
};
use serde_json::{Value, json};

use super::stores;
use crate::{
    cli::{Diff, Global},
    exit::{Exit, Failure, Outcome},
    render::{self, Table, live::RecordsView},
};

const CLASSES: [Class; 4] = [Class::Missing, Class::Stale, Class::Different, Class::Extra];

pub(super) async fn run(global: &Global, args: &Diff) -> Outcome {
    // Before the work, so that a long comparison does not end in a file that cannot be made.
    let out = args.out.as_deref().map(create).transpose()?;
    let pair = stores::open(&args.stores).await?;
    let (source, target) = (pair.from.read(), pair.to.read());
    let expected = source.count(None).await.map_err(|error| stores::failure(&error))?;
    let view = RecordsView::new("compared", expected.values().map(|count| count.total()).sum());
    let mut show = |progress: &Progress| {
        view.show(
            progress.source_records,
            format!("{} differ", render::count(progress.drift.total())),
        );
        Step::Continue
    };
    let mut options = compare::Options::default();
    if out.is_some() {
        options.sample = usize::MAX;
    }
    let began = Instant::now();
    let compared = compare::compare(
        source.as_ref(),
        target.as_ref(),
        None,
        &Range::default(),
        Progress::default(),
        options,
        &mut show,
    )
    .await;
    drop(view);
    let progress = compared.map_err(|error| stores::failure(&error))?.progress;
    if let (Some(file), Some(path)) = (out, args.out.as_deref()) {
        write_all(file, &progress.drift).map_err(|error| cannot_write(path, &error))?;
    }
    if global.json {
        render::json(&answer(&progress, began.elapsed().as_secs_f64()));
    } else {
        let pair = format!("{} -> {}", pair.from.describe(), pair.to.describe());
        render::text(format!("{pair}\n{}", for_people(&progress, began.elapsed())));
    }
    Ok(if progress.drift.total() == 0 {
        Exit::Done
    } else {
        Exit::Drift
    })
}

fn create(path: &Path) -> Result<File, Failure> {
    File::create(path).map_err(|error| cannot_write(path, &error))
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("{} cannot be written: {error}", path.display()))
}

fn write_all(file: File, drift: &Drift) -> std::io::Result<()> {
    let mut file = BufWriter::new(file);
    for drifted in CLASSES.into_iter().flat_map(|class| &drift.of(class).sample) {
        writeln!(file, "{}", line(drifted))?;
    }
    file.flush()
}

/// One record that differs: which, and how; never its content.
fn line(drifted: &Drifted) -> Value {
    json!({
        "class": drifted.class.label(),
        "namespace_id": drifted.key.namespace_id,
        "run_id": drifted.key.run_id,
        "columns": drifted.columns,
        "source_version": drifted.source_version,
        "target_version": drifted.target_version,
    })
}

fn answer(progress: &Progress, took: f64) -> Value {
    let drift: serde_json::Map<String, Value> = CLASSES
        .into_iter()
        .map(|class| (class.label().to_owned(), progress.drift.of(class).count.into()))
        .collect();
    let sample: Vec<Value> = CLASSES
        .into_iter()
        .flat_map(|class| progress.drift.of(class).sample.iter().take(20))
        .map(line)
        .collect();
    json!({
        "source_records": progress.source_records,
        "target_records": progress.target_records,
        "drift": drift,
        "sample": sample,
        "seconds": took,
    })
}

fn for_people(progress: &Progress, took: std::time::Duration) -> String {
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
        render::span(took)
    );
    if !namespaces.is_empty() {
        text.push_str(&format!("\n\n{namespaces}"));
    }
    if progress.drift.total() == 0 {
        return format!("{text}\n\nno drift");
    }
    let mut sample = Table::new(&["CLASS", "NAMESPACE", "RUN", "COLUMNS"]);
    for drifted in CLASSES
        .into_iter()
        .flat_map(|class| progress.drift.of(class).sample.iter().take(5))
    {
        sample.row([
            drifted.class.label().to_owned(),
            drifted.key.namespace_id.clone(),
            drifted.key.run_id.clone(),
            drifted.columns.join(", "),
        ]);
    }
    let counts: Vec<String> = CLASSES
        .into_iter()
        .map(|class| format!("{} {}", render::count(progress.drift.of(class).count), class.label()))
        .collect();
    format!("{text}\n\ndrift: {}; some of it:\n{sample}", counts.join(", "))
}
