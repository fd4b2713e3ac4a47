//! What a cluster says of itself, as values.

use std::collections::BTreeMap;
use std::time::Duration;

use temporalio_common::protos::temporal::api::enums::v1::IndexedValueType;

use crate::version::Version;

/// What a cluster says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterInfo {
    /// Version of the frontend that answered.
    pub version: Version,
    /// Name in the cluster's metadata, usually `active`.
    pub name: String,
    /// Id, a UUID, made when the cluster was first started.
    pub id: String,
    /// Number of history shards; fixed for the life of a cluster.
    pub history_shards: u32,
    /// Plugin of the main store.
    pub persistence_store: String,
    /// Plugins of the Visibility stores of the frontend that answered.
    pub visibility: VisibilityStores,
}

/// The Visibility stores that one frontend was started with.
/// They are plugin names, such as `postgres12` or `elasticsearch`, never the names of datastores, and they say nothing
/// about other hosts or the writing mode (1.30.8: service/frontend/workflow_handler.go, GetClusterInfo).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisibilityStores {
    /// Plugin of `visibilityStore`.
    pub primary: String,
    /// Plugin of `secondaryVisibilityStore`, where there is one.
    pub secondary: Option<String>,
}

impl VisibilityStores {
    pub(crate) fn parse(text: &str) -> Self {
        let mut names = text.split(',').map(str::trim);
        let primary = names.next().unwrap_or_default().to_owned();
        Self {
            primary,
            secondary: names.next().filter(|n| !n.is_empty()).map(str::to_owned),
        }
    }
}

/// A Namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Id, a UUID; the stores' key.
    pub id: String,
    /// Name. A Namespace that is being deleted is renamed by the server (`NAME-deleted-...`).
    pub name: String,
    /// Registered, deprecated or being deleted.
    pub state: NamespaceLife,
    /// How long closed executions are kept; `None` is for ever.
    pub retention: Option<Duration>,
    /// Whether histories go to an archive when retention ends.
    pub history_archival: bool,
    /// Whether visibility records go to an archive when retention ends.
    pub visibility_archival: bool,
    /// Whether it is replicated between clusters.
    pub global: bool,
    /// On SQL stores: name (alias) by pre-allocated column (`Keyword01`). Empty elsewhere.
    pub aliases: BTreeMap<String, String>,
}

/// Where a Namespace is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamespaceLife {
    /// In use.
    Registered,
    /// Accepts no new executions.
    Deprecated,
    /// Being deleted.
    Deleted,
    /// A state that this version does not know.
    Other(i32),
}

/// A custom search attribute of a Namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchAttribute {
    /// The name that users write.
    pub name: String,
    /// Type.
    pub kind: IndexedValueType,
    /// On SQL stores: the pre-allocated column (`Keyword01`) behind the name.
    pub column: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_stores_are_told_apart() {
        let pair = VisibilityStores::parse("postgres12,elasticsearch");
        assert_eq!(
            (pair.primary.as_str(), pair.secondary.as_deref()),
            ("postgres12", Some("elasticsearch"))
        );
        let same = VisibilityStores::parse("postgres12,postgres12");
        assert_eq!(same.secondary.as_deref(), Some("postgres12"));
        assert_eq!(
            VisibilityStores::parse("sqlite"),
            VisibilityStores {
                primary: "sqlite".into(),
                secondary: None
            }
        );
        assert_eq!(VisibilityStores::parse("sqlite,").secondary, None);
    }
}
