//! How records from before dual writes can reach the target.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Kind, Pair, Place, Version};

/// A way for existing records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Carry {
    /// A copy that carries the source's version of each record, so that a later live write always wins.
    VersionedCopy,
    /// A copy that writes only what the target lacks: the source keeps no version.
    InsertIfAbsent,
    /// Temporal's own refresh of an execution's tasks: the server writes the record anew from mutable state, search
    /// attributes included. Not where histories are archived, nor after close clean-up.
    Refresh,
    /// Elasticsearch's own `_reindex` with external versions: by the operator, inside one cluster.
    Reindex,
    /// Waiting for the Retention Period, and for what was open to close.
    Wait,
}

impl Carry {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::VersionedCopy => "copy with versions",
            Self::InsertIfAbsent => "copy of what is absent",
            Self::Refresh => "refresh from mutable state",
            Self::Reindex => "`_reindex` by hand",
            Self::Wait => "wait for the Retention Period",
        }
    }
}

impl fmt::Display for Carry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// The ways of a pair that is open, the best first.
///
/// SQL rows have had a `_version` since the visibility schema of 1.27 (1.27.3: schema/postgresql/v12/visibility/versioned/v1.9),
/// Elasticsearch documents have always had one; Cassandra and standard SQL have neither a version nor search attributes
/// (1.23.1: common/persistence/visibility/store/standard).
pub(super) fn carries(pair: Pair, version: Version) -> &'static [Carry] {
    match (pair.source, pair.place) {
        (Kind::Cassandra | Kind::StandardSql, _) => &[Carry::Refresh, Carry::InsertIfAbsent, Carry::Wait],
        (Kind::Elasticsearch, Place::SameCluster) => &[Carry::VersionedCopy, Carry::Reindex, Carry::Wait],
        (Kind::Elasticsearch, Place::Elsewhere) => &[Carry::VersionedCopy, Carry::Wait],
        (Kind::Sql, _) if version >= Version::minor(27) => &[Carry::VersionedCopy, Carry::Wait],
        (Kind::Sql, _) => &[Carry::InsertIfAbsent, Carry::Refresh, Carry::Wait],
    }
}
