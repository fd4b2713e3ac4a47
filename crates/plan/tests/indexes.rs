//! When the target's indexes are set aside, what people are told of it, and where a migration stands with them.

use crossfade_plan::{
    indexes::{IndexFact, IndexProgress, IndexesParked, IndexesRestored, Parked, ParkedIndex, not_worth},
    order::{ClusterFacts, HostFacts, NamespaceFacts, NamespaceRecords, StoreFact, StoreFacts},
    plan::{Plan, assemble},
    progress::{Condition, Outcome, Progress, Status},
    report::Report,
    route::Place,
    spec::{DeferIndexes, Spec, example},
};
use jiff::Timestamp;
use serde_json::{Value, json};

fn spec(change: impl FnOnce(&mut Value)) -> Spec {
    let mut spec = example();
    change(&mut spec);
    Spec::from_json(&spec).expect("a spec")
}

fn fact(records: u64, indexes: Option<IndexFact>) -> StoreFact {
    StoreFact {
        description: "a database".into(),
        plugin: "PostgreSQL 15".into(),
        schema_version: indexes.is_some().then(|| "1.13".into()),
        records,
        indexes,
    }
}

fn there(present: u64) -> Option<IndexFact> {
    Some(IndexFact {
        present,
        ..IndexFact::default()
    })
}

/// A plan for such a source, with what the target says of itself.
fn planned(spec: &Spec, records: u64, target: StoreFact) -> Plan {
    let cluster = ClusterFacts {
        version: "1.30.8".into(),
        name: "active".into(),
        shards: 4,
        visibility_stores: vec!["postgres12".into()],
        namespaces: vec![("default", 86_400), ("staging", 86_400)]
            .into_iter()
            .map(|(name, retention_seconds)| NamespaceFacts {
                name: name.into(),
                id: name.into(),
                retention_seconds,
                history_archival: false,
                visibility_archival: false,
                custom_search_attributes: 0,
            })
            .collect(),
        attributes: None,
        dead_letters: None,
    };
    let host = HostFacts {
        name: "node-a".into(),
        source: "visibility".into(),
        source_kind: "sql".into(),
        source_plugin: Some("postgres12".into()),
        place: Place::Elsewhere,
        indices: None,
        source_fingerprint: "f1".into(),
        dynamic_config: "/etc/dynamic.yaml".into(),
        poll_seconds: 10,
        files: Vec::new(),
        close_cleanup: false,
        parts: Default::default(),
        warnings: Vec::new(),
    };
    let stores = StoreFacts {
        source: fact(records, there(71)),
        target,
        namespaces: vec![NamespaceRecords {
            namespace_id: "default".into(),
            open: 0,
            closed: records,
        }],
        cuts: Vec::new(),
        unfit: Vec::new(),
        warnings: Vec::new(),
    };
    assemble(spec, &cluster, &[host], &stores).expect("a plan")
}

fn line(spec: &Spec, records: u64, target: StoreFact) -> String {
    let deferral = planned(spec, records, target).deferral;
    deferral.map_or_else(|| "nothing".to_owned(), |deferral| deferral.line())
}

#[test]
fn they_are_set_aside_where_that_pays() {
    let auto = spec(|_| ());
    let asked = |how: &str| spec(|spec| spec["copy"] = json!({"defer_indexes": how}));
    let aside = |count: &str, records: u64| {
        format!(
            "indexes: {count} set aside while about {records} records are copied, built again before verify, and on the \
             way back"
        )
    };
    let stay = |why: &str| format!("indexes: stay while records are copied ({why})");
    let few = "it pays from 20000 records on, and about 1000 are to be copied";
    let denied = Some(IndexFact {
        present: 71,
        refusal: Some("no owner".into()),
        ..IndexFact::default()
    });
    let mysql = spec(|spec| spec["target"]["datastore"]["sql"]["pluginName"] = json!("mysql8"));
    let wait = spec(|spec| spec["existing_records"] = json!("wait"));
    for (spec, records, target, told) in [
        (&auto, 1_000_000, fact(0, there(71)), aside("71", 1_000_000)),
        (&auto, 1_000_000, fact(100_000, there(71)), aside("71", 900_000)),
        (
            &auto,
            1_000_000,
            fact(100_001, there(71)),
            stay("the target holds 100001 records already"),
        ),
        (&auto, 1_000, fact(0, there(71)), stay(few)),
        (&asked("always"), 1_000, fact(900, there(71)), aside("71", 100)),
        (
            &asked("never"),
            1_000_000,
            fact(0, there(71)),
            stay("copy.defer_indexes is never"),
        ),
        (&auto, 1_000_000, fact(0, denied.clone()), stay("no owner")),
        (&asked("always"), 1_000_000, fact(0, denied), stay("no owner")),
        (
            &auto,
            1_000_000,
            fact(0, there(0)),
            stay("it has none that only serve reading"),
        ),
        // Yet to be set up: by its plugin.
        (
            &auto,
            1_000_000,
            fact(0, None),
            aside("all that only serve reading", 1_000_000),
        ),
        (&mysql, 1_000_000, fact(0, None), "nothing".to_owned()),
        (&wait, 1_000_000, fact(0, there(71)), "nothing".to_owned()),
    ] {
        assert_eq!(line(spec, records, target), told);
    }
}

#[test]
fn the_steps_say_when() {
    let plan = planned(&spec(|_| ()), 1_000_000, fact(0, there(71)));
    let step = |part: &str| plan.steps.iter().position(|step| step.contains(part)).expect("a step");
    let (aside, copy, again, verify) = (
        step("set the indexes of `postgres-visibility-new` aside while it is filled: 71"),
        step("copy from `visibility`"),
        step("build the indexes of `postgres-visibility-new` again"),
        step("verify:"),
    );
    assert!(aside < copy && copy < again && again < verify, "{:#?}", plan.steps);
    let plan = planned(&spec(|_| ()), 10, fact(0, there(71)));
    assert!(
        !plan.steps.iter().any(|step| step.contains("aside")),
        "{:#?}",
        plan.steps
    );
}

#[test]
fn what_an_earlier_run_left_is_told_with_the_next_step() {
    let left = || {
        Some(IndexFact {
            parked: 71,
            ..IndexFact::default()
        })
    };
    let told = |defer: &str, of_source: bool| {
        let spec = spec(|spec| spec["copy"] = json!({"defer_indexes": defer}));
        let plan = planned(&spec, 1_000_000, fact(0, left()));
        let of = if of_source { "source" } else { "target" };
        let warning = plan.warnings.into_iter().find(|warning| warning.contains(of));
        warning.unwrap_or_default()
    };
    assert!(told("auto", false).contains("this migration takes them over"));
    let never = told("never", false);
    let command = "`crossfade indexes --store 'postgres://temporal@127.0.0.1:5432/temporal_visibility_new' --restore`";
    assert!(never.contains(command), "{never}");
}

#[test]
fn worth_is_by_what_is_to_be_copied_and_what_is_there() {
    assert_eq!(not_worth(20_000, 0), None);
    assert!(not_worth(19_999, 0).is_some());
    assert!(not_worth(1_000_000, 990_000).is_some());
    // A target that holds more than the source is no empty one.
    assert!(not_worth(1_000, 5_000).is_some());
}

#[test]
fn old_specs_read_as_before_and_say_nothing_new() {
    let spec = spec(|_| ());
    assert_eq!(spec.copy.defer_indexes, DeferIndexes::Auto);
    let written = serde_json::to_value(&spec).expect("JSON");
    assert!(written.get("copy").is_none(), "{written}");
}

#[test]
fn what_is_owed_is_known_until_it_is_back() {
    let at: Timestamp = "2026-03-01T02:00:00Z".parse().expect("a time");
    let mut progress = Progress::new("m".into(), "key".into(), spec(|_| ()), at);
    assert!(!progress.indexes.state.owed());
    // Ordered and never heard of again.
    progress.indexes.state.ordered = true;
    assert!(progress.indexes.state.owed());
    let parked = Parked {
        indexes: vec![ParkedIndex {
            name: "by_close_time".into(),
            statement: "CREATE INDEX by_close_time ON executions_visibility (close_time)".into(),
            tablespace: None,
        }],
        settings: Vec::new(),
    };
    progress.indexes.parked(IndexesParked {
        parked: parked.clone(),
        kept: None,
    });
    // Carried on whole, and not in the status.
    let written = serde_json::to_value(&progress).expect("JSON");
    let read: Progress = serde_json::from_value(written).expect("reads");
    assert_eq!(read.indexes.parked, parked);
    let status = serde_json::to_value(Status::of(&progress)).expect("JSON");
    assert_eq!(status["indexes"]["set_aside"], 1);
    assert!(!status.to_string().contains("CREATE INDEX"));

    let step = |finished| IndexesRestored {
        finished,
        built: 1,
        slowly: 0,
    };
    progress.indexes.state.building_since = Some(at);
    progress.indexes.add(&step(false), at);
    assert!(progress.indexes.state.owed());
    let later = at + std::time::Duration::from_secs(90);
    progress.indexes.add(&step(true), later);
    assert!(!progress.indexes.state.owed());
    assert_eq!(progress.indexes.parked, Parked::default());
    let words = "1 set aside while records were copied, built again in 1m 30s";
    assert_eq!(Report::of(&progress).indexes.as_deref(), Some(words));
    assert_eq!(IndexProgress::default().state.words(), None);
}

#[test]
fn a_way_back_that_left_them_says_so() {
    let at: Timestamp = "2026-03-01T02:00:00Z".parse().expect("a time");
    let mut progress = Progress::new("m".into(), "key".into(), spec(|_| ()), at);
    progress.indexes.state.ordered = true;
    progress.indexes.state.left = Some("do this".into());
    progress.condition = Condition::Ended {
        result: Outcome::RolledBack,
    };
    let report = Report::of(&progress);
    assert!(
        report.next_steps.contains(&"do this".to_owned()),
        "{:?}",
        report.next_steps
    );
    assert_eq!(report.indexes.as_deref(), Some("left set aside, see the next steps"));
}
