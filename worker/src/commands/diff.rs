//! `crossfade diff`: compare two stores, without a workflow; say who is right, and put right what differs.

mod cursor_file;
mod findings;
mod scope;
mod truth;

use std::{collections::BTreeSet, time::Instant};

use crossfade_visibility::{
    compare::{self, Means, Options, Progress},
    copy::Step,
    ports::{Range, Target},
    record::Key,
    repair::{Repaired, repair},
    sameness::Class,
};

use self::{cursor_file::CursorFile, findings::Findings, scope::Scope, truth::Witness};
use super::stores;
use crate::{
    cli::{Diff, Global},
    exit::{Exit, Failure, Outcome},
    render::{self, live::RecordsView},
};

const CLASSES: [Class; 4] = [Class::Missing, Class::Stale, Class::Different, Class::Extra];

/// Records that are put right at a time.
const PAGE: usize = 1_000;

/// A share of the target's records, one in so many, that is never deleted at one's word alone.
const DELETED_AT_MOST: u64 = 10;

pub(super) async fn run(global: &Global, args: &Diff) -> Outcome {
    // Before the work, so that a long comparison does not end in a file that cannot be made.
    let out = args.out.as_deref().map(findings::create).transpose()?;
    let witness = match &args.truth {
        Some(address) => Some(Witness::connect(&global.connection, Some(address), "--truth").await?),
        None => None,
    };
    let pair = stores::open(&args.stores).await?;
    let (source, target) = (pair.from.read(), pair.to.read());
    let scope = Scope::of(global, args, source.as_ref(), target.as_ref()).await?;
    let mut options = Options {
        digests: args.digest,
        // The parts of a sample are small and lie far from each other; and who wants to go on later needs to know how far
        // this one came, which it only knows at its end.
        at_once: args.sample.is_none() && args.resume.is_none(),
        since: args.since,
        page: scope.page,
        ..Options::default()
    };
    if out.is_some() || witness.is_some() || args.repair.is_some() {
        options.sample = usize::MAX;
    }
    let began = Instant::now();
    let named = args.repair.as_ref().filter(|runs| !runs.is_empty());
    let progress = match named {
        Some(runs) => {
            let keys = scope.keys(runs);
            let looked = compare::look_at(source.as_ref(), target.as_ref(), Means::default(), &keys, options).await;
            let progress = looked.map_err(|error| stores::failure(&error))?;
            if progress.source_records + progress.target_records == 0 {
                return Err(Failure::refused(format!(
                    "--repair: neither store has a record of {}; expected run ids. Next step: take them from \
                     `crossfade diff --out FILE`",
                    runs.join(", ")
                )));
            }
            progress
        }
        None => compared(args, &pair, &scope, options).await?,
    };
    let mut findings = Findings::new(progress, began.elapsed(), args, &scope);
    if let Some(witness) = &witness {
        findings.verdicts = witness
            .judge(source.as_ref(), target.as_ref(), &findings.keys())
            .await?;
    }
    if args.repair.is_some() {
        let wanted: BTreeSet<Key> = findings.to_repair();
        if named.is_none() {
            refuse_many_deletes(&findings)?;
        }
        let wanted: Vec<Key> = wanted.into_iter().collect();
        let write = pair.to.write();
        let to = Target {
            read: target.as_ref(),
            write: write.as_ref(),
        };
        let mut repaired = Repaired::default();
        for keys in wanted.chunks(PAGE) {
            let done = repair(source.as_ref(), to, keys, PAGE).await;
            repaired.add(done.map_err(|error| stores::failure(&error))?);
        }
        let all = findings.keys();
        let looked = compare::look_at(source.as_ref(), target.as_ref(), Means::default(), &all, options).await;
        let left = looked.map_err(|error| stores::failure(&error))?.drift.total();
        findings.repaired = Some((repaired, left));
    }
    if let (Some(file), Some(path)) = (out, args.out.as_deref()) {
        findings
            .write_all(file)
            .map_err(|error| findings::cannot_write(path, &error))?;
    }
    if global.json {
        render::json(&findings.answer());
    } else {
        let pair = format!("{} -> {}", pair.from.describe(), pair.to.describe());
        render::text(format!("{pair}\n{}", findings.for_people()));
    }
    Ok(if findings.left() == 0 { Exit::Done } else { Exit::Drift })
}

/// Compares what the arguments ask for, from where an earlier run was stopped if there is a file of one.
async fn compared(args: &Diff, pair: &stores::Pair, scope: &Scope, options: Options) -> Result<Progress, Failure> {
    let (source, target) = (pair.from.read(), pair.to.read());
    let question = scope.question(
        args,
        &pair.from.describe(),
        &pair.to.describe(),
        options.sample == usize::MAX,
    );
    let file = args.resume.as_ref().map(|path| CursorFile::new(path, question));
    let mut progress = match &file {
        Some(file) => file.read()?.unwrap_or_default(),
        None => Progress::default(),
    };
    let options = Options {
        since: file.as_ref().map_or(options.since, |file| file.since(options.since)),
        ..options
    };
    let view = RecordsView::new("compared", scope.records);
    let mut trouble = None;
    let mut show = |progress: &Progress| {
        view.show(
            progress.source_records + progress.ahead,
            format!("{} differ", render::count(progress.drift.total())),
        );
        match file.as_ref().map(|file| file.write(progress, options.since)) {
            Some(Err(failure)) => {
                trouble = Some(failure);
                Step::Stop
            }
            _ => Step::Continue,
        }
    };
    for range in &scope.ranges {
        let outcome = compare::compare(
            source.as_ref(),
            target.as_ref(),
            None,
            range,
            progress,
            options,
            &mut show,
        );
        let outcome = outcome.await.map_err(|error| stores::failure(&error))?;
        progress = outcome.progress;
        if !outcome.finished {
            break;
        }
    }
    drop(view);
    if let Some(failure) = trouble {
        return Err(failure);
    }
    if let Some(file) = &file {
        file.remove()?;
    }
    Ok(progress)
}

/// Two stores given the wrong way round would lose what only the better one has.
fn refuse_many_deletes(findings: &Findings) -> Result<(), Failure> {
    let (extra, held) = (findings.progress.drift.extra.count, findings.progress.target_records);
    if extra < PAGE as u64 / 10 || extra.saturating_mul(DELETED_AT_MOST) < held {
        return Ok(());
    }
    Err(Failure::refused(format!(
        "--repair: {extra} of the {held} records of --to are not in --from and would be deleted; expected less than one in \
         {DELETED_AT_MOST}. Next step: see that --from is the store that is right, then repair by run ids, or copy what is \
         missing with `crossfade copy`"
    )))
}

/// Everything.
fn whole() -> Vec<Range> {
    vec![Range::default()]
}
