//! What differs between the files of a cluster's hosts.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    order::HostFacts,
    problem::{Code, Problem},
};

/// What every host must agree about: hosts that count shards differently are no cluster, and would part further with each step.
const MUST_AGREE: [&str; 1] = ["persistence.numHistoryShards"];

/// The hosts that have a part as others do not, in groups that agree: `node-a, node-b; node-c`.
fn differing(hosts: &[HostFacts]) -> impl Iterator<Item = (&str, String)> {
    // An earlier release's worker tells no parts.
    let told: Vec<&HostFacts> = hosts.iter().filter(|host| !host.parts.is_empty()).collect();
    let parts: BTreeSet<&str> = told
        .iter()
        .flat_map(|host| host.parts.keys().map(String::as_str))
        .collect();
    parts.into_iter().filter_map(move |part| {
        let mut groups: BTreeMap<Option<&String>, Vec<&str>> = BTreeMap::new();
        for host in &told {
            groups.entry(host.parts.get(part)).or_default().push(&host.name);
        }
        let groups: Vec<String> = groups.values().map(|names| names.join(", ")).collect();
        (groups.len() > 1).then(|| (part, groups.join("; ")))
    })
}

/// What would diverge.
pub(crate) fn problems(hosts: &[HostFacts]) -> Vec<Problem> {
    differing(hosts)
        .filter(|(part, _)| MUST_AGREE.contains(part))
        .map(|(part, groups)| {
            let message = format!("the hosts' files differ in `{part}` ({groups})");
            Problem::new(Code::HostsDisagree, message).at("cluster.hosts")
        })
        .collect()
}

/// What differs and may be meant.
pub(crate) fn warnings(hosts: &[HostFacts]) -> Vec<String> {
    differing(hosts)
        .map(|(part, groups)| {
            format!(
                "the hosts' files differ in `{part}` ({groups}): each is edited as it is; see that this is meant before approving"
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Place;

    fn host(name: &str, parts: &[(&str, &str)]) -> HostFacts {
        let told = parts
            .iter()
            .map(|(part, print)| ((*part).to_owned(), (*print).to_owned()));
        HostFacts {
            name: name.to_owned(),
            source: "visibility".to_owned(),
            source_kind: "sql".to_owned(),
            source_plugin: None,
            place: Place::Elsewhere,
            indices: None,
            source_fingerprint: String::new(),
            dynamic_config: String::new(),
            poll_seconds: 10,
            files: Vec::new(),
            close_cleanup: false,
            parts: told.collect(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn what_differs_between_hosts_is_shown_and_refused_where_it_would_diverge() {
        let (shards, keys) = ("persistence.numHistoryShards", "the dynamic config file");
        let hosts = [
            host("node-a", &[(shards, "1"), (keys, "1")]),
            host("node-b", &[(shards, "1"), (keys, "2")]),
            host("node-c", &[(shards, "1"), (keys, "1"), ("archival", "1")]),
            // A worker of an earlier release does not tell.
            host("node-d", &[]),
        ];
        assert_eq!(problems(&hosts), []);
        let told = warnings(&hosts);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("`archival` (node-a, node-b; node-c)"), "{told:?}");
        assert!(
            told[1].contains("`the dynamic config file` (node-a, node-c; node-b)"),
            "{told:?}"
        );

        let refused = problems(&[host("node-a", &[(shards, "1")]), host("node-b", &[(shards, "2")])]);
        let [problem] = refused.as_slice() else {
            panic!("{refused:?}")
        };
        assert_eq!(
            (problem.code, problem.place.as_deref()),
            (Code::HostsDisagree, Some("cluster.hosts"))
        );
        assert!(
            problem
                .message
                .contains("`persistence.numHistoryShards` (node-a; node-b)"),
            "{}",
            problem.message
        );
    }
}
