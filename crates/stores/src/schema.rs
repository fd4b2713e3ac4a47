//! Which visibility schema a server needs, and which columns make it.
//!
//! The server checks its primary store's schema when it starts and never the secondary's
//! (1.30.8: common/persistence/sql/version_checker.go), so that an old one fails silently at the first write.

use std::fmt;
use std::str::FromStr;

/// A version of Temporal's SQL visibility schema, as `1.13`.
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

/// The SQL visibility schema that a server of this version (`1.30.8`) expects, or `None` for versions that are not
/// supported or not known (schema/*/version.go of each server).
pub fn expected_schema(server_version: &str) -> Option<SchemaVersion> {
    let mut parts = server_version.trim().trim_start_matches('v').split(['.', '-', '+']);
    let mut number = || parts.next()?.parse::<u32>().ok();
    let (major, minor, patch) = (number()?, number()?, number().unwrap_or(0));
    let schema = match (major, minor) {
        (1, 21 | 22) => 3,
        (1, 23) => 4,
        (1, 24) => 5,
        (1, 25) => 6,
        (1, 26) if patch < 2 => 6,
        (1, 26) => 7,
        (1, 27..=29) => 9,
        (1, 30) => 13,
        (1, 31 | 32) => 14,
        _ => return None,
    };
    Some(SchemaVersion::v1(schema))
}

/// The oldest schema whose rows can be read: that of server 1.21.
pub(crate) const OLDEST: SchemaVersion = SchemaVersion::v1(3);

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

/// The columns that a schema of version `up_to` has and that `present` does not tell of.
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
        let check = |server: &str, schema: &str| {
            assert_eq!(
                expected_schema(server).map(|version| version.to_string()).as_deref(),
                Some(schema),
                "{server}"
            );
        };
        check("1.21.0", "v1.3");
        check("1.23.1", "v1.4");
        check("1.26.0", "v1.6");
        check("1.26.3", "v1.7");
        check("v1.29.1", "v1.9");
        check("1.30.8", "v1.13");
        check("1.31.0-151.1", "v1.14");
        for unsupported in ["1.20.4", "2.0.0", "", "x"] {
            assert_eq!(expected_schema(unsupported), None);
        }
    }

    #[test]
    fn versions_are_ordered_by_number() {
        let version = |text: &str| text.parse::<SchemaVersion>();
        assert!(version("1.13") > version("1.9"));
        assert!(version("one").is_err_and(|message| message.contains("'one'")));
    }
}
