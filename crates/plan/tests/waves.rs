//! Which hosts go down at the same time.

mod facts;

use std::collections::BTreeSet;

use crossfade_plan::{
    plan::assemble,
    spec::{Host, Service, Spec, example},
};
use proptest::prelude::*;
use serde_json::json;

const SERVICES: [&str; 5] = ["worker", "matching", "history", "frontend", "internal-frontend"];

/// A cluster of these hosts, each with its services.
fn fleet<S: AsRef<str>>(max_unavailable: Option<u32>, hosts: &[Vec<S>]) -> Spec {
    let mut spec = example();
    let hosts: Vec<_> = hosts
        .iter()
        .enumerate()
        .map(|(index, services)| {
            let services: Vec<&str> = services.iter().map(AsRef::as_ref).collect();
            json!({"name": format!("{}-{index}", services.join("+")), "config": "/etc/t.yaml", "services": services,
                "restart": {"systemd": "t.service"}})
        })
        .collect();
    spec["cluster"]["hosts"] = json!(hosts);
    if let Some(max_unavailable) = max_unavailable {
        spec["cluster"]["restart"] = json!({"max_unavailable": max_unavailable});
    }
    Spec::from_json(&spec).expect("a spec")
}

fn names(spec: &Spec) -> Vec<Vec<&str>> {
    let waves = spec.waves().into_iter();
    waves
        .map(|wave| wave.into_iter().map(|host| host.name.as_str()).collect())
        .collect()
}

/// So many hosts of each kind.
fn kinds(kinds: &[(&'static str, usize)]) -> Vec<Vec<&'static str>> {
    let hosts = kinds
        .iter()
        .flat_map(|(service, count)| std::iter::repeat_n(vec![*service], *count));
    hosts.collect()
}

#[test]
fn one_after_another_is_what_is_done_unless_more_is_asked_for() {
    let hosts = kinds(&[("frontend", 2), ("history", 2), ("matching", 2)]);
    let order = [
        ["matching-4"],
        ["matching-5"],
        ["history-2"],
        ["history-3"],
        ["frontend-0"],
        ["frontend-1"],
    ];
    for max_unavailable in [None, Some(1)] {
        assert_eq!(names(&fleet(max_unavailable, &hosts)), order);
    }
    let plain = serde_json::to_value(fleet(Some(1), &hosts)).expect("JSON");
    assert_eq!(
        plain["cluster"].get("restart"),
        None,
        "what it was before there was a choice"
    );
}

#[test]
fn hosts_of_different_services_go_together_and_frontends_by_themselves() {
    let pairs = kinds(&[("frontend", 2), ("history", 2), ("matching", 2)]);
    for asked in [2, 5] {
        assert_eq!(
            names(&fleet(Some(asked), &pairs)),
            [
                vec!["matching-4", "history-2"],
                vec!["matching-5", "history-3"],
                vec!["frontend-0"],
                vec!["frontend-1"],
            ]
        );
    }
}

#[test]
fn a_third_of_the_history_hosts_at_most() {
    for (hosts, largest) in [(1, 1), (2, 1), (5, 1), (6, 2), (8, 2), (9, 3)] {
        let spec = fleet(Some(9), &kinds(&[("history", hosts)]));
        let lengths: Vec<usize> = spec.waves().iter().map(Vec::len).collect();
        assert_eq!(
            lengths.iter().max(),
            Some(&largest),
            "{hosts} history hosts: {lengths:?}"
        );
    }
}

#[test]
fn who_has_a_service_alone_goes_alone() {
    let spec = fleet(
        Some(3),
        &[
            vec!["frontend"],
            vec!["frontend"],
            vec!["history"],
            vec!["matching"],
            vec!["matching"],
        ],
    );
    assert_eq!(
        names(&spec),
        [
            ["matching-3"],
            ["matching-4"],
            ["history-2"],
            ["frontend-0"],
            ["frontend-1"]
        ]
    );
}

#[test]
fn hosts_that_go_down_together_are_shown_and_what_cannot_be_had_is_said() {
    let pairs = kinds(&[("frontend", 2), ("history", 2), ("matching", 2)]);
    let planned = |asked: u32| {
        let spec = fleet(Some(asked), &pairs);
        let hosts: Vec<_> = spec.cluster.hosts.iter().map(|host| facts::host(&host.name)).collect();
        assemble(&spec, &facts::cluster(), &hosts, &facts::stores()).expect("a plan")
    };
    let plan = planned(2);
    insta::assert_snapshot!(plan.steps.join("\n"));
    assert_eq!(plan.warnings, [] as [String; 0]);
    let order: Vec<&str> = plan.hosts.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(
        order,
        [
            "matching-4",
            "history-2",
            "matching-5",
            "history-3",
            "frontend-0",
            "frontend-1"
        ]
    );
    let one_by_one = planned(1);
    assert_eq!((plan.estimate.restarts, one_by_one.estimate.restarts), (12, 12));
    assert_eq!(
        one_by_one.estimate.restarting * 4,
        plan.estimate.restarting * 6,
        "four waves in place of six"
    );
    let more = planned(4);
    assert_eq!(more.steps, plan.steps);
    let [warning] = more.warnings.as_slice() else {
        panic!("{:?}", more.warnings);
    };
    for words in ["max_unavailable is 4", "at most 2 hosts go down together", "frontend"] {
        assert!(warning.contains(words), "{warning}");
    }
}

fn hosts() -> impl Strategy<Value = Vec<Vec<String>>> {
    let services = proptest::sample::subsequence(SERVICES.to_vec(), 1..=SERVICES.len());
    let host = services.prop_map(|services| services.into_iter().map(str::to_owned).collect());
    proptest::collection::vec(host, 1..16)
}

proptest! {
    #[test]
    fn no_service_is_ever_left_without_a_host_that_serves(hosts in hosts(), asked in 1_u32..20) {
        let spec = fleet(Some(asked), &hosts);
        let waves = spec.waves();
        let all: Vec<&str> = waves.iter().flatten().map(|host| host.name.as_str()).collect();
        prop_assert_eq!(all.len(), hosts.len(), "each host once");
        prop_assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), hosts.len());
        prop_assert!(waves.iter().all(|wave| (1..=asked as usize).contains(&wave.len())));
        let services: BTreeSet<_> = spec.cluster.hosts.iter().flat_map(|host| host.services.clone()).collect();
        for (service, wave) in services.iter().flat_map(|service| waves.iter().map(move |wave| (service, wave))) {
            let with_it = |hosts: &[&Host]| hosts.iter().filter(|host| host.services.contains(service)).count();
            let everywhere = with_it(&spec.cluster.hosts.iter().collect::<Vec<_>>());
            let down = with_it(wave);
            prop_assert!(down < everywhere || (everywhere == 1 && wave.len() == 1), "{service:?}: {waves:?}");
            if service == &Service::History {
                prop_assert!(down <= 1 || 3 * down <= everywhere, "{waves:?}");
            }
        }
        let clients = |wave: &Vec<&Host>| wave.iter().any(|host| host.services.iter().next_back() >= Some(&Service::Frontend));
        let first_with_clients = waves.iter().position(clients).unwrap_or(waves.len());
        prop_assert!(waves.iter().skip(first_with_clients).all(|wave| wave.iter().all(|host| clients(&vec![*host]))), "{waves:?}");
    }
}
