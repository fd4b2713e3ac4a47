//! What preflight finds of a small cluster on Postgres that moves to another database.

use crossfade_plan::{
    order::{ClusterFacts, HostFacts, NamespaceFacts, NamespaceRecords, StoreFact, StoreFacts},
    plan::FilePlan,
    route::Place,
    stage::Stage,
};

/// Seconds of a day.
pub(crate) const DAY: u64 = 24 * 3600;

pub(crate) fn namespace(name: &str, retention_seconds: u64) -> NamespaceFacts {
    NamespaceFacts {
        name: name.into(),
        id: format!("id-of-{name}"),
        retention_seconds,
        history_archival: false,
        visibility_archival: false,
        custom_search_attributes: 0,
    }
}

pub(crate) fn cluster() -> ClusterFacts {
    let namespaces = vec![namespace("default", 3 * DAY), namespace("staging", 30 * DAY)];
    ClusterFacts {
        version: "1.30.8".into(),
        name: "active".into(),
        shards: 4,
        visibility_stores: vec!["postgres12".into()],
        namespaces,
        attributes: None,
        dead_letters: None,
    }
}

pub(crate) fn host(name: &str) -> HostFacts {
    let file = |stage, diff: &str| FilePlan {
        stage,
        path: format!("/etc/{name}.yaml"),
        diff: diff.into(),
    };
    HostFacts {
        name: name.into(),
        source: "visibility".into(),
        source_kind: "sql".into(),
        source_plugin: Some("postgres12".into()),
        place: Place::Elsewhere,
        indices: None,
        source_fingerprint: "f1".into(),
        dynamic_config: "/etc/dynamic.yaml".into(),
        poll_seconds: 10,
        files: vec![file(Stage::DualWrite, "+secondary"), file(Stage::Promote, "-secondary")],
        close_cleanup: false,
        parts: Default::default(),
        warnings: Vec::new(),
    }
}

pub(crate) fn stores() -> StoreFacts {
    let store = |description: &str, records| StoreFact {
        description: description.into(),
        plugin: "postgres12".into(),
        schema_version: Some("1.13".into()),
        records,
        indexes: None,
    };
    let records = |name: &str, open, closed| NamespaceRecords {
        namespace_id: format!("id-of-{name}"),
        open,
        closed,
    };
    StoreFacts {
        cuts: vec![],
        source: store("the old database", 1_030),
        target: store("the new database", 0),
        namespaces: vec![records("default", 30, 1_000)],
        unfit: Vec::new(),
        warnings: Vec::new(),
    }
}
