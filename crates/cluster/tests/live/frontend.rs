//! What the cluster says of itself.

use std::collections::BTreeMap;
use std::time::Duration;

use crossfade_cluster::frontend::NamespaceLife;
use crossfade_cluster::health::{Health, Service, ServiceHealth};
use crossfade_cluster::{ConnectError, ConnectSettings, Frontend, TlsSettings};
use temporalio_common::protos::temporal::api::enums::v1::IndexedValueType;

use crate::server::{NAMESPACE, SHARDS, Server, on_each_release};

on_each_release!(
    the_cluster_is_described,
    namespaces_are_listed_with_the_systems_own,
    search_attributes_have_a_name_a_type_and_a_column,
    every_service_says_that_it_serves,
    asking_the_wrong_service_or_nobody_ends_in_time_and_says_who,
    tls_against_a_plaintext_server_fails_and_never_falls_back,
    a_wrong_query_and_a_wrong_namespace_are_the_servers_words,
);

async fn the_cluster_is_described(server: &'static Server) {
    let frontend = server.frontend().await;
    let cluster = frontend.cluster().await.expect("cluster");
    assert_eq!(cluster.version.to_string(), server.release.version);
    assert_eq!((cluster.name.as_str(), cluster.history_shards), ("active", SHARDS));
    assert_eq!(cluster.persistence_store, "sqlite");
    assert_eq!(
        (cluster.visibility.primary.as_str(), &cluster.visibility.secondary),
        ("sqlite", &None)
    );
    assert_eq!(cluster.id.len(), 36, "{}", cluster.id);
}

async fn namespaces_are_listed_with_the_systems_own(server: &'static Server) {
    let frontend = server.frontend().await;
    let all = frontend.namespaces().await.expect("namespaces");
    let ours = all.iter().find(|n| n.name == NAMESPACE).expect("ours");
    assert_eq!(ours.state, NamespaceLife::Registered);
    assert_eq!(ours.retention, Some(Duration::from_secs(2 * 24 * 3600)));
    assert!(!ours.history_archival && !ours.visibility_archival);
    let system = all
        .iter()
        .find(|n| n.name == "temporal-system")
        .expect("temporal-system");
    assert_eq!(system.id, "32049b68-7872-4094-8e63-d0dd59896a83");
    assert_eq!(frontend.namespace(NAMESPACE).await.expect("one").as_ref(), Some(ours));
    assert_eq!(frontend.namespace("no-such-one").await.expect("none"), None);
}

async fn search_attributes_have_a_name_a_type_and_a_column(server: &'static Server) {
    let frontend = server.frontend().await;
    let wanted = BTreeMap::from([
        ("CustomerId".to_owned(), IndexedValueType::Keyword),
        ("Amount".to_owned(), IndexedValueType::Double),
    ]);
    for _ in 0..2 {
        frontend
            .add_search_attributes(NAMESPACE, &wanted)
            .await
            .expect("added, and added again");
    }
    // The frontend reads a Namespace anew every few seconds.
    for _ in 0..300 {
        let found = frontend.search_attributes(NAMESPACE).await.expect("listed");
        if let Some(customer) = found.iter().find(|a| a.name == "CustomerId") {
            assert_eq!(customer.kind, IndexedValueType::Keyword);
            assert!(
                customer.column.as_deref().is_some_and(|c| c.starts_with("Keyword")),
                "{customer:?}"
            );
            let index = server.dir.join("visibility.db").display().to_string();
            let decoded = frontend.index_attributes(&index, NAMESPACE).await.expect("index");
            assert_eq!(
                decoded.custom.get("CustomerId"),
                Some(&(IndexedValueType::Keyword as i32)),
                "{decoded:?}"
            );
            assert!(decoded.system.contains_key("WorkflowType"), "{decoded:?}");
            let registered = frontend.registered_attributes().await.expect("registered");
            let id = frontend
                .namespace(NAMESPACE)
                .await
                .expect("namespace")
                .expect("there")
                .id;
            let named = registered.named(&index, &id);
            assert_eq!(
                named.get("CustomerId"),
                Some(&IndexedValueType::Keyword),
                "{registered:?}"
            );
            assert_eq!(named.get("Amount"), Some(&IndexedValueType::Double), "{registered:?}");
            assert_eq!(
                registered.index(&index).get("KeywordList03"),
                Some(&IndexedValueType::KeywordList),
                "{registered:?}"
            );
            let unknown = frontend
                .index_attributes("no-such-index", NAMESPACE)
                .await
                .expect("index");
            assert!(unknown.custom.is_empty(), "{unknown:?}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("CustomerId was not listed");
}

async fn every_service_says_that_it_serves(server: &'static Server) {
    let frontend = server.frontend().await;
    assert_eq!(frontend.health().await, Health::Serving);
    for (service, port) in [
        (Service::Frontend, server.ports.frontend),
        (Service::History, server.ports.history),
        (Service::Matching, server.ports.matching),
    ] {
        let settings = server.settings().to_address(format!("127.0.0.1:{port}"));
        let health = ServiceHealth::new(service, &settings).expect("settings");
        health.await_serving(Duration::from_secs(60)).await.expect("serves");
    }
    let members = frontend.members().await.expect("members").by_service;
    for service in [Service::Frontend, Service::History, Service::Matching, Service::Worker] {
        assert_eq!(members.get(service.name()).map(Vec::len), Some(1), "{members:?}");
    }
    assert_eq!(members["frontend"], [format!("127.0.0.1:{}", server.ports.frontend)]);
}

async fn asking_the_wrong_service_or_nobody_ends_in_time_and_says_who(server: &'static Server) {
    // The matching port answers, and knows nothing of history.
    let settings = server
        .settings()
        .to_address(format!("127.0.0.1:{}", server.ports.matching));
    let wrong = ServiceHealth::new(Service::History, &settings).expect("settings");
    let error = wrong
        .await_serving(Duration::from_secs(1))
        .await
        .expect_err("not history")
        .to_string();
    assert!(
        error.starts_with(&format!("history at {}", settings.address)),
        "{error}"
    );
    assert!(error.contains("unknown service"), "{error}");

    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .expect("port")
        .local_addr()
        .expect("port");
    let mut settings = ConnectSettings::plaintext(nobody.to_string());
    settings.connect_within = Duration::from_millis(700);
    let error = Frontend::connect(&settings).await.expect_err("nobody");
    let ConnectError::Unreachable {
        attempts, ref reason, ..
    } = error
    else {
        panic!("{error}")
    };
    assert!(attempts > 1, "{error}");
    assert!(reason.contains("Connection refused"), "{reason}");
    assert!(error.to_string().contains(&nobody.to_string()), "{error}");
}

async fn tls_against_a_plaintext_server_fails_and_never_falls_back(server: &'static Server) {
    let mut settings = server.settings();
    settings.connect_within = Duration::from_secs(1);
    settings.tls = Some(TlsSettings::default());
    let error = Frontend::connect(&settings).await.expect_err("no TLS there");
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
}

async fn a_wrong_query_and_a_wrong_namespace_are_the_servers_words(server: &'static Server) {
    let frontend = server.frontend().await;
    let error = frontend
        .count(NAMESPACE, "NoSuchAttribute = 1")
        .await
        .expect_err("no such attribute");
    assert!(!error.is_transient(), "{error:?}");
    assert!(error.to_string().contains("NoSuchAttribute"), "{error}");
    let error = frontend
        .list("no-such-one", "", 10)
        .await
        .expect_err("no such Namespace");
    assert!(error.is_not_found(), "{error:?}");
    assert_eq!(
        frontend
            .describe(NAMESPACE, "no-such-workflow", None)
            .await
            .expect("described"),
        None
    );
}
