//! Many records at once: whatever is there already, the outcome is that of one after another.

use crossfade_visibility::contract::record;
use crossfade_visibility::ports::{Error, Range};
use crossfade_visibility::record::Record;
use serde_json::json;

use crate::fixture::postgres;
use crate::opened;

const NAMESPACE: &str = "00000000-0000-4000-8000-00000000000a";

fn records(numbers: std::ops::Range<u32>) -> Vec<Record> {
    let mut records: Vec<Record> = numbers.map(|n| record(NAMESPACE, n)).collect();
    records.sort_by(|a, b| a.key.cmp(&b.key));
    records
}

fn with_version(record: &Record, version: i64, workflow_type: &str) -> Record {
    Record {
        version: Some(version),
        workflow_type: workflow_type.to_owned(),
        ..record.clone()
    }
}

/// A large batch goes in whole; one that meets records of a lower, an equal and a later version leaves the later ones;
/// with every schema, those without versions too.
#[tokio::test]
async fn a_large_batch_ends_as_one_by_one() {
    for (version, versioned) in [("v1.13", true), ("v1.8", false), ("v1.3", false)] {
        let name = format!("bulk_{}", version.replace('.', "_"));
        let store = opened(&postgres().visibility(&name, version)).await;
        let (read, write) = (store.read(), store.write());
        let first = records(0..500);
        assert_eq!(write.put(&first).await.expect("put"), 500);
        let keys: Vec<_> = first.iter().map(|record| record.key.clone()).collect();
        let mut got = read.get(&keys).await.expect("get");
        got.sort_by(|a, b| a.key.cmp(&b.key));
        if versioned {
            let plain = opened(&postgres().visibility(&format!("{name}_plain"), version)).await;
            for record in &first {
                plain.write().put(std::slice::from_ref(record)).await.expect("put");
            }
            let mut expected = plain.read().get(&keys).await.expect("get");
            expected.sort_by(|a, b| a.key.cmp(&b.key));
            assert_eq!(got, expected);
        }

        // The server wrote some of the next batch meanwhile.
        let next = records(500..1_000);
        let theirs: Vec<Record> = next
            .iter()
            .enumerate()
            .filter(|(n, _)| n % 100 < 3)
            .map(|(n, record)| {
                let held = record.version.unwrap_or_default();
                with_version(record, held + n as i64 % 100 - 1, "Theirs")
            })
            .collect();
        for record in &theirs {
            write.put(std::slice::from_ref(record)).await.expect("put");
        }
        // Those of a lower version, one in three, are replaced where versions are kept.
        let replaced = if versioned { theirs.len() / 3 } else { 0 };
        assert_eq!(
            write.put(&next).await.expect("put"),
            (500 - theirs.len() + replaced) as u64
        );
        assert_eq!(write.put(&next).await.expect("put again"), 0);
        let held = read.scan(&Range::default(), 2_000).await.expect("scan");
        assert_eq!(held.len(), 1_000);
        let kept = held.iter().filter(|record| record.workflow_type == "Theirs").count();
        assert_eq!(kept, theirs.len() - replaced);
        // And it goes on to be quick where nothing is in the way.
        assert_eq!(write.put(&records(1_000..1_500)).await.expect("put"), 500);
        assert_eq!(write.put(&records(1_500..2_000)).await.expect("put"), 500);
    }
}

/// A record that somebody else is just writing is waited for, and decided by version.
#[tokio::test]
async fn a_write_under_way_is_waited_for() {
    let entry = postgres().visibility("bulk_race", "v1.13");
    let (store, other) = (opened(&entry).await, opened(&entry).await);
    let batch = records(0..300);
    for round in 0..20_u32 {
        let mine: Vec<Record> = batch
            .iter()
            .map(|record| with_version(record, 10 + i64::from(round), "Mine"))
            .collect();
        let one = with_version(
            &batch[usize::try_from(round).expect("small") * 7],
            1_000 + i64::from(round),
            "Theirs",
        );
        let (store_write, other_write) = (store.write(), other.write());
        let (put, theirs) = tokio::join!(store_write.put(&mine), other_write.put(std::slice::from_ref(&one)));
        put.expect("put");
        assert_eq!(theirs.expect("put"), 1);
        let held = store.read().get(std::slice::from_ref(&one.key)).await.expect("get");
        assert_eq!(held[0].workflow_type, "Theirs", "round {round}");
        postgres().execute("bulk_race", "DELETE FROM executions_visibility");
    }
}

/// One record among many that the database refuses is named, and the others stay out.
#[tokio::test]
async fn the_one_that_is_refused_among_many_is_named() {
    let store = opened(&postgres().visibility("bulk_refused", "v1.13")).await;
    let mut batch = records(0..200);
    batch[150].search_attributes = serde_json::Map::from_iter([("Datetime01".to_owned(), json!("sensitive"))]);
    match store.write().put(&batch).await {
        Err(error @ Error::Refused { .. }) => {
            let message = error.to_string();
            assert!(
                message.contains(&batch[150].key.run_id) && !message.contains("sensitive"),
                "{message}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(store.read().namespaces().await.expect("namespaces").is_empty());
    batch.remove(150);
    assert_eq!(store.write().put(&batch).await.expect("put"), 199);
}

/// A table that takes no COPY (row security) is written all the same.
#[tokio::test]
async fn a_table_that_takes_no_copy_is_written_by_statements() {
    let mut entry = postgres().visibility("bulk_rows", "v1.13");
    postgres().execute(
        "bulk_rows",
        "CREATE ROLE rows LOGIN PASSWORD 'rows'; GRANT ALL ON executions_visibility TO rows; \
         ALTER TABLE executions_visibility ENABLE ROW LEVEL SECURITY; \
         CREATE POLICY every ON executions_visibility USING (TRUE)",
    );
    entry["sql"]["user"] = json!("rows");
    entry["sql"]["password"] = json!("rows");
    let store = opened(&entry).await;
    assert_eq!(store.write().put(&records(0..200)).await.expect("put"), 200);
    assert_eq!(store.write().put(&records(100..300)).await.expect("put"), 100);
}

/// Of a store that is far away nearly all of a call is waiting: calls of one process must not wait for each other as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_waits_keeps_no_other_waiting() {
    let store = opened(&postgres().visibility("bulk_waits", "v1.13")).await;
    postgres().execute(
        "bulk_waits",
        "CREATE TABLE gate (); \
         CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
           WHILE NOT EXISTS (SELECT FROM public.gate) LOOP PERFORM pg_sleep(0.01); END LOOP; RETURN NEW; END $$; \
         CREATE TRIGGER wait BEFORE INSERT ON executions_visibility FOR EACH ROW \
           WHEN (NEW.workflow_type_name = 'Waits') EXECUTE FUNCTION wait(); \
         GRANT SELECT ON gate TO PUBLIC",
    );
    let waits: Vec<Record> = records(0..40)
        .iter()
        .map(|record| with_version(record, 1, "Waits"))
        .collect();
    let write = store.write();
    let waiting = tokio::spawn(async move { write.put(&waits).await });
    let asleep = "SELECT pid::text FROM pg_stat_activity WHERE datname = 'bulk_waits' AND wait_event = 'PgSleep'";
    let within = std::time::Duration::from_secs(30);
    let it_waits = async {
        while postgres().ask("bulk_waits", asleep).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(within, it_waits)
        .await
        .expect("the first write to wait");
    let others = async {
        assert_eq!(store.write().put(&records(40..80)).await.expect("put"), 40);
        let keys: Vec<_> = records(0..80).into_iter().map(|record| record.key).collect();
        assert_eq!(store.read().get(&keys).await.expect("get").len(), 40);
    };
    tokio::time::timeout(within, others)
        .await
        .expect("the others not to wait for it");
    postgres().execute("bulk_waits", "INSERT INTO gate DEFAULT VALUES");
    assert_eq!(waiting.await.expect("no panic").expect("put"), 40);
}
