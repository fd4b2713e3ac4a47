//! The way in words: what the plan prints and what the workflow walks.

use crate::{
    attribute_work::{AttributeWork, Moved},
    existing::Means,
    indexes::{Deferral, What},
    order::HostFacts,
    plan::NamespacePlan,
    route::Indices,
    spec::{Host, Spec, VerifyBy},
    stage::Stage,
};

/// What the stores are called.
pub(crate) struct Names<'a> {
    source: &'a str,
    target: &'a str,
    /// The datastore that has both, where both are indices of one.
    datastore: Option<&'a str>,
}

impl<'a> Names<'a> {
    pub(crate) fn of(spec: &'a Spec, host: &'a HostFacts) -> Self {
        match &host.indices {
            Some(Indices { source, target }) => Self {
                source,
                target,
                datastore: Some(&host.source),
            },
            None => Self {
                source: &host.source,
                target: &spec.target.name,
                datastore: None,
            },
        }
    }

    fn attach(&self) -> String {
        match self.datastore {
            Some(datastore) => format!("add `{}` to `{datastore}` as indices.secondary_visibility", self.target),
            None => format!("add `{}` as secondaryVisibilityStore", self.target),
        }
    }

    fn swap(&self) -> String {
        match self.datastore {
            Some(datastore) => format!(
                "make `{}` the indices.visibility of `{datastore}` and `{}` its indices.secondary_visibility",
                self.target, self.source
            ),
            None => format!(
                "make `{}` the visibilityStore and `{}` the secondaryVisibilityStore",
                self.target, self.source
            ),
        }
    }

    fn promote(&self) -> String {
        match self.datastore {
            Some(datastore) => format!("make `{}` the indices.visibility of `{datastore}`", self.target),
            None => format!("make `{}` the visibilityStore", self.target),
        }
    }
}

/// The steps in words, in order: what `plan` prints and what the workflow walks.
pub(crate) fn steps(
    spec: &Spec,
    names: &Names<'_>,
    poll_seconds: u64,
    namespaces: &[NamespacePlan],
    attributes: AttributeWork,
    deferral: Option<&Deferral>,
) -> Vec<String> {
    let Names { source, target, .. } = names;
    let hosts: Vec<&str> = spec.hosts_in_order().iter().map(|host| host.name.as_str()).collect();
    let waves: Vec<(String, &str)> = spec.waves().iter().map(|wave| together(wave)).collect();
    let mut steps = Vec::new();
    let mut stage = |stage: Stage, lines: Vec<String>| {
        if let Some(gate) = stage.gate().filter(|gate| spec.gates.contains(gate)) {
            steps.push(format!("gate {gate}: wait for `approve`"));
        }
        steps.extend(lines.into_iter().map(|line| format!("{stage}: {line}")));
    };
    stage(
        Stage::PrepareTarget,
        vec![if spec.target.setup_schema {
            format!("set the schema of `{target}` up with Temporal's own tool where it is missing or old")
        } else {
            format!("check the schema of `{target}`")
        }],
    );
    let mut dual = vec![format!(
        "write the dynamic config keys as off / false on {} and wait {poll_seconds} s for them to be read",
        hosts.join(", ")
    )];
    dual.extend(
        waves
            .iter()
            .map(|(wave, healthy)| format!("{wave}: {}, restart, {healthy}", names.attach())),
    );
    if attributes.registered {
        dual.push(format!(
            "register the custom search attributes for `{target}` where they are missing, and read them back"
        ));
    }
    if attributes.moved == Moved::ByTarget {
        dual.push(format!(
            "make a trigger in `{target}` (crossfade_attribute_names) that moves the attributes of executions from before, \
             which the server goes on writing under the users' own names, into the columns of their Namespaces; it stays \
             there until you drop it"
        ));
    }
    dual.push("set system.secondaryVisibilityWritingMode to dual, wait for it to be read".to_owned());
    dual.push("prove by a canary on every history shard that both stores are written".to_owned());
    stage(Stage::DualWrite, dual);
    stage(
        Stage::ExistingRecords,
        existing_steps(spec, names, namespaces, deferral),
    );
    stage(
        Stage::Verify,
        vec![match spec.verify.by {
            VerifyBy::Records => "compare every record of every Namespace, repair, again until clean".to_owned(),
            VerifyBy::Digests => "compare every record of every Namespace by digests that both stores compute, where they can \
                                  (two Postgres from 14), and read those whose digests differ, repair, again until clean"
                .to_owned(),
        }],
    );
    let mut cutover = Vec::new();
    if !spec.cutover.namespaces_first.is_empty() {
        cutover.push(format!(
            "reads of {} from `{target}`, proven",
            spec.cutover.namespaces_first.join(", ")
        ));
        cutover.push(format!("soak for {}", spec.cutover.soak));
    }
    cutover.push(format!("reads of every Namespace from `{target}`, proven"));
    cutover.push(format!("soak for {}", spec.cutover.soak));
    stage(Stage::Cutover, cutover);
    let mut promote = vec![match spec.promote.keep_warm {
        None => "compare every record once more; this is the point of no return".to_owned(),
        Some(_) => "compare every record once more".to_owned(),
    }];
    promote.extend(spec.promote.keep_warm.iter().flat_map(|keep_warm| {
        let first = format!(
            "let each host read its primary, so that hosts before and after their turn read a store that is complete; wait \
             {poll_seconds} s"
        );
        let swaps = waves
            .iter()
            .map(|(wave, healthy)| format!("{wave}: {}; restart, {healthy}", names.swap()));
        let then = [
            "prove by a canary on every history shard that both stores are written, and that the target answers".to_owned(),
            format!(
                "keep both written for {keep_warm}, or until `finish`: going back needs no copy until then; what follows is \
                 the point of no return"
            ),
            format!("secondaryVisibilityWritingMode: off: `{}` alone is written; nothing in the dead-letter queue", names.target),
        ];
        std::iter::once(first).chain(swaps).chain(then).collect::<Vec<_>>()
    }));
    promote.extend(
        waves
            .iter()
            .map(|(wave, healthy)| format!("{wave}: {}, without a secondary; restart, {healthy}", names.promote())),
    );
    promote.push("remove both dynamic config keys, now that the last host runs the new config".to_owned());
    stage(Stage::Promote, promote);
    stage(
        Stage::Finish,
        vec![format!(
            "check that `{target}` has everything that `{source}` had; report"
        )],
    );
    steps
        .into_iter()
        .enumerate()
        .map(|(index, step)| format!("{}. {step}", index + 1))
        .collect()
}

/// The hosts of a wave, one or those that go down at the same time; and what is done at last.
fn together(wave: &[&Host]) -> (String, &'static str) {
    let names: Vec<&str> = wave.iter().map(|host| host.name.as_str()).collect();
    match names.as_slice() {
        [name] => ((*name).to_owned(), "prove it healthy"),
        names => (format!("{} at the same time", names.join(", ")), "prove each healthy"),
    }
}

fn existing_steps(
    spec: &Spec,
    names: &Names<'_>,
    namespaces: &[NamespacePlan],
    deferral: Option<&Deferral>,
) -> Vec<String> {
    let Names { source, target, .. } = names;
    let refreshed = namespaces
        .iter()
        .filter(|namespace| [namespace.existing.open, namespace.existing.closed].contains(&Means::Refresh))
        .count();
    let mut steps = Vec::new();
    if refreshed > 0 {
        steps.push(format!(
            "refresh what `{target}` lacks from the cluster's own state, in {refreshed} Namespaces"
        ));
    }
    if spec.existing_records.backfills() {
        let deferral = deferral.filter(|deferral| deferral.set_aside);
        steps.extend(deferral.map(|deferral| {
            format!(
                "set the {} of `{target}` aside while it is filled: {}",
                deferral.what.name(),
                deferral.count()
            )
        }));
        let what = if refreshed > 0 { "still lacks" } else { "lacks" };
        steps.push(format!("copy from `{source}` what `{target}` {what}"));
        steps.extend(deferral.map(|deferral| match deferral.what {
            What::Indexes => {
                format!("build the indexes of `{target}` again while the cluster writes on; the way back does so, too")
            }
            What::Settings => format!("put the settings of `{target}` back; the way back does so, too"),
        }));
    }
    if spec.existing_records.waits() {
        steps.push(wait_step());
    }
    steps
}

fn wait_step() -> String {
    "wait until the Retention Period has removed what was closed, and what was open has closed".to_owned()
}
