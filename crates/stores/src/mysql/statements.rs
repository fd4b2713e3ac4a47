//! Statements made from their files for the tables and columns that one database has.

use std::collections::BTreeSet;

use crossfade_visibility::keeps::{Column, Keeps};
use crossfade_visibility::record::Key;
use mysql_async::Value;

use crate::columns::{ALL, Columns};

/// The tables that index search attributes beside `executions_visibility`: `custom_search_attributes` since schema v1.2,
/// `chasm_search_attributes` since v1.11. Each holds all of a record's attributes and indexes its own.
pub(super) const ATTRIBUTE_TABLES: [&str; 2] = ["custom_search_attributes", "chasm_search_attributes"];

/// The columns of an attribute table that are no attributes.
const PLAIN: [&str; 4] = ["namespace_id", "run_id", "_version", "search_attributes"];

/// The parts of a record that not every schema has, by a column that shows it.
const COLUMNS: [(Column, &str); 9] = [
    (Column::ExecutionTime, "execution_time"),
    (Column::HistoryLength, "history_length"),
    (Column::HistorySizeBytes, "history_size_bytes"),
    (Column::ExecutionDuration, "execution_duration"),
    (Column::StateTransitionCount, "state_transition_count"),
    (Column::TaskQueue, "task_queue"),
    (Column::SearchAttributes, "search_attributes"),
    (Column::Parent, "parent_run_id"),
    (Column::Root, "root_run_id"),
];

/// The tables of one database.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    pub(super) records: Columns,
    pub(super) attributes: Vec<AttributeTable>,
}

/// One of [`ATTRIBUTE_TABLES`].
#[derive(Clone, Debug)]
pub(super) struct AttributeTable {
    pub(super) name: &'static str,
    /// Whether it has a `_version`: since schema v1.9.
    versioned: bool,
    /// The attributes that it indexes, by their exact names.
    pub(super) fields: BTreeSet<String>,
}

impl Tables {
    /// From (table, column) pairs.
    pub(super) fn new(columns: &[(String, String)]) -> Self {
        let of = |table: &'static str| {
            columns
                .iter()
                .filter(move |(of, _)| of.eq_ignore_ascii_case(table))
                .map(|(_, column)| column.clone())
        };
        let attributes = ATTRIBUTE_TABLES.into_iter().filter(|table| of(table).next().is_some());
        Self {
            records: Columns::new(of("executions_visibility")),
            attributes: attributes
                .map(|name| AttributeTable {
                    name,
                    versioned: of(name).any(|column| column == "_version"),
                    fields: of(name).filter(|column| !PLAIN.contains(&column.as_str())).collect(),
                })
                .collect(),
        }
    }

    /// All columns of all tables: what another engine has in one.
    pub(super) fn together(&self) -> Columns {
        let indexed = self.attributes.iter().flat_map(|table| table.fields.iter().cloned());
        Columns::new(self.records.names().map(str::to_owned).chain(indexed))
    }

    /// Whether records have search attributes at all: not in the schema of the plugin `mysql`.
    pub(super) fn has_attributes(&self) -> bool {
        self.records.has("search_attributes")
    }

    /// Which parts of a record there are columns for.
    pub(super) fn keeps(&self) -> Keeps {
        let absent = COLUMNS.iter().filter(|(_, column)| !self.records.has(column));
        Keeps::all_but(&absent.map(|(part, _)| *part).collect::<Vec<_>>())
    }

    /// Fills a statement for reading: `{columns}` (absent ones are NULL, the attribute tables' own attributes last),
    /// `{joins}`, `{version}`, and the keys as they are to be sorted.
    pub(super) fn for_reading(&self, statement: &str, by_bytes: bool) -> String {
        let null = "NULL".to_owned();
        let mut columns: Vec<String> = ALL
            .iter()
            .map(|(name, _)| match self.records.has(name) {
                true => format!("ev.{name}"),
                false => null.clone(),
            })
            .collect();
        columns.extend(
            self.attributes
                .iter()
                .map(|table| format!("{}.search_attributes", table.name)),
        );
        let joins: Vec<String> = self
            .attributes
            .iter()
            .map(|AttributeTable { name, .. }| {
                format!("LEFT JOIN {name} ON {name}.namespace_id = ev.namespace_id AND {name}.run_id = ev.run_id")
            })
            .collect();
        let version = if self.records.versioned() {
            "ev._version"
        } else {
            "NULL"
        };
        let key = |column: &str| match by_bytes {
            true => format!("CAST(CONVERT(ev.{column} USING utf8mb4) AS BINARY)"),
            false => format!("ev.{column}"),
        };
        without_comments(statement)
            .replace("{columns}", &columns.join(", "))
            .replace("{joins}", &joins.join(" "))
            .replace("{version}", version)
            .replace("{namespace_id}", &key("namespace_id"))
            .replace("{run_id}", &key("run_id"))
    }

    /// Fills a statement that writes so many records.
    pub(super) fn for_writing(&self, statement: &str, records: usize) -> String {
        let mut columns: Vec<&str> = ALL
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| self.records.has(name))
            .collect();
        // The version last: each assignment sees those before it.
        columns.sort_by_key(|column| *column == "_version");
        filled(statement, "executions_visibility", &columns, records)
    }
}

impl AttributeTable {
    /// The columns that are written, in order.
    fn columns(&self) -> Vec<&'static str> {
        let mut columns = vec!["namespace_id", "run_id", "search_attributes"];
        if self.versioned {
            columns.push("_version");
        }
        columns
    }

    /// Whether a row has its record's version.
    pub(super) fn versioned(&self) -> bool {
        self.versioned
    }

    /// Fills a statement that writes so many rows.
    pub(super) fn for_writing(&self, statement: &str, rows: usize) -> String {
        filled(statement, self.name, &self.columns(), rows)
    }
}

fn filled(statement: &str, table: &str, columns: &[&str], rows: usize) -> String {
    let row = format!("({})", vec!["?"; columns.len()].join(", "));
    let assigned = columns
        .iter()
        .filter(|column| !["namespace_id", "run_id"].contains(column));
    let assignments: Vec<String> = assigned
        .clone()
        .map(|column| format!("{column} = VALUES({column})"))
        .collect();
    let if_later: Vec<String> = assigned
        .map(|column| format!("{column} = IF(_version < VALUES(_version), VALUES({column}), {column})"))
        .collect();
    without_comments(statement)
        .replace("{table}", table)
        .replace("{columns}", &columns.join(", "))
        .replace("{rows}", &vec![row; rows].join(", "))
        .replace("{assignments}", &assignments.join(", "))
        .replace("{assignments_if_later}", &if_later.join(", "))
}

/// Fills `{keys}` with so many.
pub(super) fn with_keys(statement: &str, keys: usize) -> String {
    statement.replace("{keys}", &vec!["(?, ?)"; keys].join(", "))
}

/// Keys as parameters of [`with_keys`].
pub(super) fn key_parameters<'a>(keys: impl IntoIterator<Item = &'a Key>) -> Vec<Value> {
    keys.into_iter()
        .flat_map(|key| [Value::from(key.namespace_id.as_str()), Value::from(key.run_id.as_str())])
        .collect()
}

/// The statement alone: the client would look for parameters' names in the words of a comment.
pub(super) fn without_comments(statement: &str) -> String {
    let lines = statement.lines().filter(|line| !line.trim_start().starts_with("--"));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(columns: &[(&str, &[&str])]) -> Tables {
        let pairs: Vec<(String, String)> = columns
            .iter()
            .flat_map(|(table, columns)| columns.iter().map(|column| ((*table).to_owned(), (*column).to_owned())))
            .collect();
        Tables::new(&pairs)
    }

    #[test]
    fn the_version_is_assigned_last_and_decides() {
        let newest = tables(&[(
            "executions_visibility",
            &["namespace_id", "run_id", "_version", "status"],
        )]);
        let put = newest.for_writing(include_str!("../../sql/mysql/put.sql"), 2);
        assert_eq!(
            put,
            "INSERT INTO executions_visibility (namespace_id, run_id, status, _version)\nVALUES (?, ?, ?, ?), (?, ?, ?, ?)\n\
             ON DUPLICATE KEY UPDATE status = IF(_version < VALUES(_version), VALUES(status), status), \
             _version = IF(_version < VALUES(_version), VALUES(_version), _version)"
        );
    }

    #[test]
    fn each_table_indexes_its_own() {
        let tables = tables(&[
            (
                "executions_visibility",
                &["namespace_id", "run_id", "search_attributes", "BuildIds"],
            ),
            (
                "custom_search_attributes",
                &["namespace_id", "run_id", "search_attributes", "Keyword01"],
            ),
        ]);
        assert_eq!(tables.attributes.len(), 1);
        assert!(tables.attributes[0].fields.contains("Keyword01") && tables.attributes[0].fields.len() == 1);
        let together = tables.together();
        assert!(together.has("BuildIds") && together.has("Keyword01") && !together.has("_version"));
        let get = tables.for_reading(include_str!("../../sql/mysql/get.sql"), false);
        assert!(
            get.contains("NULL, custom_search_attributes.search_attributes\n"),
            "{get}"
        );
        assert!(!get.contains("--") && !get.contains("chasm"), "{get}");
    }
}
