//! Settings of an index that only serve its readers: set aside, and back exactly as they were.

use std::time::Duration;

use crossfade_stores::Store;
use crossfade_visibility::contract::record;
use crossfade_visibility::copy::Step;
use crossfade_visibility::indexing::{Indexing, Pace, Parked, Rebuilding, Rebuilt};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::clusters::{Node, Product, request};
use crate::opened;

const NAMESPACE: &str = "00000000-0000-4000-8000-00000000000a";

fn index_of(entry: &Value) -> &str {
    entry["elasticsearch"]["indices"]["visibility"]
        .as_str()
        .expect("an index")
}

/// All settings that an index has, with the number of its settings' version left out, and its mapping.
async fn everything(node: &Node, entry: &Value) -> (Value, Value) {
    let index = index_of(entry);
    let settings = node
        .ask(Method::GET, &format!("/{index}/_settings?flat_settings=true"), None)
        .await;
    let mapping = node.ask(Method::GET, &format!("/{index}/_mapping"), None).await;
    (settings[index]["settings"].clone(), mapping)
}

async fn change(node: &Node, entry: &Value, settings: Value) {
    let path = format!("/{}/_settings", index_of(entry));
    node.ask(Method::PUT, &path, Some(settings)).await;
}

fn indexing(store: &Store) -> Arc<dyn Indexing> {
    store.indexing().expect("settings that can be set aside")
}

async fn restored(store: &Store, parked: &Parked) -> Rebuilt {
    let mut go_on = |_: &Rebuilding| Step::Continue;
    let rebuilt = indexing(store).restore(parked, Pace::default(), &mut go_on).await;
    rebuilt.unwrap_or_else(|error| panic!("{error}"))
}

/// Whatever is set or not, it is set aside once and comes back the same, by the note alone, too, and only once.
#[tokio::test]
async fn settings_come_back_as_they_were() {
    for product in Product::BOTH {
        let node = product.shared().await;
        let variants = [
            (json!({"index.refresh_interval": null}), 2),
            (json!({"index.refresh_interval": "30s"}), 2),
            (
                json!({"index.auto_expand_replicas": null, "index.number_of_replicas": 1}),
                2,
            ),
            (
                json!({"index.auto_expand_replicas": "false", "index.refresh_interval": "-1"}),
                0,
            ),
            (
                json!({"index.auto_expand_replicas": "0-1", "index.number_of_replicas": 1, "index.refresh_interval": "7s"}),
                2,
            ),
        ];
        for (at, (settings, count)) in variants.into_iter().enumerate() {
            let entry = node.index(&format!("settings_{at}"), "v13", json!({})).await;
            change(node, &entry, settings).await;
            let before = everything(node, &entry).await;
            let (store, other) = (opened(&entry).await, opened(&entry).await);
            let survey = indexing(&store).survey().await.expect("a survey");
            assert_eq!(
                (survey.present, survey.parked, survey.refusal),
                (count, 0, None),
                "{at}"
            );
            assert_eq!(everything(node, &entry).await, before, "a survey changes nothing");

            let parked = indexing(&store).park().await.expect("park");
            assert_eq!((parked.settings.len() as u64, parked.indexes.len()), (count, 0));
            let (during, _) = everything(node, &entry).await;
            assert_eq!(during["index.refresh_interval"], "-1");
            assert_eq!(during["index.number_of_replicas"], "0");
            assert_eq!(indexing(&other).park().await.expect("again"), parked);
            let survey = indexing(&other).survey().await.expect("a survey");
            assert_eq!((survey.present, survey.parked), (0, count), "{at}");
            store.write().put(&[record(NAMESPACE, 1)]).await.expect("put");

            let remembered = if at % 2 == 0 { &Parked::default() } else { &parked };
            let rebuilt = restored(&other, remembered).await;
            assert_eq!((rebuilt.built, rebuilt.finished), (count, true), "{at}");
            assert_eq!(everything(node, &entry).await, before, "{at}");
            let answer = node
                .ask(Method::GET, &format!("/{}/_count", index_of(&entry)), None)
                .await;
            // Nothing is refreshed in an index whose owner has it so.
            assert_eq!(
                answer["count"],
                u64::from(count > 0),
                "what was written meanwhile is seen"
            );
            assert_eq!(restored(&store, &parked).await.built, 0);
            assert_eq!(everything(node, &entry).await, before, "{at}");
        }
    }
}

/// Ended at any moment, by whoever calls or by the node's own death, nothing is lost of what the settings were.
#[tokio::test]
async fn an_ended_park_or_restore_loses_no_setting() {
    let mut node = Product::Elasticsearch.start(&[]).await;
    let entry = node.index("ended", "v13", json!({})).await;
    change(&node, &entry, json!({"index.refresh_interval": "17s"})).await;
    let before = everything(&node, &entry).await;
    for moment in 0..30 {
        let within = Duration::from_millis(moment);
        let ended = opened(&entry).await;
        let _ = tokio::time::timeout(within, indexing(&ended).park()).await;
        let mut go_on = |_: &Rebuilding| Step::Continue;
        let nothing = Parked::default();
        let restore = indexing(&ended);
        let _ = tokio::time::timeout(within, restore.restore(&nothing, Pace::default(), &mut go_on)).await;
        let (during, _) = everything(&node, &entry).await;
        let aside = during["index.refresh_interval"] == "-1";
        let noted = during
            .get("index.routing.allocation.exclude.crossfade_parked")
            .is_some();
        assert_eq!(aside, noted, "{during}");
    }
    let store = opened(&entry).await;
    indexing(&store).park().await.expect("park");
    node.server.kill().expect("kill");
    node.server.resume(&node.processes).await.expect("resume");
    assert!(indexing(&store).survey().await.expect("a survey").parked > 0);
    restored(&opened(&entry).await, &Parked::default()).await;
    assert_eq!(everything(&node, &entry).await, before);
}

/// What somebody changed while it was set aside stays as they have it; where nothing may be changed that is told.
#[tokio::test]
async fn a_change_by_someone_else_stays_and_a_refusal_is_told() {
    for product in Product::BOTH {
        let node = product.shared().await;
        let entry = node.index("changed", "v13", json!({})).await;
        let store = opened(&entry).await;
        let parked = indexing(&store).park().await.expect("park");
        change(node, &entry, json!({"index.refresh_interval": "42s"})).await;
        assert_eq!(restored(&store, &parked).await.built, 1);
        let (after, _) = everything(node, &entry).await;
        assert_eq!(after["index.refresh_interval"], "42s");
        assert_eq!(after["index.auto_expand_replicas"], "0-2");
        assert!(after.get("index.routing.allocation.exclude.crossfade_parked").is_none());

        change(node, &entry, json!({"index.blocks.metadata": true})).await;
        let refused = indexing(&store).park().await;
        let path = format!("/{}/_settings", index_of(&entry));
        let free = json!({"index.blocks.metadata": null});
        let (status, _) = request(&node.server.url(), Method::PUT, &path, Some(free)).await;
        assert_eq!(status, 200);
        assert!(refused.is_err_and(|error| !error.is_retryable()), "{product:?}");
        assert_eq!(indexing(&store).survey().await.expect("a survey").parked, 0);
    }
}
