//! How existing records reach the target: decided for each Namespace, and said in words.

use crossfade_plan::{
    estimate::Estimate,
    existing::{Existing, Means, Refreshable, decide, lines, refreshables},
    plan::NamespacePlan,
    problem::Code,
    route::{Kind, Version},
    spec::{Spec, example},
};
use serde_json::json;

const DAY: u64 = 24 * 3600;

fn spec(how: &str, rate: Option<u32>) -> Spec {
    let mut spec = example();
    spec["existing_records"] = json!(how);
    spec["records_per_second"] = json!(rate);
    Spec::from_json(&spec).expect("a spec")
}

fn version(text: &str) -> Version {
    Version::parse(text).expect("a version")
}

/// Namespaces of every kind that the decision is about.
fn namespaces() -> Vec<NamespacePlan> {
    let namespace = |name: &str, days: u64, open, closed| NamespacePlan {
        name: name.into(),
        id: format!("id-of-{name}"),
        retention_seconds: days * DAY,
        history_archival: name == "archived",
        visibility_archival: name == "archived",
        open,
        closed,
        existing: Existing::default(),
    };
    vec![
        namespace("default", 3, 30, 1_000),
        namespace("quiet", 30, 0, 0),
        namespace("archived", 7, 12, 90_000),
        namespace("0815 (deleted)", 0, 0, 5),
    ]
}

fn told(how: &str, source: Kind, server: &str, close_cleanup: bool) -> String {
    let (spec, mut namespaces) = (spec(how, None), namespaces());
    let clean_up = if close_cleanup { ", close clean-up" } else { "" };
    let mut told = vec![format!("## {source:?} on {server}, {how}{clean_up}")];
    match decide(&spec, source, version(server), close_cleanup, &mut namespaces) {
        Ok(()) => {
            told.extend(lines(&namespaces));
            told.push(format!("refreshed: {:?}", refreshables(&namespaces)));
            told.extend(Estimate::of(&spec, 91_047, &namespaces, 10).lines());
        }
        Err(problem) => told.push(problem.to_string()),
    }
    told.join("\n")
}

#[test]
fn each_namespace_has_its_way_and_why_how_long_and_at_what_cost() {
    let mut all = Vec::new();
    for how in ["backfill", "wait", "both", "refresh"] {
        for close_cleanup in [false, true] {
            all.push(told(how, Kind::Cassandra, "1.23.1", close_cleanup));
        }
    }
    all.push(told("backfill", Kind::StandardSql, "1.22.0", false));
    all.push(told("backfill", Kind::Sql, "1.26.2", false));
    all.push(told("backfill", Kind::Sql, "1.30.8", true));
    all.push(told("refresh", Kind::Sql, "1.30.8", false));
    all.push(told("backfill", Kind::Elasticsearch, "1.30.8", false));
    insta::assert_snapshot!(all.join("\n\n"));
}

#[test]
fn a_rate_makes_refreshing_longer_or_shorter() {
    for (rate, seconds) in [(None, 21), (Some(5), 209), (Some(500), 3)] {
        let (spec, mut namespaces) = (spec("backfill", rate), namespaces());
        decide(&spec, Kind::Cassandra, version("1.23.1"), false, &mut namespaces).expect("nothing in the way");
        let estimate = Estimate::of(&spec, 91_047, &namespaces, 10);
        assert_eq!(estimate.refreshing, seconds, "{rate:?}");
    }
}

#[test]
fn closed_executions_are_never_refreshed_where_that_does_harm() {
    for (how, close_cleanup) in [("backfill", true), ("both", true), ("backfill", false), ("both", false)] {
        let mut namespaces = namespaces();
        decide(
            &spec(how, None),
            Kind::Cassandra,
            version("1.23.1"),
            close_cleanup,
            &mut namespaces,
        )
        .expect("nothing asked for that is refused");
        let refreshed = refreshables(&namespaces);
        let both = Refreshable {
            open: true,
            closed: true,
        };
        let open = Refreshable { closed: false, ..both };
        let plain = if close_cleanup { open } else { both };
        assert_eq!(refreshed.get("id-of-default"), Some(&plain));
        assert_eq!(refreshed.get("id-of-archived"), Some(&open));
        assert_eq!(refreshed.get("id-of-0815 (deleted)"), None);
    }
    let mut forced = namespaces();
    let refused = decide(
        &spec("refresh", None),
        Kind::Cassandra,
        version("1.23.1"),
        true,
        &mut forced,
    );
    let problem = refused.expect_err("refused");
    assert_eq!(
        (problem.code, problem.place.as_deref()),
        (Code::RefreshDestructive, Some("existing_records"))
    );
    assert!(problem.message.contains("91005 closed executions"), "{problem}");
}

#[test]
fn what_an_older_worker_planned_is_copied() {
    let namespace: NamespacePlan = serde_json::from_value(json!({
        "name": "default", "retention_seconds": 0, "history_archival": false, "visibility_archival": false, "open": 1, "closed": 2,
    }))
    .expect("reads");
    assert_eq!(
        (namespace.existing.open, namespace.existing.closed),
        (Means::Copy, Means::Copy)
    );
    assert!(refreshables(&[namespace]).is_empty());
}
