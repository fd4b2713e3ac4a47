//! Indexes are set aside and come back, whatever happens: the schema in the end is the schema of the beginning.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crossfade_stores::Store;
use crossfade_visibility::contract::record;
use crossfade_visibility::copy::Step;
use crossfade_visibility::indexing::{Pace, Parked, Rebuilding, Rebuilt, Survey};
use crossfade_visibility::ports::Error;
use crossfade_visibility::record::Record;
use serde_json::{Value, json};

use crate::fixture::postgres;
use crate::opened;

const NAMESPACE: &str = "00000000-0000-4000-8000-00000000000b";

/// Every index the way that keeps nobody out.
const SLOWLY: Pace = Pace {
    sessions: 2,
    longest_block: Duration::from_nanos(1),
};

/// Says what a child process of these tests does, see [`child`].
const ROLE: &str = "CROSSFADE_TEST_INDEXES";

async fn park(store: &Store) -> Parked {
    store.indexing().expect("indexing").park().await.expect("park")
}

async fn restore(store: &Store, parked: &Parked, pace: Pace) -> Rebuilt {
    let indexing = store.indexing().expect("indexing");
    let mut watch = |_: &Rebuilding| Step::Continue;
    indexing.restore(parked, pace, &mut watch).await.expect("restore")
}

async fn survey(store: &Store) -> Survey {
    store.indexing().expect("indexing").survey().await.expect("survey")
}

/// Every index is where it belongs.
fn whole(present: u64) -> Survey {
    Survey {
        present,
        ..Survey::default()
    }
}

async fn fill(store: &Store, numbers: std::ops::Range<u32>) {
    let records: Vec<Record> = numbers.map(|n| record(NAMESPACE, n)).collect();
    for page in records.chunks(1_000) {
        store.write().put(page).await.expect("put");
    }
}

/// Valid indexes of the table; those of a build that was ended are not.
fn indexes(database: &str) -> usize {
    let valid = "SELECT indexrelid::regclass::text FROM pg_index \
                 WHERE indrelid = 'executions_visibility'::regclass AND indisvalid";
    postgres().ask(database, valid).len()
}

fn is_noted(database: &str) -> bool {
    let noted = "SELECT relname::text FROM pg_class WHERE relname = 'crossfade_parked_indexes'";
    !postgres().ask(database, noted).is_empty()
}

/// Waits for a condition in the database.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(Instant::now() < deadline, "not within two minutes: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn indexes_are_set_aside_and_built_again_as_they_were() {
    for (version, name) in [("v1.13", "indexes_newest"), ("v1.3", "indexes_oldest")] {
        let store = opened(&postgres().visibility(name, version)).await;
        let before = postgres().dump(name);
        let there = indexes(name);
        let present = there as u64 - 1;
        assert_eq!(survey(&store).await, whole(present));
        for pace in [Pace::default(), SLOWLY] {
            let parked = park(&store).await;
            assert_eq!(parked.indexes.len() as u64, present);
            assert_eq!(indexes(name), 1, "the primary key stays");
            assert_eq!(
                survey(&store).await,
                Survey {
                    parked: present,
                    ..Survey::default()
                }
            );
            assert_eq!(park(&store).await, parked, "a second time finds it done");
            fill(&store, 0..500).await;
            let rebuilt = restore(&store, &parked, pace).await;
            assert_eq!((rebuilt.built, rebuilt.finished), (present, true));
            assert_eq!(rebuilt.slowly, if pace == SLOWLY { present } else { 0 });
            assert_eq!(postgres().dump(name), before);
            assert_eq!(survey(&store).await, whole(present));
            let again = restore(&store, &parked, pace).await;
            assert_eq!((again.built, again.finished), (0, true), "nothing is left to do");
        }
    }
}

/// Indexes of the operator's own come back too; what a definition does not say in full is left alone.
#[tokio::test]
async fn what_a_definition_does_not_say_stays_where_it_is() {
    let store = opened(&postgres().visibility("indexes_odd", "v1.13")).await;
    let there = indexes("indexes_odd") as u64 - 1;
    // Not in one transaction.
    postgres().execute("indexes_odd", "ALTER ROLE temporal SET allow_in_place_tablespaces = on");
    postgres().execute("indexes_odd", "CREATE TABLESPACE elsewhere LOCATION ''");
    postgres().execute(
        "indexes_odd",
        "CREATE INDEX \"odd \"\"name\"\"; DROP\" ON executions_visibility (lower(workflow_id) text_pattern_ops DESC NULLS LAST) \
           INCLUDE (status) WITH (fillfactor = 70) WHERE status = 1; \
         CREATE INDEX far_away ON executions_visibility (task_queue) TABLESPACE elsewhere; \
         CREATE INDEX commented ON executions_visibility (status); COMMENT ON INDEX commented IS 'ours'; \
         CREATE INDEX counted ON executions_visibility (lower(task_queue)); ALTER INDEX counted ALTER COLUMN 1 SET STATISTICS 9; \
         CREATE UNIQUE INDEX only_one ON executions_visibility (run_id); \
         ALTER TABLE executions_visibility ADD CONSTRAINT only_two UNIQUE (run_id, namespace_id)",
    );
    let before = postgres().dump("indexes_odd");
    let parked = park(&store).await;
    assert_eq!(parked.indexes.len() as u64, there + 2, "{parked:?}");
    assert_eq!(indexes("indexes_odd"), 5);
    restore(&store, &parked, Pace::default()).await;
    assert_eq!(postgres().dump("indexes_odd"), before);
}

/// Either note is enough: the store's, or what the caller was given.
#[tokio::test]
async fn one_of_the_two_notes_is_enough() {
    let store = opened(&postgres().visibility("indexes_notes", "v1.13")).await;
    let before = postgres().dump("indexes_notes");
    let parked = park(&store).await;
    postgres().execute("indexes_notes", "DROP TABLE crossfade_parked_indexes");
    assert!(restore(&store, &parked, Pace::default()).await.finished);
    assert_eq!(postgres().dump("indexes_notes"), before);
    park(&store).await;
    assert!(restore(&store, &Parked::default(), Pace::default()).await.finished);
    assert_eq!(postgres().dump("indexes_notes"), before);
    assert!(!is_noted("indexes_notes"));
}

/// Stopped by its caller, or dropped between two statements or in the middle of one, again and again.
#[tokio::test]
async fn a_rebuild_that_is_stopped_again_and_again_comes_to_its_end() {
    let store = opened(&postgres().visibility("indexes_stopped", "v1.13")).await;
    let before = postgres().dump("indexes_stopped");
    fill(&store, 0..2_000).await;
    for pace in [Pace::default(), SLOWLY] {
        let indexing = store.indexing().expect("indexing");
        for millis in [0, 5, 20, 60] {
            let cut = tokio::time::timeout(Duration::from_millis(millis), indexing.park()).await;
            assert!(!matches!(cut, Ok(Err(_))), "{cut:?}");
        }
        // One that was cut may still be under way in the server.
        let parked = loop {
            match indexing.park().await {
                Ok(parked) => break parked,
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        };
        let mut stops = 0;
        let mut stopping = |_: &Rebuilding| Step::Stop;
        while !indexing
            .restore(&parked, pace, &mut stopping)
            .await
            .is_ok_and(|done| done.finished)
            && stops < 10
        {
            let cut = indexing.restore(&parked, pace, &mut stopping);
            let cut = tokio::time::timeout(Duration::from_millis(30 * stops), cut).await;
            assert!(!matches!(cut, Ok(Err(_))), "{cut:?}");
            stops += 1;
        }
        assert!(restore(&store, &Parked::default(), pace).await.finished);
        assert_eq!(postgres().dump("indexes_stopped"), before);
    }
}

/// The process is killed when a part of the indexes is back; whoever comes next does the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_leaves_the_schema_to_the_next_one_whole() {
    if let Ok(entry) = std::env::var(ROLE) {
        return child(&serde_json::from_str(&entry).expect("an entry")).await;
    }
    for (name, slowly) in [("indexes_killed", false), ("indexes_killed_slowly", true)] {
        let entry = postgres().visibility(name, "v1.13");
        let store = opened(&entry).await;
        fill(&store, 0..5_000).await;
        let before = postgres().dump(name);
        let all = indexes(name);
        for back in [0, 1, all / 2, all - 1] {
            let mut process = Process::start(&json!({"entry": entry, "slowly": slowly}));
            until("the indexes are set aside", || is_noted(name) || process.has_ended());
            until("some are back", || indexes(name) > back || process.has_ended());
            process.kill();
            // A migration that begins anew sets them aside again.
            if back == all / 2 {
                let indexing = store.indexing().expect("indexing");
                while let Err(error) = indexing.park().await {
                    assert!(matches!(error, Error::Busy { .. }), "{error}");
                }
            }
            assert!(restore(&store, &Parked::default(), Pace::default()).await.finished);
            assert_eq!(postgres().dump(name), before, "killed after {back} of {all}");
        }
    }
}

/// A build that its server ends half way leaves an invalid index, which is built anew; one that goes on without its
/// client is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_ended_build_leaves_is_built_anew() {
    let entry = postgres().visibility("indexes_left", "v1.13");
    let store = opened(&entry).await;
    fill(&store, 0..100).await;
    let before = postgres().dump("indexes_left");
    let invalid = || {
        let invalid = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid";
        postgres().ask("indexes_left", invalid).len()
    };
    for terminate in [true, false] {
        park(&store).await;
        // A build waits for a transaction that has written: there it can be caught.
        let writer = another_client(&entry).await;
        let write = "BEGIN; UPDATE executions_visibility SET status = status WHERE namespace_id = ''";
        writer.batch_execute(write).await.expect("a write");
        let mut process = Process::start(&json!({"entry": entry, "slowly": true, "parked": true}));
        until("a build under way", || invalid() == 1);
        if terminate {
            postgres().execute(
                "indexes_left",
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_progress_create_index WHERE datname = CURRENT_DATABASE()",
            );
            until("the child gave up", || process.has_ended());
        } else {
            process.kill();
        }
        assert_eq!(invalid(), 1, "a build that was ended, or goes on");
        let waits = tokio::spawn({
            let store = store.clone();
            async move { restore(&store, &Parked::default(), Pace::default()).await }
        });
        writer.batch_execute("ROLLBACK").await.expect("the end of the write");
        assert!(waits.await.expect("restore").finished);
        assert_eq!((invalid(), postgres().dump("indexes_left")), (0, before.clone()));
    }
}

/// Writes go on while indexes are built, and none is lost.
#[tokio::test(flavor = "multi_thread")]
async fn others_write_while_indexes_are_built() {
    let entry = postgres().visibility("indexes_live", "v1.13");
    let (store, other) = (opened(&entry).await, opened(&entry).await);
    fill(&store, 0..3_000).await;
    for pace in [Pace::default(), SLOWLY] {
        let parked = park(&store).await;
        let from = u32::try_from(other.read().count(None).await.expect("count")[NAMESPACE].total()).expect("few");
        let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
        let writes = tokio::spawn({
            let other = other.clone();
            async move {
                let mut written = 0;
                while stopped.try_recv().is_err() {
                    let record = record(NAMESPACE, from + written);
                    assert_eq!(other.write().put(&[record]).await.expect("put"), 1);
                    written += 1;
                }
                written
            }
        });
        assert!(restore(&store, &parked, pace).await.finished);
        stop.send(()).expect("the writer");
        let written = writes.await.expect("writes");
        assert!(written > 0);
        let counted = store.read().count(None).await.expect("count")[NAMESPACE].total();
        assert_eq!(counted, u64::from(from + written));
    }
}

/// Two that rebuild at the same time: one works and the other waits.
#[tokio::test]
async fn two_at_once_do_it_once() {
    let entry = postgres().visibility("indexes_twice", "v1.13");
    let (store, other) = (opened(&entry).await, opened(&entry).await);
    let before = postgres().dump("indexes_twice");
    fill(&store, 0..2_000).await;
    let parked = park(&store).await;
    let (one, two) = tokio::join!(
        restore(&store, &parked, Pace::default()),
        restore(&other, &parked, Pace::default())
    );
    assert!(one.finished && two.finished);
    assert_eq!(one.built + two.built, parked.indexes.len() as u64);
    assert_eq!(postgres().dump("indexes_twice"), before);
}

/// Who may write records but does not own the table is told so, and nothing happens.
#[tokio::test]
async fn who_does_not_own_the_table_changes_nothing() {
    let mut entry = postgres().visibility("indexes_rights", "v1.13");
    postgres().execute(
        "indexes_rights",
        "CREATE ROLE writer LOGIN PASSWORD 'writer'; GRANT ALL ON executions_visibility TO writer",
    );
    let before = postgres().dump("indexes_rights");
    entry["sql"]["user"] = json!("writer");
    entry["sql"]["password"] = json!("writer");
    let store = opened(&entry).await;
    let refused = store.indexing().expect("indexing").park().await;
    assert!(matches!(refused, Err(Error::Denied { .. })), "{refused:?}");
    let told = survey(&store).await.refusal.expect("why not");
    assert!(told.contains("does not own"), "{told}");
    assert_eq!(postgres().dump("indexes_rights"), before);
}

/// A process of its own that sets indexes aside and builds them again.
struct Process(Child);

impl Process {
    fn start(order: &Value) -> Self {
        let this = std::env::current_exe().expect("this program");
        let child = Command::new(this)
            .args([
                "--exact",
                "postgres_indexes::a_killed_process_leaves_the_schema_to_the_next_one_whole",
            ])
            .env(ROLE, order.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("a process"))
    }

    fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("its state").is_some()
    }

    /// By SIGKILL.
    fn kill(&mut self) {
        self.0.kill().expect("kill");
        self.0.wait().expect("its end");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _no_zombie = self.0.wait();
    }
}

/// What the other process does.
async fn child(order: &Value) {
    let store = opened(&order["entry"]).await;
    let parked = match order["parked"].as_bool() {
        Some(true) => Parked::default(),
        _ => park(&store).await,
    };
    let pace = if order["slowly"] == true {
        SLOWLY
    } else {
        Pace::default()
    };
    restore(&store, &parked, pace).await;
}

async fn another_client(entry: &Value) -> tokio_postgres::Client {
    let mut config = tokio_postgres::Config::new();
    config
        .host("127.0.0.1")
        .port(postgres().port)
        .user("temporal")
        .password(crate::fixture::PASSWORD)
        .dbname(entry["sql"]["databaseName"].as_str().expect("a name"));
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client
}
