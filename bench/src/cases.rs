//! The benchmarks, each a list of cases.

pub(crate) mod compare;
pub(crate) mod copy;
pub(crate) mod cost;
pub(crate) mod memory;
pub(crate) mod slices;

use std::collections::BTreeMap;

use crate::job::Done;

/// How to go about a benchmark.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// How many records.
    pub(crate) records: u64,
    /// How often each case is measured.
    pub(crate) rounds: u32,
    /// Whether to measure what others take, too.
    pub(crate) peers: bool,
    /// The only cases to measure; all when empty.
    pub(crate) cases: &'a [String],
}

impl Scope<'_> {
    /// Whether to measure the case of this name.
    fn has(self, name: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|case| case == name)
    }
}

/// What our side spent, per case: beside the benchmark's own file, for whoever wants to know why.
pub(crate) type Spent = BTreeMap<String, Done>;

/// The database that everything is copied from.
const SOURCE: &str = "bench_source";
