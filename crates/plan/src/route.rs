//! Which way is open for a pair of stores on a server version, or why none is.
//!
//! What the servers accept stands in `table`, as data. Every other module of this folder and every caller answers from
//! it: [`open`] for the plan, [`markdown`] for `docs/routes.md`, `crossfade routes` for people and programs. Tests ask the
//! real servers the same questions cell by cell (`tests/routes`).

mod carry;
mod show;
mod table;
mod traps;
mod version;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use carry::Carry;
pub use show::{cell_words, column_name, columns, listing, markdown, shown, whole_listing};
pub use table::{Answer, Refusal, Server, Span, cell, pairs, spans};
pub use traps::{Trap, schemas, traps};
pub use version::Version;

use crate::problem::{Code, Problem};

/// How a pair is migrated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// The server writes both stores (Dual Visibility).
    Dual,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dual")
    }
}

/// How the server is told of its second store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// `persistence.secondaryVisibilityStore` names a datastore of its own.
    #[default]
    SecondaryStore,
    /// `elasticsearch.indices.secondary_visibility` of the primary's own datastore names a second index in the same
    /// Elasticsearch cluster.
    SecondaryIndex,
}

impl Form {
    /// The key of the static config.
    pub fn key(self) -> &'static str {
        match self {
            Self::SecondaryStore => "secondaryVisibilityStore",
            Self::SecondaryIndex => "elasticsearch.indices.secondary_visibility",
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

/// A store, as far as routes care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `mysql8`, `postgres12`, `postgres12_pgx`, `sqlite`: SQL with search attributes.
    Sql,
    /// `mysql`, `postgres`, `postgres_pgx`: SQL without search attributes, gone in 1.24.
    StandardSql,
    /// Elasticsearch or OpenSearch.
    Elasticsearch,
    /// Cassandra, gone in 1.24.
    Cassandra,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Cassandra, Self::StandardSql, Self::Sql, Self::Elasticsearch];

    /// The kind of a datastore entry from its section (`sql`, ...) and SQL plugin.
    pub fn of(section: &str, plugin: Option<&str>) -> Option<Self> {
        match (section, plugin) {
            ("sql", Some("mysql8" | "postgres12" | "postgres12_pgx" | "sqlite")) => Some(Self::Sql),
            ("sql", Some("mysql" | "postgres" | "postgres_pgx")) => Some(Self::StandardSql),
            ("elasticsearch", _) => Some(Self::Elasticsearch),
            ("cassandra", _) => Some(Self::Cassandra),
            _ => None,
        }
    }

    /// The kind of a whole datastore entry (`{"sql": {...}}`); `None` when it is of no kind that any server knows.
    pub fn of_entry(entry: &Value) -> Option<Self> {
        let section = ["sql", "elasticsearch", "cassandra"]
            .into_iter()
            .find(|section| entry.get(section).is_some_and(|entry| !entry.is_null()))?;
        Self::of(section, entry.pointer("/sql/pluginName").and_then(Value::as_str))
    }

    /// Its name in sentences.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sql => "SQL",
            Self::StandardSql => "standard SQL",
            Self::Elasticsearch => "Elasticsearch",
            Self::Cassandra => "Cassandra",
        }
    }

    /// Whether its records carry search attributes and are written by servers of every version.
    pub fn has_search_attributes(self) -> bool {
        matches!(self, Self::Sql | Self::Elasticsearch)
    }
}

/// Where two Elasticsearch stores are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// One cluster: the entries differ in their indices alone, which is the server's own test (1.25.1:
    /// common/config/persistence.go, DeepEqual) since it has but one Elasticsearch client up to 1.27.
    SameCluster,
    /// Anything else, and every pair that is not of two Elasticsearch stores.
    #[default]
    Elsewhere,
}

/// The source and the target of a migration, as far as routes care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pair {
    /// The kind of the store being left.
    pub source: Kind,
    /// The kind of the store moved to.
    pub target: Kind,
    /// Where the target is, seen from the source.
    #[serde(default)]
    pub place: Place,
}

impl Pair {
    /// A pair of stores that have no cluster in common.
    pub const fn new(source: Kind, target: Kind) -> Self {
        Self {
            source,
            target,
            place: Place::Elsewhere,
        }
    }

    /// Two indices of one Elasticsearch cluster.
    pub const fn indices() -> Self {
        Self {
            source: Kind::Elasticsearch,
            target: Kind::Elasticsearch,
            place: Place::SameCluster,
        }
    }

    /// This pair at this place; the place counts for two Elasticsearch stores only.
    #[must_use]
    pub fn at(self, place: Place) -> Self {
        if (self.source, self.target) == (Kind::Elasticsearch, Kind::Elasticsearch) {
            Self { place, ..self }
        } else {
            self
        }
    }

    /// The pair that two datastore entries make, their secrets resolved; `None` when one is of no known kind.
    pub fn of(source: &Value, target: &Value) -> Option<Self> {
        Some(Self::new(Kind::of_entry(source)?, Kind::of_entry(target)?).at(Place::of(source, target)))
    }
}

impl Place {
    /// Where the stores of two datastore entries are, their secrets resolved: in the same cluster when both are
    /// Elasticsearch and differ in nothing but their indices.
    pub fn of(source: &Value, target: &Value) -> Self {
        match (source.get("elasticsearch"), target.get("elasticsearch")) {
            (Some(source), Some(target)) if settings(source) == settings(target) => Self::SameCluster,
            _ => Self::Elsewhere,
        }
    }
}

/// The two indices of one Elasticsearch datastore, where the server is told of its second store by
/// [`Form::SecondaryIndex`]: the datastore is the source's before, while and after, and its `indices` alone change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Indices {
    /// `indices.visibility` before promote.
    pub source: String,
    /// `indices.secondary_visibility` while both are written, `indices.visibility` after promote.
    pub target: String,
}

impl Indices {
    /// The indices of two datastore entries; `None` when one names none.
    pub fn of(source: &Value, target: &Value) -> Option<Self> {
        let index = |entry: &Value| {
            let index = entry.pointer("/elasticsearch/indices/visibility")?.as_str()?;
            (!index.is_empty()).then(|| index.to_owned())
        };
        Some(Self {
            source: index(source)?,
            target: index(target)?,
        })
    }
}

/// An Elasticsearch entry as the server compares it: without its indices, and with what is left out equal to what is
/// empty.
fn settings(entry: &Value) -> Value {
    fn without_empty(value: &Value) -> Option<Value> {
        match value {
            Value::Null | Value::Bool(false) => None,
            Value::String(text) if text.is_empty() => None,
            Value::Number(number) if number.as_f64() == Some(0.0) => None,
            Value::Object(fields) => {
                let mut kept: Vec<(String, Value)> = fields
                    .iter()
                    .filter_map(|(key, value)| Some((key.clone(), without_empty(value)?)))
                    .collect();
                kept.sort_by(|a, b| a.0.cmp(&b.0));
                (!kept.is_empty()).then(|| kept.into_iter().collect())
            }
            other => Some(other.clone()),
        }
    }
    let mut entry = entry.clone();
    if let Some(fields) = entry.as_object_mut() {
        fields.remove("indices");
    }
    without_empty(&entry).unwrap_or_default()
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.source, self.target, self.place) {
            (Kind::Elasticsearch, Kind::Elasticsearch, Place::SameCluster) => {
                f.write_str("Elasticsearch to another index of the same cluster")
            }
            (Kind::Elasticsearch, Kind::Elasticsearch, Place::Elsewhere) => {
                f.write_str("Elasticsearch to another Elasticsearch or OpenSearch cluster")
            }
            _ => write!(f, "{} to {}", self.source.name(), self.target.name()),
        }
    }
}

/// The way that is open for a pair on a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// How the pair is migrated.
    pub route: Route,
    /// How the server is told of the target.
    pub form: Form,
    /// The pair.
    pub pair: Pair,
    /// The server's version.
    pub version: Version,
}

impl Way {
    /// How records from before dual writes can reach the target, the best way first.
    pub fn carries(&self) -> &'static [Carry] {
        carry::carries(self.pair, self.version)
    }

    /// Whether the server also accepts the pair the other way round, so that after promote the source can be kept
    /// written as the secondary, and going back needs no copy.
    pub fn can_keep_warm(&self) -> bool {
        let back = Pair {
            source: self.pair.target,
            target: self.pair.source,
            ..self.pair
        };
        open(back, self.version).is_ok()
    }

    /// What must be known about this pair on this version.
    pub fn traps(&self) -> impl Iterator<Item = &'static Trap> {
        traps(self.pair, self.form, self.version)
    }

    /// The form, how records are carried, the way back after promote and every trap, a line each, for the plan.
    pub fn lines(&self) -> Vec<String> {
        show::lines(self)
    }
}

/// The way that is open for `pair` on `version`.
///
/// # Errors
/// Why there is none, with the versions that would allow it.
pub fn open(pair: Pair, version: Version) -> Result<Way, Problem> {
    if version < Version::OLDEST {
        return Err(Problem::new(
            Code::ServerTooOld,
            format!(
                "the cluster runs Temporal Server {version}; Dual Visibility needs {} or later",
                Version::OLDEST
            ),
        )
        .at("cluster.frontend"));
    }
    match cell(pair, version).answer {
        Answer::Dual { form, .. } => Ok(Way {
            route: Route::Dual,
            form,
            pair,
            version,
        }),
        Answer::Refused(refusal) => Err(Problem::new(
            Code::PairUnsupported,
            format!("{pair} on server {version}: {}", refusal.why),
        )
        .at("target.datastore")
        .remedy(refusal.remedy)),
    }
}
