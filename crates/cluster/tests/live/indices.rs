//! Search attributes from one Elasticsearch index to another.

use std::collections::BTreeMap;
use std::time::Duration;

use crossfade_cluster::Frontend;
use crossfade_cluster::register::{Index, IndexKind, RegisterError, register};
use reqwest::Method;
use serde_json::json;
use temporalio_common::protos::temporal::api::enums::v1::IndexedValueType;

use crate::cache::{Release, V1_21_6, V1_23_1, V1_30_8};
use crate::elastic::{TEMPLATE, elastic};
use crate::server::{NAMESPACE, Plan, Server};
use crate::standard::{DUAL, start_with, tctl_adds};

fn index(name: &str) -> Index {
    Index {
        kind: IndexKind::Names,
        name: name.to_owned(),
    }
}

async fn from_index_to_index(release: Release, source: &str, target: &str) {
    let node = elastic().await;
    let template = TEMPLATE.lock().await;
    for index in [source, target] {
        node.create_temporal_index(&V1_30_8.program("temporal-elasticsearch-tool"), index)
            .expect("an index");
    }
    drop(template);
    let mut primary = node.datastore(source);
    let mut secondary = None;
    if release.minor < 25 {
        // Another Elasticsearch store is not allowed yet (1.23.1: common/config/persistence.go).
        primary["elasticsearch"]["indices"]["secondary_visibility"] = json!(target);
    } else {
        secondary = Some(node.datastore(target));
    }
    let server = Server::start(Plan {
        visibility: Some(primary),
        dynamic: DUAL,
        ..Plan::new(release)
    });
    let mut frontend = server.frontend().await;
    if let Some(entry) = secondary {
        // The admin's call, which tctl makes, would never end here; and with both stores both would get them.
        let types = BTreeMap::from([
            ("CustomerId".to_owned(), IndexedValueType::Keyword),
            ("Amount".to_owned(), IndexedValueType::Double),
        ]);
        frontend.add_search_attributes(NAMESPACE, &types).await.expect("added");
        let config = server.dir.join("server.yaml");
        let text = std::fs::read_to_string(&config).expect("server.yaml");
        let text = text
            .replace(
                "\n  visibilityStore:",
                "\n  secondaryVisibilityStore: secondary\n  visibilityStore:",
            )
            .replace(
                "\n    visibility:",
                &format!("\n    secondary: {entry}\n    visibility:"),
            );
        std::fs::write(&config, text).expect("server.yaml");
        let early = move_between(&frontend, &index(source), &index(target)).await;
        assert!(matches!(early, Err(RegisterError::NotConfigured { .. })), "{early:?}");
        server.run("restart.sh");
        frontend = server.frontend().await;
    } else {
        tctl_adds(&server, &[("CustomerId", "Keyword"), ("Amount", "Double")], false);
    }
    let stores = frontend.cluster().await.expect("cluster").visibility;
    assert_eq!(
        (&*stores.primary, stores.secondary.as_deref()),
        ("elasticsearch", Some("elasticsearch"))
    );
    assert!(
        frontend
            .registered_attributes()
            .await
            .expect("registered")
            .index(target)
            .is_empty()
    );
    let move_attributes = async || {
        move_between(&frontend, &index(source), &index(target))
            .await
            .expect("registered")
    };
    let done = move_attributes().await;
    assert_eq!(done.wanted.keys().collect::<Vec<_>>(), ["Amount", "CustomerId"]);
    assert_eq!(done.added, done.wanted);
    assert!(move_attributes().await.added.is_empty());
    let registered = frontend.registered_attributes().await.expect("registered");
    assert_eq!(registered.index(target), registered.index(source));
    assert_eq!(registered.index(target).get("Amount"), Some(&IndexedValueType::Double));
    let (_, mapping) = node
        .request(Method::GET, &format!("/{target}/_mapping"), None)
        .await
        .expect("a mapping");
    assert_eq!(
        mapping[target]["mappings"]["properties"]["CustomerId"]["type"],
        "keyword"
    );
    start_with(&frontend, "between-indices", "CustomerId").await;
}

async fn move_between(
    frontend: &Frontend,
    source: &Index,
    target: &Index,
) -> Result<crossfade_cluster::register::Registration, RegisterError> {
    let within = Duration::from_secs(60);
    register(frontend, source, target, &[], Duration::ZERO, within).await
}

#[tokio::test]
async fn attributes_get_from_index_to_index_on_1_30_8() {
    from_index_to_index(
        V1_30_8,
        "temporal_visibility_v1_new_from",
        "temporal_visibility_v1_new_to",
    )
    .await;
}

#[tokio::test]
async fn attributes_get_from_index_to_index_on_1_23_1() {
    from_index_to_index(
        V1_23_1,
        "temporal_visibility_v1_old_from",
        "temporal_visibility_v1_old_to",
    )
    .await;
}

#[tokio::test]
#[ignore = "run by `cargo verify --all`, which builds 1.21.6"]
async fn attributes_get_from_index_to_index_on_1_21_6() {
    from_index_to_index(
        V1_21_6,
        "temporal_visibility_v1_oldest_from",
        "temporal_visibility_v1_oldest_to",
    )
    .await;
}

#[tokio::test]
async fn an_index_that_no_host_was_started_with_is_named() {
    let server = crate::server::shared(V1_30_8).await;
    let frontend = server.frontend().await;
    for kind in [IndexKind::Names, IndexKind::Columns] {
        let target = Index {
            kind,
            name: "not-yet".to_owned(),
        };
        let error = move_between(&frontend, &Index::standard(), &target)
            .await
            .expect_err("not configured");
        assert!(
            matches!(&error, RegisterError::NotConfigured { index } if index == "not-yet") && error.is_transient(),
            "{error}"
        );
    }
}
