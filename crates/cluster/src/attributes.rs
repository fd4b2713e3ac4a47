//! Custom search attributes as the cluster has them registered, and registering them for another store.
//!
//! The cluster's metadata holds the names and types for each *index*: an Elasticsearch index has the users' own names;
//! a SQL database (by its name) has the pre-allocated columns (`Keyword01`), and each Namespace has names (aliases) for
//! the columns that it uses; every standard store has the index `""` with the users' own names. A store decodes what it
//! is given by the types of its own index, so a name that is lacking there fails its tasks or is dropped in silence
//! (common/searchattribute/encode.go).
//!
//! Up to 1.27 the index `""` is merged into every other one when it is read (1.27.3: common/searchattribute/manager.go,
//! GetSearchAttributes; no more in 1.29.1).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use temporalio_common::protos::temporal::api::enums::v1::IndexedValueType;
use uuid::Uuid;

use crate::error::CallError;
use crate::frontend::Frontend;
use crate::version::Version;

/// Types of search attributes, by name.
pub type Types = BTreeMap<String, IndexedValueType>;

/// The index of every standard store: Cassandra, and SQL of the plugins `mysql`, `postgres` and `postgres_pgx`.
pub const STANDARD_INDEX: &str = "";

/// Every custom search attribute that a cluster has registered. Read from the main store, past every cache.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Registered {
    /// Names and types, by index.
    pub indices: BTreeMap<String, Types>,
    /// Name (alias) by column, by the Namespace's id; only Namespaces that have any.
    pub aliases: BTreeMap<String, BTreeMap<String, String>>,
}

/// One attribute that two looks see differently.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It was not registered before.
    Added {
        /// Where.
        place: Place,
        /// Its name: in an index, the name itself; in a Namespace, `alias (column)`.
        name: String,
    },
    /// It is not registered any more.
    Removed {
        /// Where.
        place: Place,
        /// As above.
        name: String,
    },
    /// Its type is another one.
    Retyped {
        /// Where.
        place: Place,
        /// As above.
        name: String,
    },
}

/// Where an attribute is registered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// An index of the cluster's metadata.
    Index(String),
    /// A Namespace, by id.
    Namespace(String),
}

/// A wanted attribute that an index has not, or not as wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// It is not registered.
    Missing {
        /// Its name.
        name: String,
        /// The type that is wanted.
        wanted: IndexedValueType,
    },
    /// It is registered with another type. No API changes a type; the name has to be removed first.
    OtherType {
        /// Its name.
        name: String,
        /// The type that is wanted.
        wanted: IndexedValueType,
        /// The type that it has.
        found: IndexedValueType,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(name) if name.is_empty() => write!(f, "the standard store"),
            Self::Index(name) => write!(f, "index {name}"),
            Self::Namespace(id) => write!(f, "Namespace {id}"),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added { place, name } => write!(f, "{name} was added to {place}"),
            Self::Removed { place, name } => write!(f, "{name} was removed from {place}"),
            Self::Retyped { place, name } => write!(f, "{name} of {place} has another type"),
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { name, wanted } => write!(f, "{name} ({}) is missing", type_name(*wanted)),
            Self::OtherType { name, wanted, found } => {
                write!(f, "{name} is {}, not {}", type_name(*found), type_name(*wanted))
            }
        }
    }
}

/// A type as Temporal's tools write it, such as `KeywordList`.
pub fn type_name(kind: IndexedValueType) -> &'static str {
    match kind {
        IndexedValueType::Unspecified => "Unspecified",
        IndexedValueType::Text => "Text",
        IndexedValueType::Keyword => "Keyword",
        IndexedValueType::Int => "Int",
        IndexedValueType::Double => "Double",
        IndexedValueType::Bool => "Bool",
        IndexedValueType::Datetime => "Datetime",
        IndexedValueType::KeywordList => "KeywordList",
    }
}

/// What `found` lacks of `wanted`, by name.
pub fn lacks(wanted: &Types, found: &Types) -> Vec<Lack> {
    wanted
        .iter()
        .filter_map(|(name, wanted)| match found.get(name) {
            None => Some(Lack::Missing {
                name: name.clone(),
                wanted: *wanted,
            }),
            Some(kind) if kind != wanted => Some(Lack::OtherType {
                name: name.clone(),
                wanted: *wanted,
                found: *kind,
            }),
            Some(_) => None,
        })
        .collect()
}

impl Registered {
    /// What is registered for an index by its own name; nothing for one that is not known.
    pub fn index(&self, name: &str) -> Types {
        self.indices.get(name).cloned().unwrap_or_default()
    }

    /// What a store of this index decodes by on this server version: its own attributes, and up to 1.27 those of
    /// [`STANDARD_INDEX`] over them.
    pub fn decoded_by(&self, index: &str, server: &Version) -> Types {
        let mut types = self.index(index);
        // 1.28 is counted among those that merge no more: what is registered for the index itself is right in both.
        if !server.at_least(1, 28) {
            types.extend(self.index(STANDARD_INDEX));
        }
        types
    }

    /// The custom attributes of one Namespace over a SQL store of this index: type by the Namespace's names.
    pub fn named(&self, index: &str, namespace_id: &str) -> Types {
        let columns = self.index(index);
        let aliases = self.aliases.get(namespace_id).into_iter().flatten();
        aliases
            .filter_map(|(column, alias)| Some((alias.clone(), *columns.get(column)?)))
            .collect()
    }

    /// The same value for the same attributes of these indices and of all Namespaces; the order of `indices` does not
    /// matter. To be kept by a migration and compared at each stage; [`Registered::changes`] then says what differs.
    pub fn fingerprint(&self, indices: &[&str]) -> String {
        let mut text = String::new();
        // No name can hold a line feed (1.30.8: common/searchattribute, names are keys of a List Filter).
        for index in indices.iter().collect::<BTreeSet<_>>() {
            for (name, kind) in self.index(index) {
                text.push_str(&format!("{index}\n{name}\n{}\n", kind as i32));
            }
        }
        for (namespace, aliases) in &self.aliases {
            for (column, alias) in aliases {
                text.push_str(&format!("{namespace}\n{column}\n{alias}\n\n"));
            }
        }
        Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes()).to_string()
    }

    /// What is different since `before`, in these indices and in all Namespaces.
    pub fn changes(&self, before: &Self, indices: &[&str]) -> Vec<Change> {
        let mut changes = Vec::new();
        for index in indices.iter().collect::<BTreeSet<_>>() {
            let place = Place::Index((*index).to_owned());
            differences(&place, &before.index(index), &self.index(index), &mut changes);
        }
        let namespaces: BTreeSet<&String> = before.aliases.keys().chain(self.aliases.keys()).collect();
        let none = BTreeMap::new();
        for id in namespaces {
            let named = |registered: &Self| -> BTreeMap<String, ()> {
                let aliases = registered.aliases.get(id).unwrap_or(&none);
                aliases
                    .iter()
                    .map(|(column, alias)| (format!("{alias} ({column})"), ()))
                    .collect()
            };
            differences(
                &Place::Namespace(id.clone()),
                &named(before),
                &named(self),
                &mut changes,
            );
        }
        changes
    }
}

fn differences<V: PartialEq>(
    place: &Place,
    before: &BTreeMap<String, V>,
    now: &BTreeMap<String, V>,
    changes: &mut Vec<Change>,
) {
    for name in before.keys().chain(now.keys()).collect::<BTreeSet<_>>() {
        let (place, name_) = (place.clone(), name.clone());
        match (before.get(name), now.get(name)) {
            (None, Some(_)) => changes.push(Change::Added { place, name: name_ }),
            (Some(_), None) => changes.push(Change::Removed { place, name: name_ }),
            (Some(old), Some(new)) if old != new => changes.push(Change::Retyped { place, name: name_ }),
            _ => {}
        }
    }
}

impl Frontend {
    /// Every custom search attribute that the cluster has registered, as its main store has it at this moment. Hosts
    /// may still go by what they read up to a minute ago.
    ///
    /// # Errors
    /// When a call fails, or an attribute has a type that this version does not know.
    pub async fn registered_attributes(&self) -> Result<Registered, CallError> {
        const CALL: &str = "ListClusters";
        let ours = self.cluster().await?.id;
        let mut indices = BTreeMap::new();
        let mut next_page_token = Vec::new();
        loop {
            let request = ListClustersRequest {
                page_size: 100,
                next_page_token,
            };
            let page: ListClustersResponse = self.admin(CALL, request).await?;
            for cluster in page.clusters.into_iter().filter(|cluster| cluster.cluster_id == ours) {
                for (index, attributes) in cluster.index_search_attributes {
                    indices.insert(index, self.types(CALL, attributes.custom_search_attributes)?);
                }
            }
            next_page_token = page.next_page_token;
            if next_page_token.is_empty() {
                break;
            }
        }
        let aliases = self.namespaces().await?.into_iter();
        Ok(Registered {
            indices,
            aliases: aliases
                .filter(|namespace| !namespace.aliases.is_empty())
                .map(|namespace| (namespace.id, namespace.aliases))
                .collect(),
        })
    }

    fn types(&self, call: &'static str, numbers: HashMap<String, i32>) -> Result<Types, CallError> {
        numbers
            .into_iter()
            .map(|(name, number)| {
                let kind = IndexedValueType::try_from(number)
                    .map_err(|_| CallError::answer(call, self.address(), format!("{name} has the type {number}")))?;
                Ok((name, kind))
            })
            .collect()
    }
}

// Field numbers: 1.21.6 to 1.30.8: proto/internal/temporal/server/api/adminservice/v1/request_response.proto and
// persistence/v1/cluster_metadata.proto.

#[derive(Clone, PartialEq, prost::Message)]
struct ListClustersRequest {
    #[prost(int32, tag = "1")]
    page_size: i32,
    #[prost(bytes = "vec", tag = "2")]
    next_page_token: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ListClustersResponse {
    #[prost(message, repeated, tag = "1")]
    clusters: Vec<ClusterMetadata>,
    #[prost(bytes = "vec", tag = "2")]
    next_page_token: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ClusterMetadata {
    #[prost(string, tag = "3")]
    cluster_id: String,
    #[prost(map = "string, message", tag = "5")]
    index_search_attributes: HashMap<String, IndexSearchAttributes>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct IndexSearchAttributes {
    #[prost(map = "string, int32", tag = "1")]
    custom_search_attributes: HashMap<String, i32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(pairs: &[(&str, IndexedValueType)]) -> Types {
        pairs.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect()
    }

    fn registered() -> Registered {
        Registered {
            indices: BTreeMap::from([
                (String::new(), types(&[("CustomerId", IndexedValueType::Keyword)])),
                (
                    "visibility".to_owned(),
                    types(&[
                        ("Keyword01", IndexedValueType::Keyword),
                        ("Int01", IndexedValueType::Int),
                    ]),
                ),
            ]),
            aliases: BTreeMap::from([(
                "namespace-1".to_owned(),
                BTreeMap::from([
                    ("Int01".to_owned(), "Amount".to_owned()),
                    ("Bool09".to_owned(), "Lost".to_owned()),
                ]),
            )]),
        }
    }

    #[test]
    fn a_change_is_noticed_and_named() {
        let before = registered();
        assert_eq!(
            before.fingerprint(&["", "visibility"]),
            registered().fingerprint(&["visibility", ""])
        );
        assert_eq!(registered().changes(&before, &["", "visibility"]), []);
        let mut now = registered();
        now.indices
            .insert("another".to_owned(), types(&[("X", IndexedValueType::Text)]));
        assert_eq!(now.fingerprint(&["visibility"]), before.fingerprint(&["visibility"]));
        let index = now.indices.entry(String::new()).or_default();
        index.insert("CustomerId".to_owned(), IndexedValueType::Text);
        index.insert("Fresh".to_owned(), IndexedValueType::Bool);
        now.aliases.clear();
        assert_ne!(now.fingerprint(&["visibility"]), before.fingerprint(&["visibility"]));
        let said: Vec<String> = now.changes(&before, &[""]).iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "CustomerId of the standard store has another type",
                "Fresh was added to the standard store",
                "Amount (Int01) was removed from Namespace namespace-1",
                "Lost (Bool09) was removed from Namespace namespace-1",
            ]
        );
    }

    #[test]
    fn what_a_store_decodes_by_depends_on_the_version() {
        let registered = registered();
        let decoded = |version| registered.decoded_by("visibility", &version).len();
        assert_eq!(
            (decoded(Version::new(1, 23, 1)), decoded(Version::new(1, 30, 8))),
            (3, 2)
        );
        assert_eq!(
            registered.named("visibility", "namespace-1"),
            types(&[("Amount", IndexedValueType::Int)])
        );
    }

    #[test]
    fn what_lacks_is_missing_or_of_another_type() {
        let wanted = types(&[("A", IndexedValueType::Int), ("B", IndexedValueType::Bool)]);
        let found = types(&[("A", IndexedValueType::Double)]);
        let said: Vec<String> = lacks(&wanted, &found).iter().map(ToString::to_string).collect();
        assert_eq!(said, ["A is Double, not Int", "B (Bool) is missing"]);
        assert_eq!(lacks(&wanted, &wanted), []);
    }
}
