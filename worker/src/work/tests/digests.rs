//! Verify by digests: on real databases, in slices, under traffic, and where nothing but reading is right.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use crossfade_plan::{
    drift::Drift,
    order::{CompareRecords, Compared},
    spec::VerifyBy,
    throttle::Throttle,
};
use e2e::servers::{postgres::Postgres, processes::Processes};
use tokio::sync::oneshot;

use super::{
    super::{beat::Beat, comparing},
    set_aside::{Pair, SOURCE, TARGET},
};

/// Records of both Namespaces, a tenth of them in the first.
const RECORDS: u64 = 6_000;

/// The Namespaces, in the order of their ids.
const FIRST: &str = "1b0c2a4e-5d6f-4a7b-8c9d-0e1f2a3b4c5d";
const SECOND: &str = "b1946ac9-2492-4d23-8e5b-7a3c9f1d6e20";

/// A text that says all of a record, whatever order its memo's entries are in: there is one.
const ROWS: &str = "SELECT t::text FROM executions_visibility t ORDER BY namespace_id, run_id";

/// Fills a database: versions, memos and search attributes as servers write them.
async fn fill(server: &Postgres, database: &str) -> Result<()> {
    // The secondary indexes are of no use here, and most of the time that filling takes.
    let indexes = "DO $$ DECLARE name text; BEGIN FOR name IN SELECT indexrelid::regclass::text FROM pg_index WHERE \
        indrelid = 'executions_visibility'::regclass AND NOT indisprimary LOOP EXECUTE 'DROP INDEX ' || name; \
        END LOOP; END $$";
    server.execute(database, indexes).await?;
    let fill = format!(
        "INSERT INTO executions_visibility (namespace_id, run_id, start_time, execution_time, close_time, workflow_id, \
           workflow_type_name, status, memo, encoding, task_queue, search_attributes, _version) \
         SELECT CASE WHEN n % 10 = 0 THEN '{FIRST}' ELSE '{SECOND}' END, md5(n::text)::uuid, at, at, at, 'w' || n, 'type', 2, \
           '\\x0a220a0161121d0a160a08656e636f64696e67120a6a736f6e2f706c61696e1203227822', 'Proto3', 'queue', jsonb_build_object('Keyword01', 'k' || n, 'Int01', n), 100 \
         FROM generate_series(1, {RECORDS}) AS n, LATERAL (SELECT timestamp '2026-01-01' + n * interval '1 s' AS at) t"
    );
    server.execute(database, &fill).await
}

async fn rows(server: &Postgres, database: &str) -> Result<Vec<String>> {
    let client = server.connect(database).await?;
    let rows = client.query(ROWS, &[]).await?;
    Ok(rows.into_iter().map(|row| row.get(0)).collect())
}

fn order(pair: &Pair, by: VerifyBy) -> Result<CompareRecords> {
    let mut context = pair.context("never")?;
    context.spec.verify.by = by;
    Ok(CompareRecords {
        context,
        cursor: None,
        until: None,
        repair: true,
        refresh: Default::default(),
        attributes: None,
        // What a busy machine looks like must not decide what is read.
        throttle: Throttle {
            off: true,
            ..Throttle::default()
        },
        round: 1,
        budget_seconds: 600,
    })
}

async fn run(order: &CompareRecords) -> Result<Compared> {
    let beat = Beat::default();
    let compared = comparing::run(order, &beat).await?;
    ensure!(compared.done, "{compared:?}");
    let told = beat.now();
    ensure!(
        (told.scanned, told.by_digest) == (compared.compared, compared.by_digest),
        "{told:?} of {compared:?}"
    );
    Ok(compared)
}

#[tokio::test(flavor = "multi_thread")]
async fn digests_spare_reading_what_is_equal_and_find_and_repair_all_else() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // PostgreSQL runs as another user and has to get through.
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711))?;
    let processes = Processes::watch(&folder.path().join("processes"))?;
    let pair = Pair::begin(folder.path(), &processes).await?;
    for database in [SOURCE, TARGET] {
        fill(&pair.server, database).await?;
    }
    clean_slices_are_not_read(&pair).await?;
    whatever_drifts_is_found_and_repaired(&pair).await?;
    what_limits_reading_is_kept_to(&pair).await?;
    a_store_that_takes_too_long_is_read(&pair).await?;
    writes_meanwhile_are_no_drift_that_stays(&pair).await
}

async fn clean_slices_are_not_read(pair: &Pair) -> Result<()> {
    let read = run(&order(pair, VerifyBy::Records)?).await?;
    ensure!((read.compared, read.by_digest) == (RECORDS, 0), "{read:?}");
    let asked = run(&order(pair, VerifyBy::Digests)?).await?;
    ensure!((asked.compared, asked.by_digest) == (RECORDS, RECORDS), "{asked:?}");
    ensure!(read.drift == asked.drift && asked.drift.is_clean(), "{asked:?}");
    // In slices, cut within both Namespaces.
    let cuts = [format!("{FIRST}/8"), format!("{SECOND}/4"), format!("{SECOND}/b")];
    let mut all = 0;
    for place in 0..=cuts.len() {
        let slice = CompareRecords {
            cursor: place.checked_sub(1).map(|before| cuts[before].clone()),
            until: cuts.get(place).cloned(),
            ..order(pair, VerifyBy::Digests)?
        };
        let compared = run(&slice).await?;
        ensure!(
            compared.by_digest == compared.compared && compared.compared > 0,
            "{compared:?}"
        );
        all += compared.compared;
    }
    ensure!(all == RECORDS, "{all} records in all slices");
    Ok(())
}

async fn whatever_drifts_is_found_and_repaired(pair: &Pair) -> Result<()> {
    let whole = rows(&pair.server, SOURCE).await?;
    let run_of = |number: u32| format!("run_id = md5('{number}')::uuid::text");
    let damage = [
        format!("DELETE FROM executions_visibility WHERE {}", run_of(11)),
        format!(
            "UPDATE executions_visibility SET _version = 99, status = 1 WHERE {}",
            run_of(12)
        ),
        format!(
            "UPDATE executions_visibility SET task_queue = 'other' WHERE {}",
            run_of(13)
        ),
        format!("UPDATE executions_visibility SET memo = NULL WHERE {}", run_of(20)),
        format!(
            "UPDATE executions_visibility SET search_attributes = '{{\"Keyword01\": \"k22\"}}' WHERE {}",
            run_of(21)
        ),
        format!(
            "INSERT INTO executions_visibility (namespace_id, run_id, start_time, execution_time, workflow_id, \
             workflow_type_name, status, encoding, _version) \
             VALUES ('{SECOND}', '00000000-0000-4000-8000-000000000000', now(), now(), 'w', 'type', 1, '', 100)"
        ),
    ];
    let expected = Drift {
        missing: 1,
        stale: 1,
        different: 3,
        extra: 1,
    };
    for by in [VerifyBy::Records, VerifyBy::Digests] {
        for statement in &damage {
            pair.server.execute(TARGET, statement).await?;
        }
        let found = run(&order(pair, by)?).await?;
        ensure!((found.drift, found.repaired) == (expected, 6), "{by:?}: {found:?}");
        ensure!(found.compared == RECORDS, "{by:?}: {found:?}");
        ensure!(rows(&pair.server, TARGET).await? == whole, "{by:?}: the rows differ");
        if by == VerifyBy::Digests {
            // What is read are the cells with drift: a few of the sixteen or so that each Namespace has.
            ensure!(found.by_digest > RECORDS / 3, "{found:?}");
            let again = run(&order(pair, by)?).await?;
            ensure!(again.drift.is_clean() && again.by_digest == RECORDS, "{again:?}");
        }
    }
    Ok(())
}

/// A store that computes digests reads as fast as it can: not where the operator limits that.
async fn what_limits_reading_is_kept_to(pair: &Pair) -> Result<()> {
    let mut limited = order(pair, VerifyBy::Digests)?;
    limited.throttle.source_records_per_second = Some(1_000_000);
    let compared = run(&limited).await?;
    ensure!((compared.compared, compared.by_digest) == (RECORDS, 0), "{compared:?}");
    Ok(())
}

/// A table that is locked answers no digests in time; when it is free again it is read.
async fn a_store_that_takes_too_long_is_read(pair: &Pair) -> Result<()> {
    let mut holder = pair.server.connect(TARGET).await?;
    let lock = holder.transaction().await?;
    lock.batch_execute("LOCK TABLE executions_visibility IN ACCESS EXCLUSIVE MODE")
        .await?;
    let observer = pair.server.connect(TARGET).await?;
    let hurried = CompareRecords {
        // A tenth of it is what a digest may take.
        budget_seconds: 10,
        ..order(pair, VerifyBy::Digests)?
    };
    let waiting = tokio::spawn(async move { comparing::run(&hurried, &Beat::default()).await });
    // The digests have been given up when a scan waits for the table.
    let scans = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = 'target' \
                 AND query NOT ILIKE '%hash_record%'";
    loop {
        let waits: i64 = observer.query_one(scans, &[]).await?.get(0);
        if waits > 0 {
            break;
        }
        ensure!(!waiting.is_finished(), "it has ended without the table");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    lock.rollback().await?;
    let compared = waiting.await??;
    ensure!(compared.by_digest == 0 && compared.drift.is_clean(), "{compared:?}");
    Ok(())
}

/// The cluster writes both stores, the source first, while they are compared: in the end both are equal.
async fn writes_meanwhile_are_no_drift_that_stays(pair: &Pair) -> Result<()> {
    let (source, target) = (pair.server.connect(SOURCE).await?, pair.server.connect(TARGET).await?);
    let (stop, mut stopped) = oneshot::channel::<()>();
    let writing = tokio::spawn(async move {
        let statement = "UPDATE executions_visibility SET _version = $1, task_queue = 'queue-' || $1::bigint \
                         WHERE run_id = md5($2::bigint::text)::uuid::text AND _version < $1";
        let mut version = 100_i64;
        while stopped.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
            version += 1;
            let number = version * 7_919 % i64::try_from(RECORDS)? + 1;
            for store in [&source, &target] {
                store.execute(statement, &[&version, &number]).await?;
            }
        }
        Ok::<i64, anyhow::Error>(version)
    });
    let compared = run(&order(pair, VerifyBy::Digests)?).await;
    stop.send(()).ok().context("the writer has ended by itself")?;
    ensure!(writing.await?? > 100, "nothing was written");
    ensure!(compared?.compared == RECORDS, "no record comes or goes");
    let after = run(&order(pair, VerifyBy::Digests)?).await?;
    ensure!(after.drift.is_clean() && after.by_digest == RECORDS, "{after:?}");
    ensure!(rows(&pair.server, TARGET).await? == rows(&pair.server, SOURCE).await?);
    Ok(())
}
