//! A worker may be killed between doing a piece of work and telling of it, so each piece is done again one day: the
//! second time changes nothing and gives the same answer.

use std::{collections::BTreeSet, fmt::Debug, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use crossfade_cluster::{host_lock, lock};
use crossfade_plan::{
    drift::Drift,
    order::{
        Answers, CompareRecords, Compared, Copied, CopyRecords, FinalCheck, FinallyChecked, Heartbeat, InspectHost,
        PrepareTarget, ProveReads, ProveWrites, ReadsProven, WritesProven,
    },
    problem::Code,
    settings::{DynamicConfig, HostConfig, Reads, WritingMode},
    throttle::Throttle,
};
use e2e::{migration::Files, testbed::NAMESPACE, traffic::Traffic};

use super::{
    super::{
        beat::Beat,
        comparing, copying, finishing, frontend, host_files,
        hosts::{self, Turns},
        kept_orders, reads, stores, target, writes,
    },
    scene::{CONTROL, HostLook, Scene, keys, several, until},
    throttled, waited,
};

const ID: &str = "twice";

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_done_again_changes_nothing_and_answers_the_same() -> Result<()> {
    let scene = Scene::begin().await?;
    let before = Files::of(&scene.testbed)?;
    let traffic = Traffic::begin(scene.testbed.frontend(), NAMESPACE).await?;
    traffic.existing(60).await?;
    drop(traffic.end());

    the_lock_is_taken_once(&scene).await?;
    looking_changes_nothing(&scene).await?;
    before.are_unchanged()?;

    dynamic(&scene, keys(WritingMode::Off, Reads::Source)).await?;
    dynamic(&scene, keys(WritingMode::Dual, Reads::Source)).await?;
    configured(&scene, HostConfig::Dual).await?;
    let dual_since = canaries_leave_no_trace(&scene, "dual", true).await?.at;
    another_clusters_store_is_no_target(&scene).await?;
    super::refreshed::what_the_target_lacks_is_refreshed_once(&scene, ID).await?;
    a_copy_goes_on_where_it_was(&scene).await?;
    drift_is_repaired_once(&scene).await?;
    waited::the_wait_is_read(&scene, ID, dual_since).await?;

    reads_proven(&scene, None, Answers::Source).await?;
    let some = BTreeSet::from([NAMESPACE.to_owned()]);
    dynamic(&scene, keys(WritingMode::Dual, Reads::Some(some.clone()))).await?;
    reads_proven(&scene, Some(some), Answers::Target).await?;
    dynamic(&scene, keys(WritingMode::Dual, Reads::Target)).await?;
    reads_proven(&scene, None, Answers::Target).await?;

    configured(&scene, HostConfig::Promoted).await?;
    dynamic(&scene, DynamicConfig::Removed).await?;
    canaries_leave_no_trace(&scene, "promoted", false).await?;
    the_final_check_finds_what_is_missing(&scene).await?;

    configured(&scene, HostConfig::Original).await?;
    dynamic(&scene, keys(WritingMode::Off, Reads::Source)).await?;
    dynamic(&scene, DynamicConfig::Original).await?;
    before.are_unchanged()?;
    the_lock_is_given_back_once(&scene).await?;
    scene.testbed.finish()
}

/// The answer of both runs, which is the same.
fn same<T: PartialEq + Debug>(first: T, second: T) -> Result<T> {
    ensure!(
        first == second,
        "the first run answered {first:?}, the second {second:?}"
    );
    Ok(first)
}

async fn the_lock_is_taken_once(scene: &Scene) -> Result<()> {
    let context = scene.context(ID)?;
    let cluster = frontend::open(&context.spec).await?;
    frontend::take_lock(&context, CONTROL.to_owned(), None).await?;
    let first = lock::holder(&cluster, None).await?;
    ensure!(
        first.as_ref().is_some_and(|holder| holder.owner.workflow_id == ID),
        "{first:?}"
    );
    frontend::take_lock(&context, CONTROL.to_owned(), None).await?;
    same(first, lock::holder(&cluster, None).await?)?;
    let another = scene.context("another")?;
    for _ in 0..2 {
        let Err(refused) = frontend::take_lock(&another, CONTROL.to_owned(), None).await else {
            bail!("two have the lock")
        };
        ensure!(
            refused.code == Code::MigrationRunning && refused.message.contains(ID),
            "{refused}"
        );
        // Not the other's to give back.
        frontend::release_lock(&another, CONTROL.to_owned()).await?;
    }
    Ok(())
}

async fn the_lock_is_given_back_once(scene: &Scene) -> Result<()> {
    let context = scene.context(ID)?;
    let cluster = frontend::open(&context.spec).await?;
    for _ in 0..2 {
        frontend::release_lock(&context, CONTROL.to_owned()).await?;
        ensure!(lock::holder(&cluster, None).await?.is_none(), "the lock is still held");
    }
    Ok(())
}

async fn looking_changes_nothing(scene: &Scene) -> Result<()> {
    let order = scene.configure(ID, HostConfig::Original)?;
    let context = order.context.clone();
    let cluster = same(frontend::inspect(&context).await?, frontend::inspect(&context).await?)?;
    ensure!(
        cluster.version == "1.30.8" && cluster.visibility_stores.len() == 1,
        "{cluster:?}"
    );
    let look = InspectHost {
        context: context.clone(),
        host: order.host,
    };
    let look = async || host_files::inspect(&look).await.map_err(several);
    ensure!(same(look().await?, look().await?)?.source == "visibility");
    let stores = same(
        stores::inspect(&context, &cluster.version).await.map_err(several)?,
        stores::inspect(&context, &cluster.version).await.map_err(several)?,
    )?;
    ensure!(
        stores.source.records >= 60 && stores.target.schema_version.is_none(),
        "{stores:?}"
    );
    let prepare = PrepareTarget {
        context,
        server_version: cluster.version,
    };
    same(
        target::prepare(&prepare).await.map_err(several)?,
        target::prepare(&prepare).await.map_err(several)?,
    )?;
    Ok(())
}

/// The dynamic config file brought to a state, twice.
async fn dynamic(scene: &Scene, to: DynamicConfig) -> Result<()> {
    let order = scene.dynamic(ID, to)?;
    let first = host_files::set_dynamic(&order).await?;
    let look = scene.host()?;
    let second = host_files::set_dynamic(&order).await?;
    ensure!(
        first.edited && !second.edited && first.path == second.path,
        "{first:?}, {second:?}"
    );
    ensure!(look == scene.host()?, "the second time touched the file");
    Ok(())
}

/// An order for a host whose files another worker is at: it waits, says for whom, and is carried out when that one is gone.
async fn waited_for_the_other_worker(scene: &Scene, to: HostConfig) -> Result<()> {
    let order = scene.configure(ID, to)?;
    let folder = kept_orders::folder_of(Path::new(&order.host.config));
    let held = host_lock::hold(&folder, &order.host.name, Duration::ZERO, |_| ()).await?;
    let look = scene.host()?;
    let (turns, beat) = (Turns::default(), Beat::default());
    let owner = format!("waiting for another worker: process {} ", std::process::id());
    let (done, waited) = tokio::join!(hosts::configure(&order, &turns, &beat), async {
        let waited = until("the other worker is named", || Ok(beat.now().doing.contains(&owner))).await;
        let touched = look != scene.host()?;
        drop(held);
        waited.map(|()| touched)
    });
    ensure!(!waited?, "the host was touched while another worker was at it");
    ensure!(!done?.edited, "it was configured before");
    Ok(())
}

/// The host brought to a config, by two attempts at once and by a later one of another worker: restarted once.
async fn configured(scene: &Scene, to: HostConfig) -> Result<()> {
    let order = scene.configure(ID, to)?;
    let HostLook { pid: former, .. } = scene.host()?;
    let (turns, beat) = (Turns::default(), Beat::default());
    let (one, other) = tokio::join!(
        hosts::configure(&order, &turns, &beat),
        hosts::configure(&order, &turns, &beat)
    );
    let (first, second) = (one?, other?);
    let look = scene.host()?;
    ensure!(
        first.edited && first.restarted && look.pid != former,
        "{first:?}, {look:?}"
    );
    ensure!(!second.edited && !second.restarted, "{second:?}");
    let third = hosts::configure(&order, &Turns::default(), &Beat::default()).await?;
    ensure!(!third.edited && !third.restarted, "{third:?}");
    ensure!(look == scene.host()?, "the host was touched again");
    waited_for_the_other_worker(scene, to).await?;
    let stores = frontend::inspect(&order.context).await?.visibility_stores.len();
    ensure!(
        stores == if to == HostConfig::Dual { 2 } else { 1 },
        "{stores} stores after {to:?}"
    );
    Ok(())
}

async fn canaries_leave_no_trace(scene: &Scene, proof: &str, source: bool) -> Result<WritesProven> {
    let context = scene.context(ID)?;
    let order = ProveWrites {
        context,
        proof: proof.to_owned(),
        shards: 4,
        source,
        target: true,
        attributes: None,
    };
    let first = writes::prove(&order, &Beat::default()).await?;
    let second = writes::prove(&order, &Beat::default()).await?;
    ensure!(first.canaries == 4 && second.canaries == 4, "{first:?}, {second:?}");
    let (source, target) = (scene.source()?, scene.target()?);
    let gone = || Ok(source.count("crossfade-canary")? + target.count("crossfade-canary")? == 0);
    until("every canary is gone from both stores", gone).await?;
    Ok(first)
}

async fn another_clusters_store_is_no_target(scene: &Scene) -> Result<()> {
    let (context, target) = (scene.context(ID)?, scene.target()?);
    let inspect = async || stores::inspect(&context, "1.30.8").await;
    let fill = CopyRecords {
        context: context.clone(),
        cursor: None,
        until: None,
        records_per_second: None,
        throttle: Throttle::default(),
        budget_seconds: 60,
    };
    copying::run(&fill, &Beat::default()).await?;
    inspect().await.map_err(several)?;
    let run = target.closed("order-", 1)?.first().context("no closed order")?.clone();
    let stranger = "11111111-2222-3333-4444-555555555555";
    target.forge(&run, "namespace_id", stranger)?;
    for _ in 0..2 {
        let Err(problems) = inspect().await else {
            bail!("a stranger's record was not seen")
        };
        ensure!(
            problems.iter().any(|problem| problem.code == Code::TargetNotEmpty),
            "{problems:?}"
        );
        ensure!(
            problems.iter().any(|problem| problem.message.contains(stranger)),
            "{problems:?}"
        );
    }
    let removed = target.change("DELETE FROM executions_visibility WHERE namespace_id = ?1", stranger)?;
    ensure!(removed == 1, "{removed} removed");
    Ok(())
}

async fn a_copy_goes_on_where_it_was(scene: &Scene) -> Result<()> {
    let (source, target) = (scene.source()?, scene.target()?);
    target.change("DELETE FROM executions_visibility", "")?;
    let all = u64::try_from(source.rows()?.len())?;
    let order = |records_per_second, budget_seconds| -> Result<CopyRecords> {
        Ok(CopyRecords {
            context: scene.context(ID)?,
            cursor: None,
            until: None,
            records_per_second,
            throttle: Throttle::default(),
            budget_seconds,
        })
    };
    // Stopped at once, as by a pause: the pages that are under way are finished.
    let beat = Beat::default();
    let part = copying::run(&order(Some(20), 0)?, &beat).await?;
    ensure!(
        !part.done && (20..all).contains(&part.scanned) && part.written == part.scanned && part.cursor.is_some(),
        "{part:?}"
    );
    let left = beat.now();
    ensure!(left.cursor == part.cursor && left.scanned == part.scanned, "{left:?}");
    // The attempt that follows goes on from its heartbeat and tells of both.
    let rest = copying::run(&order(None, 60)?, &Beat::resuming(left)).await?;
    ensure!(
        rest.done && rest.scanned == all && rest.written == all && rest.withdrawn == 0,
        "{rest:?} of {all}"
    );
    ensure!(target.rows()? == source.rows()?, "the rows differ after the copy");
    a_slice_is_copied_alone(scene).await?;
    throttled::what_is_not_seen_is_told_beforehand(scene, ID).await?;
    throttled::what_cannot_see_the_pressure_goes_slowly(scene, ID).await?;
    // One whose heartbeat was lost begins again and finds nothing to do; so does one with a heartbeat that makes no sense.
    for heartbeat in [
        Heartbeat::default(),
        Heartbeat {
            cursor: Some("nonsense".to_owned()),
            ..Heartbeat::default()
        },
    ] {
        let Copied {
            done,
            scanned,
            written,
            withdrawn,
            ..
        } = copying::run(&order(None, 60)?, &Beat::resuming(heartbeat)).await?;
        ensure!(
            (done, scanned, written, withdrawn) == (true, all, 0, 0),
            "{scanned} scanned, {written} written"
        );
    }
    Ok(())
}

/// The slices on both sides of a cut hold all records, each once; the first of them stopped says where to cut it in two.
async fn a_slice_is_copied_alone(scene: &Scene) -> Result<()> {
    let (source, target) = (scene.source()?, scene.target()?);
    target.change("DELETE FROM executions_visibility", "")?;
    let all = u64::try_from(source.rows()?.len())?;
    let facts = stores::inspect(&scene.context(ID)?, "1.30.8").await.map_err(several)?;
    ensure!(facts.cuts.is_empty(), "{:?} for {all} records", facts.cuts);
    let namespace = facts
        .namespaces
        .iter()
        .max_by_key(|namespace| namespace.open + namespace.closed);
    let cut = format!("{}/8", namespace.context("no Namespace")?.namespace_id);
    let order =
        |cursor: Option<&str>, until: Option<&str>, records_per_second, budget_seconds| -> Result<CopyRecords> {
            Ok(CopyRecords {
                context: scene.context(ID)?,
                cursor: cursor.map(ToOwned::to_owned),
                until: until.map(ToOwned::to_owned),
                records_per_second,
                throttle: Throttle::default(),
                budget_seconds,
            })
        };
    let begun = copying::run(&order(None, Some(&cut), Some(5), 0)?, &Beat::default()).await?;
    let (cursor, middle) = (begun.cursor.context("no cursor")?, begun.middle.context("no middle")?);
    ensure!(
        !begun.done && cursor < middle && middle < cut && begun.bytes > 0,
        "{cursor} {middle} {cut}"
    );
    let rest = copying::run(&order(Some(&cursor), Some(&cut), None, 60)?, &Beat::default()).await?;
    let second = copying::run(&order(Some(&cut), None, None, 60)?, &Beat::default()).await?;
    ensure!(rest.done && rest.middle.is_none() && second.done, "{rest:?} {second:?}");
    let written = [begun.written, rest.written, second.written];
    ensure!(
        written.iter().sum::<u64>() == all && !written.contains(&0),
        "{written:?} of {all}"
    );
    ensure!(target.rows()? == source.rows()?, "the rows differ after the copy");
    Ok(())
}

async fn drift_is_repaired_once(scene: &Scene) -> Result<()> {
    let (source, target) = (scene.source()?, scene.target()?);
    let runs = source.closed("order-", 4)?;
    let [missing, stale, different, extra] = runs.as_slice() else {
        bail!("too few closed orders: {runs:?}")
    };
    let forged = "99999999-9999-4999-8999-999999999999";
    let changed = target.change("DELETE FROM executions_visibility WHERE run_id = ?1", missing)?
        + target.change(
            "UPDATE executions_visibility SET _version = _version - 1, status = 1 WHERE run_id = ?1",
            stale,
        )?
        + target.change(
            "UPDATE executions_visibility SET workflow_type_name = 'Other' WHERE run_id = ?1",
            different,
        )?;
    ensure!(changed == 3, "{changed} rows changed");
    target.forge(extra, "run_id", forged)?;

    let order = |repair| -> Result<CompareRecords> {
        Ok(CompareRecords {
            context: scene.context(ID)?,
            cursor: None,
            until: None,
            repair,
            refresh: Default::default(),
            attributes: None,
            throttle: Throttle::default(),
            round: 1,
            budget_seconds: 60,
        })
    };
    let each = Drift {
        missing: 1,
        stale: 1,
        different: 1,
        extra: 1,
    };
    let looked = comparing::run(&order(false)?, &Beat::default()).await?;
    ensure!(
        looked.done && looked.drift == each && looked.repaired == 0,
        "{looked:?}"
    );
    let beat = Beat::default();
    let repaired = comparing::run(&order(true)?, &beat).await?;
    ensure!(
        repaired.done && repaired.drift == each && repaired.repaired == 4,
        "{repaired:?}"
    );
    ensure!((beat.now().drift, beat.now().repaired) == (each, 4), "{:?}", beat.now());
    for sample in [missing, stale, different, &forged.to_owned()] {
        ensure!(
            repaired.samples.iter().any(|told| told.contains(sample)),
            "{sample} is not in {:?}",
            repaired.samples
        );
    }
    ensure!(target.rows()? == source.rows()?, "the rows differ after the repair");
    let again = comparing::run(&order(true)?, &Beat::default()).await?;
    let clean = Compared {
        drift: Drift::default(),
        repaired: 0,
        samples: Vec::new(),
        millis: again.millis,
        ..repaired
    };
    same(clean, again)?;
    ensure!(
        target.rows()? == source.rows()?,
        "the rows differ after a second repair"
    );
    Ok(())
}

async fn reads_proven(scene: &Scene, namespaces: Option<BTreeSet<String>>, from: Answers) -> Result<()> {
    let order = ProveReads {
        context: scene.context(ID)?,
        namespaces,
        from,
    };
    let first: ReadsProven = reads::prove(&order, &Beat::default()).await?;
    let proven = same(first, reads::prove(&order, &Beat::default()).await?)?;
    ensure!(proven.counted >= 60, "{proven:?}");
    let markers = scene.source()?.count("crossfade-marker")? + scene.target()?.count("crossfade-marker")?;
    ensure!(markers == 0, "{markers} markers stay");
    Ok(())
}

async fn the_final_check_finds_what_is_missing(scene: &Scene) -> Result<()> {
    let order = FinalCheck {
        context: scene.context(ID)?,
    };
    let check = async || -> Result<FinallyChecked> {
        let first = finishing::check(&order, &Beat::default()).await?;
        same(first, finishing::check(&order, &Beat::default()).await?)
    };
    let whole = check().await?;
    ensure!(whole.missing == 0 && whole.records >= 60, "{whole:?}");
    let (source, target) = (scene.source()?, scene.target()?);
    let run = source.closed("order-", 1)?.first().context("no closed order")?.clone();
    target.change("DELETE FROM executions_visibility WHERE run_id = ?1", &run)?;
    // One that the cluster itself no longer knows was deleted since, and is not missed.
    source.forge(&run, "run_id", "99999999-9999-4999-8999-999999999999")?;
    let short = check().await?;
    let expected = FinallyChecked {
        records: whole.records - 1,
        missing: 1,
        deleted_since: whole.deleted_since + 1,
    };
    ensure!(short == expected, "{short:?}, not {expected:?}");
    Ok(())
}
