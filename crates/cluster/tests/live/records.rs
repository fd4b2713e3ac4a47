//! Records that are gone and come back: mutable states read, refreshes asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use crossfade_cluster::canary::{self, Flock};
use crossfade_cluster::mutable_state::Refreshed;
use crossfade_cluster::{ExecutionKey, ExecutionStatus, Frontend};
use serde_json::json;
use temporalio_common::protos::temporal::api::enums::v1::IndexedValueType;

use crate::server::{NAMESPACE, Plan, Server, on_each_release, until};

on_each_release!(
    a_refresh_brings_a_record_back_with_its_attributes_and_memo,
    what_is_gone_is_not_refreshed,
    attributes_that_were_removed_after_the_close_are_noticed,
);

/// Two executions with an attribute and a memo: the first is open, the second closed.
async fn pair(frontend: &Frontend, seed: &str) -> Vec<ExecutionKey> {
    let wanted = BTreeMap::from([("RefreshedId".to_owned(), IndexedValueType::Keyword)]);
    frontend
        .add_search_attributes(NAMESPACE, &wanted)
        .await
        .expect("registered");
    let flock = Flock {
        namespace: NAMESPACE.to_owned(),
        namespace_id: namespace_id(frontend).await,
        seed: seed.to_owned(),
        shards: 2,
        memo: BTreeMap::from([("note".to_owned(), json!("kept"))]),
        search_attributes: BTreeMap::from([("RefreshedId".to_owned(), json!("r-1"))]),
        lifetime: Duration::from_secs(600),
        at_once: 2,
    };
    // The alias reaches every host with the next refresh of the Namespaces.
    let mut keys = Vec::new();
    until("the attribute is known", async || {
        match canary::start(frontend, &flock).await {
            Ok(started) => keys = started,
            Err(error) => assert!(error.to_string().contains("RefreshedId"), "{error}"),
        }
        !keys.is_empty()
    })
    .await;
    frontend
        .terminate(NAMESPACE, &keys[1].workflow_id, &keys[1].run_id, "test")
        .await
        .expect("terminated");
    keys
}

async fn namespace_id(frontend: &Frontend) -> String {
    frontend
        .namespace(NAMESPACE)
        .await
        .expect("namespace")
        .expect("namespace")
        .id
}

async fn a_refresh_brings_a_record_back_with_its_attributes_and_memo(server: &'static Server) {
    let frontend = server.frontend().await;
    let keys = pair(&frontend, "refreshed").await;
    let listed = async |key: &ExecutionKey| {
        let found = frontend.find(NAMESPACE, &key.workflow_id, 10).await.expect("listed");
        found.into_iter().find(|execution| execution.run_id == key.run_id)
    };
    let wanted = [ExecutionStatus::Running, ExecutionStatus::Terminated];
    let both_are_listed = async || {
        let mut right = true;
        for (key, status) in keys.iter().zip(wanted) {
            right &= listed(key).await.is_some_and(|execution| execution.status == status);
        }
        right
    };
    until("both records are there", both_are_listed).await;

    let states = frontend.mutable_states(NAMESPACE, &keys, 2).await.expect("described");
    for (state, status) in states.into_iter().zip(wanted) {
        let state = state.expect("there");
        assert_eq!(state.status, status);
        assert!(
            !state.zombie && !state.attributes_removed && state.start_time.is_some(),
            "{state:?}"
        );
        assert_eq!(state.close_time.is_some(), status == ExecutionStatus::Terminated);
        assert_eq!(state.memo["note"].data, br#""kept""#);
        // Over a SQL store the history service keeps the column's name.
        let (name, value) = state.search_attributes.first_key_value().expect("an attribute");
        assert!(name.starts_with("Keyword"), "{name}");
        assert_eq!(value.data, br#""r-1""#);
        assert!(!format!("{state:?}").contains("kept"), "{state:?}");
    }

    // With the time in which the row of the closing could still be written over.
    let store = server.visibility();
    store.busy_timeout(Duration::from_secs(10)).expect("timeout");
    let deleted = store
        .execute(
            "DELETE FROM executions_visibility WHERE run_id IN (?1, ?2)",
            [&keys[0].run_id, &keys[1].run_id],
        )
        .expect("deleted");
    assert_eq!(deleted, 2);
    for key in &keys {
        assert_eq!(listed(key).await, None);
    }

    for _ in 0..2 {
        let refreshed = frontend.refresh_all(&keys, 2).await;
        assert!(
            refreshed.iter().all(|r| matches!(r, Refreshed::Refreshed)),
            "{refreshed:?}"
        );
        until("both records are back", both_are_listed).await;
    }
    for key in &keys {
        let execution = listed(key).await.expect("listed");
        assert_eq!(execution.memo_json("note"), Some(json!("kept")));
        assert_eq!(execution.search_attributes["RefreshedId"].data, br#""r-1""#);
        assert_eq!(execution.workflow_type, canary::WORKFLOW_TYPE);
    }
    canary::remove(&frontend, NAMESPACE, &keys, 2).await.expect("removed");
}

async fn what_is_gone_is_not_refreshed(server: &'static Server) {
    let frontend = server.frontend().await;
    let gone = ExecutionKey {
        namespace_id: namespace_id(&frontend).await,
        workflow_id: "never-started".into(),
        run_id: "7c4dd04e-0000-4000-8000-000000000000".into(),
    };
    let nowhere = ExecutionKey {
        namespace_id: "9b1f4e0a-0000-4000-8000-000000000000".into(),
        ..gone.clone()
    };
    let malformed = ExecutionKey {
        run_id: "no-uuid".into(),
        ..gone.clone()
    };
    let refreshed = frontend.refresh_all(&[gone.clone(), nowhere, malformed], 3).await;
    assert!(
        matches!(
            &refreshed[..],
            [Refreshed::NotFound, Refreshed::NotFound, Refreshed::Failed(_)]
        ),
        "{refreshed:?}"
    );
    let none = frontend.mutable_state(NAMESPACE, &gone.workflow_id, &gone.run_id).await;
    assert_eq!(none.expect("asked"), None);
    let none = frontend
        .mutable_state("no-such-one", &gone.workflow_id, &gone.run_id)
        .await;
    assert_eq!(none.expect("asked"), None);
}

async fn attributes_that_were_removed_after_the_close_are_noticed(shared: &'static Server) {
    let server = Server::start(Plan {
        dynamic: "history.visibilityProcessorEnableCloseWorkflowCleanup:\n  - value: true\n",
        ..Plan::new(shared.release)
    });
    let frontend = server.frontend().await;
    let keys = pair(&frontend, "cleaned").await;
    let state = async |key: &ExecutionKey| {
        let state = frontend.mutable_state(NAMESPACE, &key.workflow_id, &key.run_id).await;
        state.expect("asked").expect("there")
    };
    until("the closed one is cleaned", async || {
        state(&keys[1]).await.attributes_removed
    })
    .await;
    let closed = state(&keys[1]).await;
    assert!(
        closed.memo.is_empty() && closed.search_attributes.is_empty(),
        "{closed:?}"
    );
    let open = state(&keys[0]).await;
    assert!(!open.attributes_removed && !open.memo.is_empty(), "{open:?}");
}
