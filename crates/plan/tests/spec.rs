//! Reading a spec: every mistake told with its field, and nothing that can be sent does harm.

use crossfade_plan::{
    problem::Code,
    spec::{ExistingRecords, Spec, example, schema},
    stage::Gate,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// The example with the value at `pointer` replaced, added, or (with `Null`) removed.
fn with(pointer: &str, to: Value) -> Value {
    let mut spec = example();
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    let fields = spec
        .pointer_mut(parent)
        .and_then(Value::as_object_mut)
        .expect("an object");
    if to.is_null() {
        fields.remove(field);
    } else {
        fields.insert(field.to_owned(), to);
    }
    spec
}

/// What is wrong with a spec, as `place: message`.
fn problems(spec: &Value) -> Vec<String> {
    match Spec::from_json(spec) {
        Ok(_) => Vec::new(),
        Err(problems) => problems
            .iter()
            .map(|problem| format!("{}: {}", problem.place.as_deref().unwrap_or("-"), problem.message))
            .collect(),
    }
}

#[track_caller]
fn check(spec: &Value, expected: &[&str]) {
    assert_eq!(problems(spec), expected);
}

#[test]
fn the_example_is_read_with_its_defaults() {
    let spec = Spec::from_json(&example()).expect("the example is good");
    assert_eq!(spec.cluster.canary_namespace, "default");
    assert_eq!(spec.cluster.hosts[0].restart_within.0.as_secs(), 300);
    assert_eq!(spec.existing_records, ExistingRecords::Backfill);
    let least = json!({
        "cluster": {
            "frontend": "127.0.0.1:7233",
            "hosts": [{ "name": "a", "config": "/c.yaml", "restart": { "command": ["/bin/restart"] } }],
        },
        "target": { "name": "t", "datastore": { "sql": { "pluginName": "sqlite" } } },
    });
    let spec = Spec::from_json(&least).expect("what is left out has a default");
    assert_eq!(spec.gates, [Gate::DualWrite, Gate::Cutover, Gate::Promote].into());
    assert!(spec.keep_source_datastore);
    assert!(!spec.target.setup_schema);
    assert_eq!(spec.cluster.hosts[0].services.len(), 4);
}

#[test]
fn missing_and_unknown_fields_are_named() {
    check(
        &json!({}),
        &["cluster: missing field `cluster`", "target: missing field `target`"],
    );
    check(
        &with("/cluster/frontend", Value::Null),
        &["cluster.frontend: missing field `frontend`"],
    );
    check(
        &with("/cluster/frontent", json!("x")),
        &["cluster.frontent: unknown field `frontent`"],
    );
    check(
        &with("/cluster/hosts/0/restart", Value::Null),
        &["cluster.hosts[0].restart: missing field `restart`"],
    );
    check(
        &with("/cutover/shadow", json!(true)),
        &["cutover.shadow: unknown field `shadow`"],
    );
    check(
        &with("/cluster/tls", json!({"ca": "/x"})),
        &["cluster.tls.ca: unknown field `ca`"],
    );
}

#[test]
fn wrong_types_and_values_are_told_with_what_was_expected() {
    check(
        &with("/cluster/hosts", json!([])),
        &["cluster.hosts: must not be empty"],
    );
    check(
        &with("/cluster/hosts", json!({})),
        &["cluster.hosts: expected a list, got an object"],
    );
    check(&with("/target/name", json!("")), &["target.name: must not be empty"]);
    check(
        &with("/target/datastore", json!("sql")),
        &["target.datastore: expected an object, got a string"],
    );
    check(
        &with("/cutover/soak", json!("soon")),
        &["cutover.soak: `soon` is not a length of time like 30s, 30m or 7d"],
    );
    check(
        &with("/cutover/soak", json!("5 fortnights")),
        &[
            "cutover.soak: `5 fortnights` is not a length of time like 30s, 30m or 7d: unknown time unit \"fortnights\", \
           supported units: ns, us/µs, ms, sec, min, hours, days, weeks, months, years (and few variations)",
        ],
    );
    check(
        &with("/cluster/hosts/0/restart", json!({"command": ["a"], "systemd": "b"})),
        &[
            "cluster.hosts[0].restart: got an object with `command`, `systemd`, expected {\"command\": [\"PROGRAM\", \
           \"ARGUMENT\"]} or {\"systemd\": \"UNIT.service\"} or {\"compose\": {\"project\": \"NAME\", \
           \"services\": [\"SERVICE\"]}} or {\"kubernetes\": {\"namespace\": \"NAME\", \"workloads\": \
          [\"deployment/NAME\"]}}",
        ],
    );
    assert_eq!(problems(&with("/records_per_second", json!(0))).len(), 1);
    assert_eq!(problems(&with("/records_per_second", json!(-1))).len(), 1);
    assert_eq!(
        problems(&with("/records_per_second", json!(4_294_967_296_u64))).len(),
        1
    );
    assert_eq!(problems(&with("/records_per_second", json!(1.5))).len(), 1);
    for slices in [
        json!({"at_once": 0}),
        json!({"at_once": 65}),
        json!({"records": 0}),
        json!({"parallel": 2}),
    ] {
        assert_eq!(problems(&with("/slices", slices.clone())).len(), 1, "{slices}");
    }
    for restart in [
        json!({"max_unavailable": 0}),
        json!({"max_unavailable": -1}),
        json!({"max_unavailable": "25%"}),
        json!({"maxUnavailable": 2}),
    ] {
        assert_eq!(
            problems(&with("/cluster/restart", restart.clone())).len(),
            1,
            "{restart}"
        );
    }
}

#[test]
fn files_are_named_as_the_way_of_restarting_has_it() {
    let mut pods = example();
    let host = &mut pods["cluster"]["hosts"][0];
    host["config"] = json!("configmap/temporal-config/production.yaml");
    host["restart"] = json!({"kubernetes": {"namespace": "temporal", "workloads": ["deployment/temporal-history"]}});
    pods["cluster"]["dynamic_config"] = json!("configmap/temporal-dynamic-config/dynamic_config.yaml");
    assert_eq!(problems(&pods), [] as [String; 0]);

    let mut wrong = pods.clone();
    wrong["cluster"]["hosts"][0]["config"] = json!("/etc/temporal/config/production.yaml");
    wrong["cluster"]["hosts"][0]["restart"]["kubernetes"]["workloads"] = json!(["temporal-history"]);
    let mut object = wrong["cluster"].clone();
    object.as_object_mut().unwrap().remove("dynamic_config");
    wrong["cluster"] = object;
    let form = "neither configmap/NAME/KEY nor secret/NAME/KEY, as files in Kubernetes are named";
    check(
        &wrong,
        &[
            "cluster.dynamic_config: missing: host `node-a` is in Kubernetes, where it is written configmap/NAME/KEY or \
             secret/NAME/KEY",
            &format!("cluster.hosts[0].config: `/etc/temporal/config/production.yaml` is {form}"),
            "cluster.hosts[0].restart.kubernetes.workloads[0]: `temporal-history` is neither deployment/NAME nor statefulset/NAME",
        ],
    );
    let mut shared = pods.clone();
    let mut other = shared["cluster"]["hosts"][0].clone();
    other["name"] = json!("node-b");
    shared["cluster"]["hosts"].as_array_mut().unwrap().push(other);
    check(
        &shared,
        &[
            "cluster.hosts[1].config: `configmap/temporal-config/production.yaml` is host `node-a`'s as well, so that both \
           would change at once; make them one host with the workloads of both",
        ],
    );
}

#[test]
fn values_that_do_not_fit_together_are_told() {
    check(
        &with("/cluster/hosts/0/config", json!("config/production.yaml")),
        &["cluster.hosts[0].config: `config/production.yaml` is not an absolute path"],
    );
    check(
        &with("/cluster/dynamic_config", json!("dynamic.yaml")),
        &["cluster.dynamic_config: `dynamic.yaml` is not an absolute path"],
    );
    check(
        &with("/cluster/api_key", json!({"env": "KEY"})),
        &["cluster.api_key: an API key without `cluster.tls` would go over the network in clear; add `tls: {}`"],
    );
    check(
        &with("/cluster/hosts/0/restart_within", json!("10ms")),
        &["cluster.hosts[0].restart_within: `10ms` leaves no time to restart; give at least 1s"],
    );
    let mut twins = example();
    let host = twins["cluster"]["hosts"][0].clone();
    twins["cluster"]["hosts"] = json!([host, host]);
    check(
        &twins,
        &["cluster.hosts[1].name: two hosts are named `node-a`; each needs a name of its own"],
    );
    let expected = |count| {
        format!(
            "target.datastore: expected the server's own datastore entry with one of `sql`, `elasticsearch`, \
             `cassandra`; got {count} of them"
        )
    };
    check(&with("/target/datastore", json!({})), &[expected(0).as_str()]);
    check(
        &with("/target/datastore", json!({"sql": {}, "cassandra": {}})),
        &[expected(2).as_str()],
    );
}

#[test]
fn secrets_as_plain_text_are_refused_and_never_shown() {
    let places = [
        (
            "/target/datastore/sql/password",
            json!("s3cret"),
            "target.datastore.sql.password",
        ),
        (
            "/target/datastore/sql/password",
            json!(12_345),
            "target.datastore.sql.password",
        ),
        (
            "/target/datastore/sql/tls",
            json!({"keyData": "s3cret"}),
            "target.datastore.sql.tls.keyData",
        ),
        (
            "/target/datastore/sql/connectAttributes",
            json!({"sslpassword": "s3cret"}),
            "target.datastore.sql.connectAttributes.sslpassword",
        ),
        (
            "/source",
            json!({"datastore": {"sql": {"password": "s3cret"}}}),
            "source.datastore.sql.password",
        ),
        ("/cluster/api_key", json!("s3cret"), "cluster.api_key"),
    ];
    for (pointer, secret, place) in places {
        let problems = Spec::from_json(&with(pointer, secret)).expect_err("refused");
        let [problem] = problems.as_slice() else {
            panic!("{place}: {problems:?}")
        };
        assert_eq!(
            (problem.code, problem.place.as_deref()),
            (Code::SecretInSpec, Some(place))
        );
        assert!(!format!("{problem} {problem:?}").contains("s3cret"));
    }
    let by_reference = with("/target/datastore/sql/password", json!({"file": "/run/secrets/p"}));
    check(&by_reference, &[]);
}

#[test]
fn a_spec_too_large_to_travel_is_refused() {
    let large = "x".repeat(300 << 10);
    check(
        &with("/target/datastore/sql/databaseName", json!(large)),
        &["-: the spec takes 300 KiB; a workflow can carry 256 KiB of it"],
    );
}

#[test]
fn hosts_are_restarted_with_frontends_last() {
    let host = |name: &str, services: Value| json!({ "name": name, "config": "/c", "services": services, "restart": { "systemd": "t" } });
    let hosts = json!([
        host("edge", json!(["frontend"])),
        host("history", json!(["history"])),
        host("all", json!(["frontend", "history", "matching", "worker"])),
        host("workers", json!(["worker", "matching"])),
    ]);
    let spec = Spec::from_json(&with("/cluster/hosts", hosts)).expect("good");
    let order: Vec<&str> = spec.hosts_in_order().iter().map(|host| host.name.as_str()).collect();
    assert_eq!(order, ["workers", "history", "edge", "all"]);
}

#[test]
fn the_published_schema_accepts_what_is_read() {
    let validator = jsonschema::validator_for(&schema()).expect("the schema is one");
    assert!(validator.is_valid(&example()));
    let spec = Spec::from_json(&example()).expect("good");
    let written = serde_json::to_value(&spec).expect("JSON");
    assert!(validator.is_valid(&written));
    assert_eq!(Spec::from_json(&written).expect("reads again"), spec);
}

/// Any JSON value.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        "(sql|env|file|dual-write|backfill|30s|/path)".prop_map(Value::from),
    ];
    let name = "(cluster|target|hosts|name|datastore|sql|password|restart|command|gates|tls|.{0,8})";
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((name, inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Every place in a value, as pointers.
fn places(value: &Value, pointer: &str, found: &mut Vec<String>) {
    found.push(pointer.to_owned());
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, inner)| places(inner, &format!("{pointer}/{name}"), found)),
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, inner)| places(inner, &format!("{pointer}/{index}"), found));
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn nothing_that_can_be_sent_panics(value in any_json()) {
        if let Err(problems) = Spec::from_json(&value) {
            prop_assert!(!problems.is_empty());
        }
    }

    #[test]
    fn a_good_spec_with_one_value_replaced_is_read_or_explained(place in any::<prop::sample::Index>(), value in any_json()) {
        let mut spec = example();
        let mut found = Vec::new();
        places(&spec, "", &mut found);
        let pointer = place.get(&found).clone();
        if let Some(at) = spec.pointer_mut(&pointer) {
            *at = value;
        }
        match Spec::from_json(&spec) {
            Ok(read) => {
                let written = serde_json::to_value(&read).expect("JSON");
                prop_assert_eq!(Spec::from_json(&written).expect("reads again"), read);
            }
            Err(problems) => {
                for problem in problems {
                    prop_assert!(!problem.message.is_empty() && !problem.remedy.is_empty());
                }
            }
        }
    }
}
