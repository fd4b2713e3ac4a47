//! What traffic did and therefore what a store must say: kept apart from every store.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::attributes::Values;

/// An execution's status, numbered as stores and the API number it (temporal.api.enums.v1.WorkflowExecutionStatus).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i32)]
pub enum Status {
    /// Open.
    Running = 1,
    /// Ended well.
    Completed = 2,
    /// Ended by an error.
    Failed = 3,
    /// Ended after a request to cancel.
    Canceled = 4,
    /// Ended by force.
    Terminated = 5,
    /// Ended by its next run.
    ContinuedAsNew = 6,
    /// Ended by a timeout.
    TimedOut = 7,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One execution as traffic knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The workflow id.
    pub workflow_id: String,
    /// The run id.
    pub run_id: String,
    /// The status that it has in the end.
    pub status: Status,
    /// The custom search attributes that it has in the end, by the names that users know.
    pub attributes: Values,
    /// The memo that it has in the end.
    pub memo: Values,
    /// Whether it was deleted: then no store may have it.
    pub deleted: bool,
}

/// Every execution of one Namespace, by run id. Clones are the same ledger.
#[derive(Debug, Clone)]
pub struct Ledger {
    namespace: String,
    prefix: String,
    entries: Arc<Mutex<BTreeMap<String, Entry>>>,
}

impl Ledger {
    /// An empty ledger of the executions in `namespace` whose workflow ids begin with `prefix`.
    #[must_use]
    pub fn new(namespace: &str, prefix: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            prefix: prefix.to_owned(),
            entries: Arc::default(),
        }
    }

    /// What each workflow id begins with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The Namespace's name.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Writes an entry down, in place of an earlier one of the same run.
    pub fn write(&self, entry: Entry) {
        self.lock().insert(entry.run_id.clone(), entry);
    }

    /// Changes the entry of `run_id`, where there is one.
    pub fn amend(&self, run_id: &str, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.lock().get_mut(run_id) {
            change(entry);
        }
    }

    /// What an attribute of the run is to be now, as JSON.
    #[must_use]
    pub fn attribute(&self, run_id: &str, name: &str) -> Option<String> {
        let entries = self.lock();
        entries.get(run_id)?.attributes.get(name).map(ToString::to_string)
    }

    /// Every entry as it is now.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().values().cloned().collect()
    }

    /// How many executions a store must have.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.lock().values().filter(|entry| !entry.deleted).count()
    }

    /// How many executions there are of each status, the deleted ones apart.
    #[must_use]
    pub fn summary(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for entry in self.lock().values() {
            let name = if entry.deleted {
                "Deleted".to_owned()
            } else {
                entry.status.to_string()
            };
            *counts.entry(name).or_default() += 1;
        }
        counts
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        // An entry is replaced whole: a panic elsewhere leaves none half written.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
