//! Which way is open for a pair of stores on a server version, or why none is.

use std::fmt;

use serde::{Deserialize, Serialize};

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

/// A server version, `major.minor.patch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// 1 for every server so far.
    pub major: u32,
    /// The minor version: what the routes depend on.
    pub minor: u32,
    /// The patch version.
    pub patch: u32,
}

impl Version {
    /// The oldest server that has Dual Visibility.
    pub const OLDEST: Self = Self {
        major: 1,
        minor: 21,
        patch: 0,
    };

    /// Reads `1.30.8`, also with a leading `v` or a suffix such as `-rc1`.
    pub fn parse(text: &str) -> Option<Self> {
        let core = text.trim().trim_start_matches('v').split(['-', '+']).next()?;
        let mut parts = core.split('.').map(|part| part.parse::<u32>().ok());
        let (major, minor) = (parts.next()??, parts.next()??);
        let patch = parts.next().unwrap_or(Some(0))?;
        Some(Self { major, minor, patch })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// A store, as far as routes care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

    fn name(self) -> &'static str {
        match self {
            Self::Sql => "SQL",
            Self::StandardSql => "standard SQL",
            Self::Elasticsearch => "Elasticsearch",
            Self::Cassandra => "Cassandra",
        }
    }
}

/// The way that is open from `source` to `target` on `version`.
///
/// The rules are the server's own (`common/config/persistence.go`, read in 1.21.6 to 1.32.2): SQL with SQL in
/// every version from 1.21.
///
/// # Errors
/// Why there is none, with the versions that would allow it.
pub fn open(source: Kind, target: Kind, version: Version) -> Result<Route, Problem> {
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
    let refused = |why: &str, remedy: &str| {
        let pair = format!("{} to {}", source.name(), target.name());
        Err(
            Problem::new(Code::PairUnsupported, format!("{pair} on server {version}: {why}"))
                .at("target.datastore")
                .remedy(remedy),
        )
    };
    match (source, target) {
        (Kind::Sql, Kind::Sql) => Ok(Route::Dual),
        (_, Kind::Cassandra | Kind::StandardSql) => refused(
            "a store without search attributes is no target; the server dropped these stores in 1.24",
            "choose postgres12, mysql8 or sqlite as the target",
        ),
        (Kind::Sql, Kind::Elasticsearch) | (Kind::Elasticsearch, Kind::Sql) => refused(
            "every server version refuses Dual Visibility between SQL and Elasticsearch (different datastore types)",
            "choose a target of the source's own family: SQL with SQL in every version from 1.21, Elasticsearch with \
             another Elasticsearch cluster from 1.28",
        ),
        (Kind::Elasticsearch, Kind::Elasticsearch) => refused(
            "the server accepts this pair from 1.28 (in one cluster from 1.21), but this release of Crossfade has no \
             Elasticsearch driver",
            "use a SQL pair with this release",
        ),
        (Kind::Cassandra | Kind::StandardSql, _) => refused(
            "the server accepts this pair from 1.21 to 1.23, but this release of Crossfade cannot read such a source",
            "use a SQL pair with this release",
        ),
    }
}
