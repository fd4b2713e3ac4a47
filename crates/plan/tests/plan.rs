//! What preflight's facts become: a plan, or every problem at once.

mod facts;

use crossfade_plan::{
    attributes::Attributes,
    order::{ClusterFacts, HostFacts, NamespaceRecords, StoreFacts, Unfit},
    plan::{Plan, assemble},
    problem::{Code, Problem},
    progress::{Condition, Outcome, Progress},
    report::Report,
    route::{Form, Indices, Place, Route},
    spec::{Spec, example},
    stage::Stage,
};
use facts::{DAY, cluster, host, stores};
use serde_json::{Value, json};

/// The example with what a test is about.
fn spec(change: impl FnOnce(&mut Value)) -> Spec {
    let mut spec = example();
    change(&mut spec);
    Spec::from_json(&spec).expect("a spec")
}

fn refused(spec: &Spec, cluster: &ClusterFacts, hosts: &[HostFacts], stores: &StoreFacts) -> Vec<Problem> {
    assemble(spec, cluster, hosts, stores).expect_err("no plan")
}

fn codes(problems: &[Problem]) -> Vec<(Code, &str)> {
    problems
        .iter()
        .map(|problem| (problem.code, problem.place.as_deref().unwrap_or_default()))
        .collect()
}

fn planned(spec: &Spec, cluster: &ClusterFacts, hosts: &[HostFacts], stores: &StoreFacts) -> Plan {
    assemble(spec, cluster, hosts, stores).expect("a plan")
}

#[test]
fn a_plan_says_what_will_be_done() {
    let plan = planned(&spec(|_| ()), &cluster(), &[host("node-a")], &stores());
    assert_eq!((plan.route, plan.point_of_no_return), (Route::Dual, Stage::Promote));
    assert_eq!(
        (plan.source_name.as_str(), plan.target_name.as_str()),
        ("visibility", "postgres-visibility-new")
    );
    assert_eq!((plan.shards, plan.poll_seconds, plan.records), (4, 10, 1_030));
    assert_eq!(plan.warnings, Vec::<String>::new());
    assert_eq!(plan.hosts[0].files, host("node-a").files);
    insta::assert_snapshot!(plan.steps.join("\n"));
}

/// Executions keep the names that they were started with, and columns are called otherwise.
#[test]
fn attributes_from_a_store_without_columns_are_moved_where_the_target_can() {
    let told = |kind: &str, plugin: Option<&str>, target: &str, attributes: Option<Attributes>| {
        let spec = spec(|spec| spec["target"]["datastore"]["sql"]["pluginName"] = json!(target));
        let cluster = ClusterFacts {
            version: "1.23.1".into(),
            attributes,
            ..cluster()
        };
        let host = HostFacts {
            source_kind: kind.into(),
            source_plugin: plugin.map(str::to_owned),
            ..host("node-a")
        };
        let plan = planned(&spec, &cluster, &[host], &stores());
        let step = plan.steps.iter().any(|step| step.contains("crossfade_attribute_names"));
        let warning = plan.warnings.iter().any(|warning| warning.contains("no columns"));
        (step, warning)
    };
    let some = || Some(Attributes::new([("CustomerId".into(), "Keyword".into())].into()));
    for (kind, plugin) in [("cassandra", None), ("sql", Some("postgres"))] {
        assert_eq!(told(kind, plugin, "postgres12", some()), (true, false), "{kind}");
        assert_eq!(told(kind, plugin, "postgres12_pgx", None), (true, false), "not known");
        assert_eq!(told(kind, plugin, "mysql8", some()), (false, true), "{kind}");
        let none = Some(Attributes::default());
        assert_eq!(told(kind, plugin, "mysql8", none), (false, false), "there are none");
    }
    assert_eq!(told("sql", Some("postgres12"), "mysql8", some()), (false, false));
}

#[test]
fn the_source_is_kept_written_only_where_the_pair_is_legal_the_other_way_round() {
    let spec = spec(|spec| spec["promote"] = json!({"keep_warm": "7d"}));
    let plan = planned(&spec, &cluster(), &[host("node-a")], &stores());
    let steps = plan.steps.join("\n");
    let said = [
        "node-a: make `postgres-visibility-new` the visibilityStore and `visibility` the secondaryVisibilityStore",
        "or until `finish`: going back needs no copy until then; what follows is the point of no return",
        "secondaryVisibilityWritingMode: off: `postgres-visibility-new` alone is written",
        "node-a: make `postgres-visibility-new` the visibilityStore, without a secondary",
        "remove both dynamic config keys, now that the last host runs the new config",
    ];
    let places: Vec<Option<usize>> = said.iter().map(|part| steps.find(part)).collect();
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{places:?}\n{steps}"
    );

    // No server takes Cassandra as a secondary.
    let mut cluster = cluster();
    cluster.version = "1.23.1".into();
    let cassandra = HostFacts {
        source_kind: "cassandra".into(),
        source_plugin: None,
        ..host("node-a")
    };
    let problems = refused(&spec, &cluster, &[cassandra], &stores());
    assert_eq!(codes(&problems), [(Code::PairUnsupported, "promote.keep_warm")]);
    assert!(
        problems[0].message.contains("7days") && problems[0].remedy.contains("soak"),
        "{problems:?}"
    );
}

#[test]
fn hosts_are_in_the_order_of_their_restarts_and_the_slowest_poll_counts() {
    let spec = spec(|spec| {
        let host = |name: &str, services: &[&str]| json!({"name": name, "config": "/etc/t.yaml", "services": services, "restart": {"systemd": "t.service"}});
        spec["cluster"]["hosts"] = json!([
            host("front", &["frontend"]),
            host("back", &["history", "matching"]),
            host("side", &["worker"])
        ]);
    });
    let slow = HostFacts {
        poll_seconds: 60,
        ..host("back")
    };
    let plan = planned(&spec, &cluster(), &[host("front"), slow, host("side")], &stores());
    let order: Vec<&str> = plan.hosts.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(order, ["side", "back", "front"]);
    assert_eq!(plan.poll_seconds, 60);
}

#[test]
fn namespaces_have_their_records_and_deleted_ones_are_listed() {
    let mut stores = stores();
    stores.namespaces.push(NamespaceRecords {
        namespace_id: "gone".into(),
        open: 1,
        closed: 2,
    });
    let plan = planned(&spec(|_| ()), &cluster(), &[host("node-a")], &stores);
    let listed: Vec<_> = plan
        .namespaces
        .iter()
        .map(|space| (space.name.as_str(), space.open, space.closed))
        .collect();
    assert_eq!(
        listed,
        [("default", 30, 1_000), ("staging", 0, 0), ("gone (deleted)", 1, 2)]
    );
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let spec = spec(|spec| {
        spec["cluster"]["canary_namespace"] = json!("birds");
        spec["cutover"]["namespaces_first"] = json!(["staging", "nowhere"]);
        spec["existing_records"] = json!("both");
    });
    let mut cluster = cluster();
    cluster.version = "1.20.4".into();
    cluster.visibility_stores.push("mysql8".into());
    cluster.namespaces[0].retention_seconds = 0;
    let other = HostFacts {
        source_fingerprint: "f2".into(),
        ..host("node-b")
    };
    let problems = refused(&spec, &cluster, &[host("node-a"), other], &stores());
    assert_eq!(
        codes(&problems),
        [
            (Code::HostsDisagree, "cluster.hosts"),
            (Code::ServerTooOld, "cluster.frontend"),
            (Code::HostsDisagree, "cluster.frontend"),
            (Code::RetentionUnlimited, "existing_records"),
            (Code::SpecInvalid, "cluster.canary_namespace"),
            (Code::SpecInvalid, "cutover.namespaces_first[1]"),
        ]
    );
    assert!(problems.iter().all(|problem| !problem.remedy.is_empty()));
}

#[test]
fn hosts_disagree_by_name_or_by_what_is_behind_it() {
    for other in [
        HostFacts {
            source: "visibility-2".into(),
            ..host("node-b")
        },
        HostFacts {
            source_fingerprint: "f2".into(),
            ..host("node-b")
        },
    ] {
        let problems = refused(&spec(|_| ()), &cluster(), &[host("node-a"), other], &stores());
        assert_eq!(codes(&problems), [(Code::HostsDisagree, "cluster.hosts")]);
        assert!(
            problems[0].message.contains("node-a: visibility, node-b: visibility"),
            "{}",
            problems[0]
        );
    }
}

#[test]
fn no_host_no_plan() {
    assert_eq!(
        codes(&refused(&spec(|_| ()), &cluster(), &[], &stores())),
        [(Code::SpecInvalid, "cluster.hosts")]
    );
}

#[test]
fn a_namespace_that_keeps_its_records_for_ever_cannot_be_waited_for() {
    let mut cluster = cluster();
    cluster.namespaces[0].retention_seconds = 0;
    for (how, expected) in [("backfill", false), ("wait", true), ("both", true)] {
        let spec = spec(|spec| spec["existing_records"] = json!(how));
        let answer = assemble(&spec, &cluster, &[host("node-a")], &stores());
        assert_eq!(answer.is_err(), expected, "{how}");
        if let Err(problems) = answer {
            assert_eq!(codes(&problems), [(Code::RetentionUnlimited, "existing_records")]);
            assert!(
                problems[0]
                    .message
                    .contains("`default` keeps its 1000 closed records for ever"),
                "{}",
                problems[0]
            );
        }
    }
    // One without closed records holds nobody up.
    cluster.namespaces[0].retention_seconds = DAY;
    cluster.namespaces[1].retention_seconds = 0;
    planned(
        &spec(|spec| spec["existing_records"] = json!("wait")),
        &cluster,
        &[host("node-a")],
        &stores(),
    );
}

#[test]
fn the_wait_warns_of_closed_records_that_will_be_gone() {
    let mut cluster = cluster();
    let warnings = |how: &str, cluster: &ClusterFacts| {
        planned(
            &spec(|spec| spec["existing_records"] = json!(how)),
            cluster,
            &[host("node-a")],
            &stores(),
        )
        .warnings
    };
    assert_eq!(
        warnings("wait", &cluster),
        [
            "Namespace default: its 1000 closed records are not archived and will be gone after the wait (Retention \
             Period 3days); set up Archival first to keep them, or use existing_records: backfill"
        ]
    );
    // An archived history is not an archived record.
    cluster.namespaces[0].history_archival = true;
    assert_eq!(warnings("wait", &cluster).len(), 1);
    assert_eq!(warnings("backfill", &cluster).len(), 0);
    assert_eq!(warnings("both", &cluster).len(), 0);
    cluster.namespaces[0].visibility_archival = true;
    assert_eq!(warnings("wait", &cluster).len(), 0);
}

#[test]
fn warnings_of_hosts_and_stores_are_passed_on() {
    let host = HostFacts {
        warnings: vec!["a host's".into()],
        ..host("node-a")
    };
    let stores = StoreFacts {
        warnings: vec!["a store's".into()],
        ..stores()
    };
    assert_eq!(
        planned(&spec(|_| ()), &cluster(), &[host], &stores).warnings,
        ["a host's", "a store's"]
    );
}

#[test]
fn the_target_decides_the_route_too() {
    for (datastore, code) in [
        (json!({"elasticsearch": {"version": "v7"}}), Code::PairUnsupported),
        (json!({"cassandra": {"hosts": "a"}}), Code::PairUnsupported),
        (json!({"sql": {"pluginName": "oracle"}}), Code::StoreUnsupported),
        (json!({"sql": {}}), Code::StoreUnsupported),
    ] {
        let spec = spec(|spec| spec["target"]["datastore"] = datastore);
        let problems = refused(&spec, &cluster(), &[host("node-a")], &stores());
        assert_eq!(codes(&problems), [(code, "target.datastore")]);
    }
    let unknown = HostFacts {
        source_kind: "customDatastore".into(),
        source_plugin: None,
        ..host("node-a")
    };
    let problems = refused(&spec(|_| ()), &cluster(), &[unknown], &stores());
    assert_eq!(
        codes(&problems),
        [(Code::StoreUnsupported, "persistence.visibilityStore")]
    );
    let odd = ClusterFacts {
        version: "latest".into(),
        ..cluster()
    };
    assert_eq!(
        codes(&refused(&spec(|_| ()), &odd, &[host("node-a")], &stores()))[0].0,
        Code::ServerTooOld
    );
}

#[test]
fn periods_that_no_clock_holds_are_refused() {
    let check = |change: fn(&mut Value)| {
        let mut spec = example();
        change(&mut spec);
        Spec::from_json(&spec).map_err(|problems| problems[0].to_string())
    };
    let long = check(|spec| spec["cluster"]["hosts"][0]["restart_within"] = json!("1000000000 years")).unwrap_err();
    assert!(
        long.contains("cluster.hosts[0].restart_within") && long.contains("at most 1day"),
        "{long}"
    );
    let long = check(|spec| spec["cutover"]["soak"] = json!("366d")).unwrap_err();
    assert!(long.contains("cutover.soak") && long.contains("at most"), "{long}");
    check(|spec| spec["cutover"]["soak"] = json!("365d")).unwrap();
}

#[test]
fn what_the_target_cannot_hold_is_in_the_plan_with_counts() {
    let unfit = |refused| Unfit {
        what: "a Workflow Id of more than 255 characters".into(),
        records: 3,
        of: 1_030,
        refused,
        example: "n/r".into(),
    };
    let stores = StoreFacts {
        unfit: vec![unfit(true), unfit(false)],
        ..stores()
    };
    let plan = planned(&spec(|_| ()), &cluster(), &[host("node-a")], &stores);
    assert_eq!(plan.unfit, stores.unfit);
    assert!(plan.warnings[0].contains("3 of 1030 records, for example n/r): such records are not carried over"));
    assert!(plan.warnings[1].contains("carried over with less detail"));
}

/// An index beside the source's own, on a server that takes it in no other form.
fn indices() -> (Spec, ClusterFacts, HostFacts) {
    let spec = spec(|spec| {
        spec["target"]["name"] = json!("es-visibility");
        spec["target"]["datastore"] = json!({"elasticsearch": {"version": "v7", "indices": {"visibility": "next"}}});
    });
    let cluster = ClusterFacts {
        version: "1.23.1".into(),
        visibility_stores: vec!["elasticsearch".into()],
        ..cluster()
    };
    let host = HostFacts {
        source: "es-visibility".into(),
        source_kind: "elasticsearch".into(),
        source_plugin: None,
        place: Place::SameCluster,
        indices: Some(Indices {
            source: "first".into(),
            target: "next".into(),
        }),
        ..host("node-a")
    };
    (spec, cluster, host)
}

#[test]
fn two_indices_of_one_datastore_are_told_by_their_names() {
    let (spec, cluster, host) = indices();
    let plan = planned(&spec, &cluster, std::slice::from_ref(&host), &stores());
    assert_eq!((plan.form, &plan.indices), (Form::SecondaryIndex, &host.indices));
    assert_eq!(
        (plan.source_name.as_str(), plan.target_name.as_str()),
        ("es-visibility", "next")
    );
    insta::assert_snapshot!(plan.steps.join("\n"));
    // Decommissioning the datastore would be the end of the target, too.
    let mut progress = Progress::new("m".into(), "k".into(), spec, jiff::Timestamp::UNIX_EPOCH);
    progress.plan = Some(plan);
    progress.condition = Condition::Ended {
        result: Outcome::Migrated,
    };
    let next = Report::of(&progress).next_steps.join("\n");
    assert!(
        next.contains("`first` is no longer read") && !next.contains("es-visibility"),
        "{next}"
    );
}

#[test]
fn a_worker_that_plans_another_form_than_the_server_takes_is_named() {
    let (spec, cluster, host) = indices();
    let older = HostFacts {
        indices: None,
        ..host.clone()
    };
    let newer = ClusterFacts {
        version: "1.25.1".into(),
        ..cluster.clone()
    };
    for (cluster, host) in [(cluster, older), (newer, host)] {
        let problems = refused(&spec, &cluster, &[host], &stores());
        assert_eq!(codes(&problems), [(Code::HostsDisagree, "cluster.hosts")]);
        assert!(problems[0].message.contains("node-a"), "{}", problems[0]);
    }
}
