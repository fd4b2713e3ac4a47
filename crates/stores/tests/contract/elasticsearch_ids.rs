//! Look-ups by the ids of documents, which need no refresh, and what lies under other ids.

use crossfade_stores::Store;
use crossfade_visibility::contract::record;
use crossfade_visibility::copy::{self, Step, copy};
use crossfade_visibility::ports::{Condemned, Range};
use crossfade_visibility::record::Record;
use reqwest::Method;
use serde_json::{Value, json};

use crate::clusters::{Node, Product};
use crate::opened;

const NAMESPACE: &str = "00000000-0000-4000-8000-00000000000a";

fn records(from: u32, count: u32) -> Vec<Record> {
    (from..from + count).map(|n| record(NAMESPACE, n)).collect()
}

async fn copied(from: &Store, to: &Store) -> copy::Progress {
    let mut go_on = |_: &copy::Progress| Step::Continue;
    let (options, begin) = (copy::Options::pages_of(50), copy::Progress::default());
    let outcome = copy(
        &*from.read(),
        to.target(),
        &Range::default(),
        begin,
        options,
        &mut go_on,
    )
    .await;
    outcome.unwrap_or_else(|error| panic!("{error}")).progress
}

/// Every document once more under an id that no server gives, as a pipeline of somebody's own would.
async fn move_to_other_ids(node: &Node, entry: &Value) {
    let index = entry["elasticsearch"]["indices"]["visibility"]
        .as_str()
        .expect("an index");
    let aside = format!("{index}_aside");
    let script = json!({"source": "ctx._id = 'other-' + ctx._source.RunId"});
    for (from, to, script) in [(index, aside.as_str(), Some(script)), (aside.as_str(), index, None)] {
        let mut body = json!({"source": {"index": from}, "dest": {"index": to, "version_type": "external"}});
        if let Some(script) = script {
            body["script"] = script;
        }
        node.ask(Method::POST, &format!("/{from}/_refresh"), None).await;
        node.ask(Method::POST, "/_reindex?refresh=true", Some(body)).await;
        if from == index {
            let all = json!({"query": {"match_all": {}}});
            node.ask(
                Method::POST,
                &format!("/{index}/_delete_by_query?refresh=true"),
                Some(all),
            )
            .await;
        }
    }
    node.ask(Method::DELETE, &format!("/{aside}"), None).await;
}

/// By id everything is seen that was written or deleted before, by anyone, also where an id had to be cut.
#[tokio::test]
async fn a_look_up_by_id_is_never_stale() {
    for product in Product::BOTH {
        let node = product.shared().await;
        let entry = node.index("stale_ids", "v13", json!({})).await;
        let index = entry["elasticsearch"]["indices"]["visibility"]
            .as_str()
            .expect("an index");
        let never = json!({"index": {"refresh_interval": "-1"}});
        node.ask(Method::PUT, &format!("/{index}/_settings"), Some(never)).await;
        let (store, other) = (opened(&entry).await, opened(&entry).await);
        let mut written = records(1, 4);
        written[2].workflow_id = "ü".repeat(400);
        assert!(store.read().versions_of(&written).await.expect("versions").is_empty());
        other.write().put(&written).await.expect("put");
        let versions = store.read().versions_of(&written).await.expect("versions");
        for record in &written {
            assert_eq!(versions.get(&record.key), Some(&record.version), "{}", record.key);
        }
        let condemned = Condemned {
            key: written[0].key.clone(),
            at_most: None,
        };
        assert_eq!(other.write().delete(&[condemned]).await.expect("delete"), 1);
        let later = Record {
            version: Some(777_777),
            ..written[1].clone()
        };
        assert_eq!(other.write().put(&[later]).await.expect("put"), 1);
        let versions = store.read().versions_of(&written).await.expect("versions");
        assert_eq!(versions.get(&written[0].key), None);
        assert_eq!(versions.get(&written[1].key), Some(&Some(777_777)));
        assert_eq!(versions.len(), 3);
        node.ask(Method::DELETE, &format!("/{index}"), None).await;
        assert!(
            store.read().versions_of(&written).await.is_err(),
            "an index that is gone"
        );
    }
}

/// What the source has under ids of its own is alive: nothing of it is withdrawn, and nothing is written twice.
#[tokio::test]
async fn what_lies_under_other_ids_is_not_withdrawn() {
    for product in Product::BOTH {
        let node = product.shared().await;
        let (source, target) = (
            node.index("other_ids", "v13", json!({})).await,
            node.index("usual_ids", "v13", json!({})).await,
        );
        let (from, to) = (opened(&source).await, opened(&target).await);
        from.write().put(&records(0, 120)).await.expect("put");
        move_to_other_ids(node, &source).await;
        let progress = copied(&from, &to).await;
        assert_eq!((progress.written, progress.withdrawn), (120, 0));
        let progress = copied(&from, &to).await;
        assert_eq!((progress.written, progress.withdrawn), (0, 0));
        let counts = to.read().count(None).await.expect("counts");
        assert_eq!(counts[NAMESPACE].total(), 120);
    }
}

/// Where the target has some of the records, whichever, the others are written, and none that is there is touched.
#[tokio::test]
async fn a_target_that_has_some_gets_the_others() {
    let node = Product::Elasticsearch.shared().await;
    let (source, target) = (
        node.index("some_from", "v13", json!({})).await,
        node.index("some_to", "v13", json!({})).await,
    );
    let (from, to) = (opened(&source).await, opened(&target).await);
    let mut all = records(0, 1_000);
    all.sort_by(|a, b| a.key.cmp(&b.key));
    from.write().put(&all).await.expect("put");
    // None of the first pages, all of some, a part of others; half of them in a later version.
    let there = |at: usize| (300..500).contains(&at) || (600..).contains(&at) && at.is_multiple_of(7);
    let later = |record: &Record| Record {
        version: record.version.map(|version| version + 1),
        task_queue: "later".to_owned(),
        ..record.clone()
    };
    let held: Vec<Record> = all
        .iter()
        .enumerate()
        .filter(|(at, _)| there(*at))
        .map(|(at, record)| if at % 2 == 0 { later(record) } else { record.clone() })
        .collect();
    to.write().put(&held).await.expect("put");
    let progress = copied(&from, &to).await;
    assert_eq!((progress.scanned, progress.withdrawn), (1_000, 0));
    assert_eq!(progress.written, 1_000 - held.len() as u64);
    let keys: Vec<_> = all.iter().map(|record| record.key.clone()).collect();
    let found = to.read().get(&keys).await.expect("records");
    assert_eq!(found.len(), 1_000);
    let kept = found.iter().filter(|record| record.task_queue == "later").count();
    assert_eq!(kept, held.iter().filter(|record| record.task_queue == "later").count());
}

/// Of several records that are refused at once each is named, with its field and without its content.
#[tokio::test]
async fn every_refused_record_is_named() {
    for product in Product::BOTH {
        let fields = json!({"CustomIntField": {"type": "long"}});
        let entry = product.shared().await.index("refused_ones", "v13", fields).await;
        let store = opened(&entry).await;
        let mut batch = records(0, 10);
        for at in [2, 5, 8] {
            batch[at].search_attributes =
                serde_json::Map::from_iter([("CustomIntField".to_owned(), json!("sensitive"))]);
        }
        let message = store.write().put(&batch).await.expect_err("refused").to_string();
        for at in [2, 5, 8] {
            assert!(message.contains(&batch[at].key.to_string()), "{message}");
        }
        assert_eq!(message.matches("CustomIntField").count(), 3, "{message}");
        assert!(!message.contains("sensitive"), "{message}");
        assert_eq!(store.read().versions_of(&batch).await.expect("versions").len(), 7);
    }
}
