//! How the records from before dual writes reach the target: decided for each Namespace, with why, how long and at
//! what cost.
//!
//! A source of the target's own family holds everything, so a copy is exact. Cassandra and the standard SQL stores hold
//! no search attributes (server 1.23.1: common/persistence/visibility/store/standard): what the target lacks is then
//! *refreshed*, that is, written anew by the server from the execution's mutable state, and only what has no state left
//! is copied. Refreshing a closed execution is not harmless everywhere: it schedules archival a second time, and where
//! mutable state was cleaned up after closing it would empty memo and search attributes in both stores
//! (1.23.1: service/history/workflow/task_refresher.go, task_generator.go). There its record is copied instead, with the
//! search attributes that its state still has.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    period::Period,
    plan::NamespacePlan,
    problem::{Code, Problem},
    route::{Kind, Version},
    spec::{ExistingRecords, Spec},
};

/// Refreshes a second where no rate is asked for. Each one rewrites an execution's state in the main store and makes
/// all its tasks anew, so this is slow on purpose.
pub const REFRESHED_A_SECOND: u32 = 50;

/// Records a second that a copy is taken to write where no lower rate is asked for: the slow end of what stores on a
/// local network do.
pub(crate) const COPIED_A_SECOND: u64 = 2_000;

/// What reaches the target how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Means {
    /// The record is copied from the source.
    #[default]
    Copy,
    /// The server writes it anew from the execution's mutable state; what has none left is copied.
    Refresh,
    /// Nothing is carried: it goes with its Retention Period, or reaches the target when it closes.
    Wait,
}

impl fmt::Display for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Copy => "copy",
            Self::Refresh => "refresh",
            Self::Wait => "wait",
        })
    }
}

/// How one Namespace's existing records reach the target.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Existing {
    /// Executions that run.
    pub open: Means,
    /// Executions that ended.
    pub closed: Means,
    /// Whether the Retention Period is waited for afterwards as well.
    pub then_wait: bool,
    /// Why so.
    pub why: String,
    /// About how long it takes, in seconds.
    pub seconds: u64,
    /// What it costs: calls, load, and what is not carried over.
    pub cost: String,
}

impl fmt::Display for Existing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.open == self.closed {
            write!(f, "{}", self.open)?;
        } else {
            write!(f, "{} open, {} closed", self.open, self.closed)?;
        }
        f.write_str(if self.then_wait { ", then wait" } else { "" })
    }
}

/// Which executions of a Namespace may be refreshed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Refreshable {
    /// Those that run.
    pub open: bool,
    /// Those that ended.
    pub closed: bool,
}

/// Which executions may be refreshed, by Namespace id; a Namespace that is not there has none.
pub type Refreshables = BTreeMap<String, Refreshable>;

/// The Namespaces of a plan in which anything is refreshed.
pub fn refreshables(namespaces: &[NamespacePlan]) -> Refreshables {
    namespaces
        .iter()
        .map(|namespace| {
            let refreshable = Refreshable {
                open: namespace.existing.open == Means::Refresh,
                closed: namespace.existing.closed == Means::Refresh,
            };
            (namespace.id.clone(), refreshable)
        })
        .filter(|(id, refreshable)| !id.is_empty() && (refreshable.open || refreshable.closed))
        .collect()
}

/// Decides for each Namespace how its existing records reach the target. `close_cleanup` is whether
/// `history.visibilityProcessorEnableCloseWorkflowCleanup` stands in a dynamic config file.
///
/// # Errors
/// What the operator asked for and is refused: refreshing what a refresh would damage.
pub fn decide(
    spec: &Spec,
    source: Kind,
    version: Version,
    close_cleanup: bool,
    namespaces: &mut [NamespacePlan],
) -> Result<(), Problem> {
    let ground = Ground::new(spec, source, version, close_cleanup);
    for namespace in &mut *namespaces {
        namespace.existing = ground.decide(namespace);
    }
    ground.refused(namespaces).map_or(Ok(()), Err)
}

/// What decides, beside the Namespace's own facts.
#[derive(Debug, Clone, Copy)]
struct Ground {
    /// What the operator asked for.
    asked: ExistingRecords,
    /// Whether the source holds search attributes at all.
    holds_attributes: bool,
    /// Whether the source keeps a version with each record, so that a copy is exact however late it is.
    versioned: bool,
    /// Whether `history.visibilityProcessorEnableCloseWorkflowCleanup` stands in a dynamic config file.
    close_cleanup: bool,
    /// Refreshes a second.
    refreshed_a_second: u64,
    /// Records copied a second.
    copied_a_second: u64,
}

impl Ground {
    fn new(spec: &Spec, source: Kind, version: Version, close_cleanup: bool) -> Self {
        let asked_rate = spec.records_per_second.map(u64::from);
        Self {
            asked: spec.existing_records,
            holds_attributes: matches!(source, Kind::Sql | Kind::Elasticsearch),
            versioned: source == Kind::Elasticsearch
                || (source == Kind::Sql && (version.major, version.minor) >= (1, 27)),
            close_cleanup,
            refreshed_a_second: asked_rate.unwrap_or(REFRESHED_A_SECOND.into()).max(1),
            copied_a_second: asked_rate.map_or(COPIED_A_SECOND, |rate| COPIED_A_SECOND.min(rate.max(1))),
        }
    }

    /// Decides for one Namespace.
    fn decide(&self, namespace: &NamespacePlan) -> Existing {
        let mut existing = if self.asked == ExistingRecords::Wait {
            self.wait(namespace)
        } else if namespace.is_deleted() {
            self.copy("the Namespace is deleted, so only its records are left")
        } else if self.holds_attributes && self.asked != ExistingRecords::Refresh {
            self.copy(if self.versioned {
                "the source holds whole records with their versions, so that a copy is exact"
            } else {
                "the source holds whole records without versions, so that a copy adds only what the target lacks"
            })
        } else {
            self.refresh(namespace)
        };
        existing.seconds += self.seconds(&existing, namespace);
        if self.asked == ExistingRecords::Both {
            existing.then_wait = true;
            existing.seconds += namespace.retention_seconds;
        }
        existing
    }

    fn wait(&self, namespace: &NamespacePlan) -> Existing {
        Existing {
            open: Means::Wait,
            closed: Means::Wait,
            why: "`existing_records: wait` asks for it".to_owned(),
            seconds: if namespace.closed > 0 {
                namespace.retention_seconds
            } else {
                0
            },
            cost: format!(
                "{} closed records are not carried over and go with their Retention Period; verify carries over what is \
                 left then",
                namespace.closed
            ),
            ..Existing::default()
        }
    }

    fn copy(&self, why: &str) -> Existing {
        Existing {
            why: why.to_owned(),
            cost: if self.holds_attributes {
                "none beside reading the source and writing the target".to_owned()
            } else {
                "what the source does not hold (search attributes) stays lacking".to_owned()
            },
            ..Existing::default()
        }
    }

    fn refresh(&self, namespace: &NamespacePlan) -> Existing {
        let closed = namespace.closed;
        let because = if self.holds_attributes {
            "`existing_records: refresh` asks for it"
        } else {
            "the source holds no search attributes and the cluster's own state does"
        };
        let archived = namespace.history_archival || namespace.visibility_archival;
        let in_the_way = if self.close_cleanup {
            Some(format!(
                "history.visibilityProcessorEnableCloseWorkflowCleanup is in the dynamic config: a refresh could empty memo \
                 and search attributes of {closed} closed executions"
            ))
        } else if archived && self.asked != ExistingRecords::Refresh {
            Some(format!(
                "Archival is on: a refresh would archive {closed} closed executions a second time"
            ))
        } else {
            None
        };
        let refreshed = namespace.open + if in_the_way.is_some() { 0 } else { closed };
        let mut cost = format!(
            "up to {refreshed} refreshes at {} a second, each of which rewrites an execution's state and tasks in the main \
             store",
            self.refreshed_a_second
        );
        match &in_the_way {
            Some(_) if self.holds_attributes || closed == 0 => {}
            Some(_) if self.close_cleanup => cost.push_str(&format!(
                "; the search attributes of {closed} closed executions are read from the cluster's own state, which changes \
                 nothing there; those that were cleaned up are not carried over (`existing_records: both` waits until these \
                 executions are gone)"
            )),
            Some(_) => cost.push_str(&format!(
                "; the search attributes of {closed} closed executions are read from the cluster's own state, which changes \
                 nothing there"
            )),
            None if archived => cost.push_str(&format!("; {closed} closed executions are archived a second time")),
            None => {}
        }
        Existing {
            open: Means::Refresh,
            closed: if in_the_way.is_some() {
                Means::Copy
            } else {
                Means::Refresh
            },
            why: match in_the_way {
                Some(danger) => format!("{because}; closed executions are copied, since {danger}"),
                None => because.to_owned(),
            },
            cost,
            ..Existing::default()
        }
    }

    fn seconds(&self, existing: &Existing, namespace: &NamespacePlan) -> u64 {
        [(existing.open, namespace.open), (existing.closed, namespace.closed)]
            .into_iter()
            .map(|(means, records)| match means {
                Means::Copy => records.div_ceil(self.copied_a_second),
                Means::Refresh => records.div_ceil(self.refreshed_a_second),
                Means::Wait => 0,
            })
            .sum()
    }

    /// What the operator asked for and is refused: refreshing what a refresh would damage.
    fn refused(&self, namespaces: &[NamespacePlan]) -> Option<Problem> {
        if self.asked != ExistingRecords::Refresh || !self.close_cleanup {
            return None;
        }
        let closed: u64 = namespaces.iter().map(|namespace| namespace.closed).sum();
        (closed > 0).then(|| {
            Problem::new(
                Code::RefreshDestructive,
                format!(
                    "history.visibilityProcessorEnableCloseWorkflowCleanup is in the dynamic config: refreshing could empty \
                     memo and search attributes of {closed} closed executions in both stores"
                ),
            )
            .at("existing_records")
        })
    }
}

/// A line for each Namespace: what is done, why, how long, at what cost.
pub fn lines(namespaces: &[NamespacePlan]) -> Vec<String> {
    namespaces
        .iter()
        .map(|namespace| {
            let existing = &namespace.existing;
            format!(
                "{}: {existing} ({} open, {} closed; about {}). Why: {}. Cost: {}",
                namespace.name,
                namespace.open,
                namespace.closed,
                Period::from_secs(existing.seconds),
                existing.why,
                existing.cost
            )
        })
        .collect()
}
