//! Registering custom search attributes for the store that a cluster moves to, before records go there.
//!
//! Which call does it depends on both stores and on the server, and three of the ways have traps:
//!
//! - From a *standard* store to a SQL one (up to 1.23) the operator's AddSearchAttributes gives each Namespace names for
//!   the columns, but the frontend goes on to check what is started against the standard store's index, which has no
//!   columns: within seconds every start with a custom attribute is refused, "search attribute CustomerId is not
//!   defined". So the columns are registered for the standard store first, and every host is given the time to see them.
//! - Up to 1.27 what is registered for the standard store counts as registered for every index, so that neither API adds
//!   it to the index itself; a later server that no longer merges the two then knows none of it. Registering another
//!   attribute writes the merged set back, and removing that attribute leaves it there.
//! - In both cases an Elasticsearch index is not given the fields either: that is left to the caller
//!   ([`Registration::wanted`]).
//!
//! Sources: 1.23.1: service/frontend/{operator,admin}_handler.go, common/searchattribute/{manager,mapper,validator}.go,
//! service/worker/addsearchattributes/workflow.go; 1.30.8: the same.

mod error;
mod foresee;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use temporalio_common::protos::temporal::api::enums::v1::IndexedValueType;
use temporalio_common::protos::temporal::api::namespace::v1::NamespaceConfig;
use temporalio_common::protos::temporal::api::workflowservice::v1::UpdateNamespaceRequest;

use crate::attributes::{Lack, Registered, STANDARD_INDEX, Types, lacks};
use crate::error::CallError;
use crate::frontend::{Frontend, call};

pub use error::RegisterError;
pub use foresee::foresee;

/// For how long a host may go by what it once read of the attributes, with a margin
/// (1.30.8: common/searchattribute/manager.go, cacheRefreshInterval is 60 s).
pub const CACHED_FOR: Duration = Duration::from_secs(65);

/// An attribute that is registered for a moment so that the server writes the merged set back.
const PASSING: &str = "CrossfadeRegistration";

/// What the server says when somebody else, or an earlier try, was quicker (1.23.1: service/frontend/errors.go).
const QUICKER: [&str; 2] = ["already exists", "already allocated"];

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// What an index calls custom attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IndexKind {
    /// A standard store: names that serve to check what is started; no record has an attribute.
    Standard,
    /// Elasticsearch: the users' own names, for the whole cluster.
    Names,
    /// SQL: columns, and for each Namespace its names for them.
    Columns,
}

/// The index of a store in the cluster's metadata.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Index {
    /// What it calls attributes.
    pub kind: IndexKind,
    /// Its name: [`STANDARD_INDEX`], the Elasticsearch index, or `databaseName`.
    pub name: String,
}

/// What was registered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Registration {
    /// Every attribute that records bring to the target, by the name that the target's index has it by. An Elasticsearch
    /// index has to have each of them in its mapping, too; the server sees to that only for those in `added`.
    pub wanted: Types,
    /// Those that this call registered for the target's index.
    pub added: Types,
    /// The names that this call gave columns, by the Namespace's name.
    pub named: BTreeMap<String, Types>,
}

impl Index {
    /// The index of a store, from its entry in `persistence.datastores`; `None` where the entry names none.
    pub fn of_datastore(entry: &serde_json::Value) -> Option<Self> {
        let text = |pointer: &str| entry.pointer(pointer).and_then(|v| v.as_str()).map(str::to_owned);
        if entry.get("cassandra").is_some_and(|v| !v.is_null()) {
            return Some(Self::standard());
        }
        if let Some(plugin) = text("/sql/pluginName") {
            return match plugin.as_str() {
                "mysql" | "postgres" | "postgres_pgx" => Some(Self::standard()),
                _ => text("/sql/databaseName").map(|name| Self {
                    kind: IndexKind::Columns,
                    name,
                }),
            };
        }
        text("/elasticsearch/indices/visibility").map(|name| Self {
            kind: IndexKind::Names,
            name,
        })
    }

    /// The index that every standard store has.
    pub fn standard() -> Self {
        Self {
            kind: IndexKind::Standard,
            name: STANDARD_INDEX.to_owned(),
        }
    }
}

/// One run of registering.
struct Registering<'a> {
    frontend: &'a Frontend,
    source: &'a Index,
    target: &'a Index,
    namespaces: &'a [String],
    within: Duration,
    started: Instant,
}

/// Registers the source's custom attributes for the target's index and reads them back. Calling it again is harmless.
///
/// The target has to be the secondary store of the frontend that answers (its writing mode may be off), but for one case:
/// another index of the same Elasticsearch cluster up to 1.27. `namespaces` are those, by name, that are to have names
/// for columns when the source has none; each gets all of the source's attributes. `cached_for` is how long hosts may
/// go by what they read before, [`CACHED_FOR`] unless the cluster has `system.forceSearchAttributesCacheRefreshOnRead`;
/// it is waited out only where attributes were registered that starts are checked against, or that hosts would leave out
/// of the target's records until they know them. `within` bounds the rest.
///
/// # Errors
/// See [`RegisterError`]. Nothing is ever removed or changed that was registered before.
pub async fn register(
    frontend: &Frontend,
    source: &Index,
    target: &Index,
    namespaces: &[String],
    cached_for: Duration,
    within: Duration,
) -> Result<Registration, RegisterError> {
    let run = Registering {
        frontend,
        source,
        target,
        namespaces,
        within,
        started: Instant::now(),
    };
    match target.kind {
        IndexKind::Standard => Ok(Registration::default()),
        IndexKind::Names => run.names(cached_for).await,
        IndexKind::Columns => run.columns(cached_for).await,
    }
}

impl Registering<'_> {
    async fn names(&self, cached_for: Duration) -> Result<Registration, RegisterError> {
        let cluster = self.frontend.cluster().await?;
        let server = cluster.version;
        let index = &self.target.name;
        let stores = [Some(cluster.visibility.primary), cluster.visibility.secondary];
        let elastic = stores
            .iter()
            .flatten()
            .filter(|plugin| *plugin == "elasticsearch")
            .count();
        // Another index of the same store can be registered for beforehand only while the admin's call works.
        let both = self.source.kind == IndexKind::Names && server.at_least(1, 28);
        if elastic < 1 + usize::from(both) {
            return Err(RegisterError::NotConfigured { index: index.clone() });
        }
        let mut registered = self.frontend.registered_attributes().await?;
        let wanted = match self.source.kind {
            IndexKind::Columns => self.names_of_all(&registered)?,
            _ => registered.decoded_by(&self.source.name, &server),
        };
        let before = registered.index(index);
        let known = registered.decoded_by(index, &server);
        loop {
            let found = registered.index(index);
            let lacking = missing(&wanted, &found);
            // Counts as registered, so that no API adds it.
            let merged = registered.decoded_by(index, &server);
            let asked = if found.contains_key(PASSING) {
                self.remove(&[PASSING]).await
            } else if lacking.is_empty() {
                break;
            } else if lacking.keys().any(|name| merged.contains_key(name)) {
                let passing = Types::from([(PASSING.to_owned(), IndexedValueType::Keyword)]);
                self.add(index, &passing, true).await
            } else {
                let secondary = server.at_least(1, 23) && stores[1].is_some();
                self.add_names(&lacking, secondary || server.at_least(1, 28)).await
            };
            registered = self.look_again(asked, &wanted).await?;
        }
        self.right_types(&wanted, &registered)?;
        if !missing(&wanted, &known).is_empty() {
            tokio::time::sleep(cached_for).await;
        }
        Ok(Registration {
            added: missing(&wanted, &before),
            wanted,
            named: BTreeMap::new(),
        })
    }

    /// Adds names to the index, and fields to its mapping.
    ///
    /// The operator's call adds to both stores from 1.23 on. The admin's adds to any index by a workflow, whose worker is
    /// gone since 1.28: there the call waits for ever, and leaves the workflow behind (seen on 1.30.8: "unable to find
    /// workflow type: temporal-sys-add-search-attributes-workflow"; 1.29.1: service/frontend/admin_handler.go calls it and
    /// service/worker/fx.go lacks it).
    async fn add_names(&self, names: &Types, by_operator: bool) -> Result<(), CallError> {
        if by_operator {
            // Any Namespace will do: names are the whole cluster's.
            return self.frontend.add_search_attributes("temporal-system", names).await;
        }
        self.add(&self.target.name, names, false).await
    }

    /// One type for each name that any Namespace uses.
    fn names_of_all(&self, registered: &Registered) -> Result<Types, RegisterError> {
        let mut all = Types::new();
        for namespace in registered.aliases.keys() {
            for (name, kind) in registered.named(&self.source.name, namespace) {
                match all.insert(name.clone(), kind) {
                    Some(other) if other != kind => {
                        return Err(RegisterError::TwoTypes {
                            index: self.target.name.clone(),
                            name,
                            one: other,
                            other: kind,
                        });
                    }
                    _ => {}
                }
            }
        }
        Ok(all)
    }

    async fn columns(&self, cached_for: Duration) -> Result<Registration, RegisterError> {
        let server = self.frontend.cluster().await?.version;
        let index = &self.target.name;
        let mut registered = self.frontend.registered_attributes().await?;
        let columns = registered.index(index);
        if columns.is_empty() {
            // A server registers them when it starts with the store (1.23.1: temporal/fx.go, initialIndexSearchAttributes).
            return Err(RegisterError::NotConfigured { index: index.clone() });
        }
        if self.source.kind == IndexKind::Columns {
            let used = registered.aliases.values().flat_map(BTreeMap::keys);
            let of_source = registered.index(&self.source.name);
            let wanted: Types = used
                .filter_map(|column| Some((column.clone(), *of_source.get(column)?)))
                .collect();
            self.right_types(&wanted, &registered)?;
            return Ok(Registration {
                wanted,
                ..Registration::default()
            });
        }
        let mut wanted = registered.decoded_by(&self.source.name, &server);
        // Columns are among the standard store's once this was done.
        wanted.retain(|name, kind| columns.get(name) != Some(kind));
        if wanted.is_empty() {
            return Ok(Registration::default());
        }
        let mut named: BTreeMap<String, Types> = BTreeMap::new();
        loop {
            let chosen = self.choose(&wanted, &registered).await?;
            if chosen.is_empty() {
                break;
            }
            if self.source.kind == IndexKind::Standard {
                // An earlier run may have been cut short before hosts knew of them, so it is waited in any case.
                let used = chosen.values().flat_map(BTreeMap::keys);
                let used = used.filter_map(|column| Some((column.clone(), *columns.get(column)?)));
                self.add_to_standard(used.collect(), &registered).await?;
                tokio::time::sleep(cached_for).await;
            }
            for (namespace, aliases) in &chosen {
                self.name(namespace, aliases).await?;
                let names = named.entry(namespace.clone()).or_default();
                names.extend(
                    aliases
                        .values()
                        .filter_map(|name| Some((name.clone(), *wanted.get(name)?))),
                );
            }
            registered = self.frontend.registered_attributes().await?;
            if let Some(names) = self.choose(&wanted, &registered).await?.into_values().next() {
                let names = names
                    .into_values()
                    .filter_map(|name| Some((name.clone(), *wanted.get(&name)?)));
                self.wait_for(names.collect()).await?;
            }
        }
        Ok(Registration {
            wanted,
            added: Types::new(),
            named,
        })
    }

    /// Registers columns for the standard store, where starts are checked.
    async fn add_to_standard(&self, used: Types, registered: &Registered) -> Result<(), RegisterError> {
        let mut absent = missing(&used, &registered.index(STANDARD_INDEX));
        while !absent.is_empty() {
            let asked = self.add(STANDARD_INDEX, &absent, true).await;
            self.bearable(asked)?;
            let now = self.frontend.registered_attributes().await?;
            absent = missing(&used, &now.index(STANDARD_INDEX));
            if !absent.is_empty() {
                self.wait_for(absent.clone()).await?;
            }
        }
        Ok(())
    }

    /// Gives columns of a Namespace names: what the server does in its own AddSearchAttributes, but that one takes any
    /// column, and up to 1.22 none for a secondary store (1.21.6, 1.23.1: service/frontend/namespace_handler.go,
    /// upsertCustomSearchAttributesAliases). A column that was named meanwhile is refused.
    async fn name(&self, namespace: &str, aliases: &BTreeMap<String, String>) -> Result<(), RegisterError> {
        let request = UpdateNamespaceRequest {
            namespace: namespace.to_owned(),
            config: Some(NamespaceConfig {
                custom_search_attribute_aliases: aliases.clone().into_iter().collect(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let frontend = self.frontend;
        let updated = call!(frontend, workflow_service, update_namespace, "UpdateNamespace", request).await;
        self.bearable(updated.map(drop))
    }

    /// For each Namespace the free columns to take and their new names; Namespaces that have all names are left out.
    async fn choose(
        &self,
        wanted: &Types,
        registered: &Registered,
    ) -> Result<BTreeMap<String, BTreeMap<String, String>>, RegisterError> {
        let columns = registered.index(&self.target.name);
        let mut chosen = BTreeMap::new();
        for namespace in self.namespaces {
            let Some(described) = self.frontend.namespace(namespace).await? else {
                continue;
            };
            let named = registered.named(&self.target.name, &described.id);
            let other = lacks(wanted, &named)
                .into_iter()
                .find(|lack| matches!(lack, Lack::OtherType { .. }));
            if let Some(other) = other {
                return Err(RegisterError::OtherTypes {
                    index: self.target.name.clone(),
                    namespace: Some(namespace.clone()),
                    lacks: vec![other],
                });
            }
            let taken = registered.aliases.get(&described.id);
            let mut free: Vec<(&String, &IndexedValueType)> = columns
                .iter()
                .filter(|(column, _)| !taken.is_some_and(|taken| taken.contains_key(*column)))
                .collect();
            let mut aliases = BTreeMap::new();
            for (name, kind) in missing(wanted, &named) {
                let Some(at) = free.iter().position(|(_, of)| **of == kind) else {
                    let of_kind = |types: &Types| types.values().filter(|k| **k == kind).count();
                    return Err(RegisterError::Columns {
                        index: self.target.name.clone(),
                        namespace: namespace.clone(),
                        kind,
                        wanted: of_kind(&missing(wanted, &named)) + of_kind(&named),
                        columns: of_kind(&columns),
                    });
                };
                aliases.insert(free.remove(at).0.clone(), name);
            }
            if !aliases.is_empty() {
                chosen.insert(namespace.clone(), aliases);
            }
        }
        Ok(chosen)
    }

    fn right_types(&self, wanted: &Types, registered: &Registered) -> Result<(), RegisterError> {
        let lacks = lacks(wanted, &registered.index(&self.target.name));
        if lacks.is_empty() {
            Ok(())
        } else {
            Err(self.lacking(lacks))
        }
    }

    fn lacking(&self, lacks: Vec<Lack>) -> RegisterError {
        RegisterError::Lacking {
            index: self.target.name.clone(),
            lacks,
            waited: self.started.elapsed(),
        }
    }

    /// What is registered after a call, which may have gone on after its answer was given up: the server registers by
    /// a workflow, and waits for it longer than the call.
    async fn look_again(&self, asked: Result<(), CallError>, wanted: &Types) -> Result<Registered, RegisterError> {
        self.bearable(asked)?;
        let registered = self.frontend.registered_attributes().await?;
        if !missing(wanted, &registered.index(&self.target.name)).is_empty() {
            self.wait_for(missing(wanted, &registered.index(&self.target.name)))
                .await?;
        }
        Ok(registered)
    }

    /// Whether to look again after an error: the server may still be at it, or somebody else was quicker.
    fn bearable(&self, asked: Result<(), CallError>) -> Result<(), RegisterError> {
        match asked {
            Err(error) if !QUICKER.iter().any(|words| error.to_string().contains(words)) => {
                if error.is_transient() && self.started.elapsed() < self.within {
                    Ok(())
                } else {
                    Err(error.into())
                }
            }
            _ => Ok(()),
        }
    }

    async fn wait_for(&self, names: Types) -> Result<(), RegisterError> {
        if self.started.elapsed() < self.within {
            tokio::time::sleep(PAUSE).await;
            return Ok(());
        }
        let missing = names.into_iter().map(|(name, wanted)| Lack::Missing { name, wanted });
        Err(self.lacking(missing.collect()))
    }

    async fn add(&self, index: &str, names: &Types, skip_schema_update: bool) -> Result<(), CallError> {
        let request = AddRequest {
            search_attributes: names.iter().map(|(name, kind)| (name.clone(), *kind as i32)).collect(),
            index_name: index.to_owned(),
            skip_schema_update,
        };
        let Empty {} = self.frontend.admin("AddSearchAttributes", request).await?;
        Ok(())
    }

    async fn remove(&self, names: &[&str]) -> Result<(), CallError> {
        let request = RemoveRequest {
            search_attributes: names.iter().map(|name| (*name).to_owned()).collect(),
            index_name: self.target.name.clone(),
        };
        let Empty {} = self.frontend.admin("RemoveSearchAttributes", request).await?;
        Ok(())
    }
}

/// The wanted ones that are not found by their names.
fn missing(wanted: &Types, found: &Types) -> Types {
    wanted
        .iter()
        .filter(|(name, _)| !found.contains_key(*name))
        .map(|(name, kind)| (name.clone(), *kind))
        .collect()
}

// Field numbers: 1.21.6 to 1.30.8: proto/internal/temporal/server/api/adminservice/v1/request_response.proto.

#[derive(Clone, PartialEq, prost::Message)]
struct AddRequest {
    #[prost(map = "string, int32", tag = "1")]
    search_attributes: HashMap<String, i32>,
    #[prost(string, tag = "2")]
    index_name: String,
    #[prost(bool, tag = "3")]
    skip_schema_update: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RemoveRequest {
    #[prost(string, repeated, tag = "1")]
    search_attributes: Vec<String>,
    #[prost(string, tag = "2")]
    index_name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Empty {}
