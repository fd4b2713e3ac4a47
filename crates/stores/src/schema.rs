//! Which visibility schema a server needs, and which columns make it.
//!
//! The server checks its primary store's schema when it starts and never the secondary's
//! (1.30.8: common/persistence/sql/version_checker.go), so that an old one fails silently at the first write.

use std::fmt;
use std::str::FromStr;

/// A version of Temporal's visibility schema, as `1.13`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SchemaVersion {
    /// Before the point.
    pub major: u32,
    /// After the point: 13 is later than 9.
    pub minor: u32,
}

impl SchemaVersion {
    pub(crate) const fn v1(minor: u32) -> Self {
        Self { major: 1, minor }
    }

    pub(crate) const fn template(version: u32) -> Self {
        Self {
            major: version,
            minor: 0,
        }
    }
}

impl fmt::Display for SchemaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}", self.major, self.minor)
    }
}

impl FromStr for SchemaVersion {
    type Err = String;

    /// Reads `1.13` or `v1.13`.
    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (major, minor) = text.trim().trim_start_matches('v').split_once('.')?;
            Some(Self {
                major: major.parse().ok()?,
                minor: minor.parse().ok()?,
            })
        };
        parse().ok_or_else(|| format!("'{text}' is no schema version; expected one like 1.13"))
    }
}

/// Stores whose schemas go together, and whose search attributes are named in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// SQL with search attributes: `sqlite`, `postgres12`, `postgres12_pgx`, `mysql8`.
    Sql,
    /// Elasticsearch and OpenSearch.
    Elasticsearch,
    /// Cassandra, of servers up to 1.23.
    Cassandra,
    /// SQL without search attributes, of servers up to 1.23: `postgres`, `postgres_pgx`, `mysql`.
    StandardSql,
}

impl Family {
    /// The family of a plugin or kind of store as [`plugin_name`](crate::plugin_name) gives it, supported or not;
    /// `None` for one that is not known.
    pub fn of(plugin: &str) -> Option<Self> {
        match plugin {
            "sqlite" | "postgres12" | "postgres12_pgx" | "mysql8" => Some(Self::Sql),
            "elasticsearch" => Some(Self::Elasticsearch),
            "cassandra" => Some(Self::Cassandra),
            "postgres" | "postgres_pgx" | "mysql" => Some(Self::StandardSql),
            _ => None,
        }
    }

    /// Temporal's own tool that sets up and updates its schemas.
    pub fn tool(self) -> &'static str {
        match self {
            Self::Sql | Self::StandardSql => "temporal-sql-tool",
            Self::Elasticsearch => "temporal-elasticsearch-tool",
            Self::Cassandra => "temporal-cassandra-tool",
        }
    }
}

/// The visibility schema that a server needs in a store of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedSchema {
    /// In which stores.
    pub family: Family,
    /// Which version. That of an Elasticsearch index template has no minor part: template v13 is 13.0.
    pub version: SchemaVersion,
}

impl fmt::Display for ExpectedSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.family {
            Family::Elasticsearch => write!(f, "index template v{}", self.version.major),
            Family::Sql | Family::Cassandra | Family::StandardSql => write!(f, "schema {}", self.version),
        }
    }
}

/// The visibility schema that a server of this version (`1.30.8`) expects in a store of `family`. `None` for versions
/// that are not supported or not known, and where that server has no such store any more (schema/*/version.go and the
/// folders of schema/elasticsearch/visibility/versioned of each server).
pub fn expected_schema(family: Family, server_version: &str) -> Option<ExpectedSchema> {
    let mut parts = server_version.trim().trim_start_matches('v').split(['.', '-', '+']);
    let mut number = || parts.next()?.parse::<u32>().ok();
    let (major, minor, patch) = (number()?, number()?, number().unwrap_or(0));
    let (sql, template, standard) = match (major, minor) {
        (1, 21 | 22) => (3, 5, true),
        (1, 23) => (4, 6, true),
        (1, 24) if patch < 1 => (5, 7, false),
        (1, 24) => (6, 7, false),
        (1, 25) => (6, 7, false),
        (1, 26) if patch < 2 => (6, 7, false),
        (1, 26) => (7, 8, false),
        (1, 27..=29) => (9, 9, false),
        (1, 30) => (13, 13, false),
        (1, 31 | 32) => (14, 14, false),
        _ => return None,
    };
    let version = match family {
        Family::Sql => SchemaVersion::v1(sql),
        Family::Elasticsearch => SchemaVersion::template(template),
        Family::Cassandra if standard => SchemaVersion::v1(0),
        Family::StandardSql if standard => SchemaVersion::v1(1),
        Family::Cassandra | Family::StandardSql => return None,
    };
    Some(ExpectedSchema { family, version })
}

/// The oldest schema whose rows can be read: that of server 1.21.
pub(crate) const OLDEST: SchemaVersion = SchemaVersion::v1(3);

/// The oldest schema of standard SQL, which is its newest.
pub(crate) const STANDARD: ExpectedSchema = ExpectedSchema {
    family: Family::StandardSql,
    version: SchemaVersion::v1(1),
};

/// Columns by the schema version that brought them (1.30.8: schema/postgresql/v12/visibility/versioned). Generated
/// columns hold the search attributes: without one, writes succeed and queries fail.
const COLUMNS: [(SchemaVersion, &[&str]); 8] = [
    (
        SchemaVersion::v1(3),
        &[
            "namespace_id",
            "run_id",
            "start_time",
            "execution_time",
            "workflow_id",
            "workflow_type_name",
            "status",
            "close_time",
            "history_length",
            "history_size_bytes",
            "memo",
            "encoding",
            "task_queue",
            "search_attributes",
            "BuildIds",
            "Keyword10",
            "KeywordList03",
            "Text03",
        ],
    ),
    (
        SchemaVersion::v1(4),
        &[
            "execution_duration",
            "state_transition_count",
            "parent_workflow_id",
            "parent_run_id",
        ],
    ),
    (SchemaVersion::v1(5), &["root_workflow_id", "root_run_id"]),
    (SchemaVersion::v1(7), &["TemporalPauseInfo"]),
    (
        SchemaVersion::v1(8),
        &[
            "TemporalWorkerDeploymentVersion",
            "TemporalWorkflowVersioningBehavior",
            "TemporalWorkerDeployment",
        ],
    ),
    (SchemaVersion::v1(9), &["_version"]),
    (
        SchemaVersion::v1(12),
        &[
            "TemporalReportedProblems",
            "TemporalKeywordList02",
            "TemporalLowCardinalityKeyword01",
        ],
    ),
    (SchemaVersion::v1(13), &["TemporalUsedWorkerDeploymentVersions"]),
];

/// The columns of standard SQL's only supported schema, v1.1 (1.23.1: schema/{postgresql/v96,mysql/v57}/visibility).
const STANDARD_COLUMNS: [&str; 12] = [
    "namespace_id",
    "run_id",
    "start_time",
    "execution_time",
    "workflow_id",
    "workflow_type_name",
    "status",
    "close_time",
    "history_length",
    "memo",
    "encoding",
    "task_queue",
];

/// The columns of Cassandra's only schema, v1.0, with their tables (1.23.1: schema/cassandra/visibility/schema.cql).
const CASSANDRA_COLUMNS: [&str; 23] = [
    "open_executions.namespace_id",
    "open_executions.namespace_partition",
    "open_executions.workflow_id",
    "open_executions.run_id",
    "open_executions.start_time",
    "open_executions.execution_time",
    "open_executions.workflow_type_name",
    "open_executions.memo",
    "open_executions.encoding",
    "open_executions.task_queue",
    "closed_executions.namespace_id",
    "closed_executions.namespace_partition",
    "closed_executions.workflow_id",
    "closed_executions.run_id",
    "closed_executions.start_time",
    "closed_executions.execution_time",
    "closed_executions.close_time",
    "closed_executions.status",
    "closed_executions.workflow_type_name",
    "closed_executions.history_length",
    "closed_executions.memo",
    "closed_executions.encoding",
    "closed_executions.task_queue",
];

/// The columns that `expected` has and that `present` does not tell of; Cassandra's are named with their table
/// (`open_executions.run_id`). None for Elasticsearch, which has fields.
pub(crate) fn missing(expected: ExpectedSchema, present: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let absent = |columns: &'static [&'static str]| columns.iter().copied().filter(|column| !present(column)).collect();
    match expected.family {
        Family::Sql => missing_columns(expected.version, present),
        Family::StandardSql => absent(&STANDARD_COLUMNS),
        Family::Cassandra => absent(&CASSANDRA_COLUMNS),
        Family::Elasticsearch => Vec::new(),
    }
}

/// The columns that a SQL schema of version `up_to` has and that `present` does not tell of.
pub(crate) fn missing_columns(up_to: SchemaVersion, present: impl Fn(&str) -> bool) -> Vec<&'static str> {
    COLUMNS
        .iter()
        .filter(|(since, _)| *since <= up_to)
        .flat_map(|(_, columns)| columns.iter().copied())
        .filter(|column| !present(column))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_their_schemas() {
        let check = |server: &str, sql: &str, template: &str, standard: bool| {
            let expected = |family| expected_schema(family, server).map(|expected| expected.to_string());
            assert_eq!(expected(Family::Sql).as_deref(), Some(sql), "{server}");
            assert_eq!(expected(Family::Elasticsearch).as_deref(), Some(template), "{server}");
            assert_eq!(
                expected(Family::Cassandra),
                standard.then(|| "schema v1.0".to_owned()),
                "{server}"
            );
            assert_eq!(
                expected(Family::StandardSql),
                standard.then(|| "schema v1.1".to_owned()),
                "{server}"
            );
        };
        check("1.21.0", "schema v1.3", "index template v5", true);
        check("1.23.1", "schema v1.4", "index template v6", true);
        check("1.24.0", "schema v1.5", "index template v7", false);
        check("1.24.2", "schema v1.6", "index template v7", false);
        check("1.26.0", "schema v1.6", "index template v7", false);
        check("1.26.3", "schema v1.7", "index template v8", false);
        check("v1.29.1", "schema v1.9", "index template v9", false);
        check("1.30.8", "schema v1.13", "index template v13", false);
        check("1.31.0-151.1", "schema v1.14", "index template v14", false);
        for unsupported in ["1.20.4", "2.0.0", "", "x"] {
            assert_eq!(expected_schema(Family::Sql, unsupported), None);
        }
    }

    #[test]
    fn versions_are_ordered_by_number() {
        let version = |text: &str| text.parse::<SchemaVersion>();
        assert!(version("1.13") > version("1.9"));
        assert!(version("one").is_err_and(|message| message.contains("'one'")));
    }
}
