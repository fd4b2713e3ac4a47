//! What a MySQL database tells of itself.

use std::sync::Arc;

use crossfade_visibility::limits::{Length, Limits, Text};
use crossfade_visibility::ports::{self, Precision};
use crossfade_visibility::record::marker_record;
use jiff::Timestamp;
use mysql_async::Row;

use super::connect::{Lane, Session};
use super::entry::MysqlEntry;
use super::statements::{self, Tables};
use super::{fault, row};
use crate::error::OpenError;
use crate::facts::{ColumnSet, Facts, SchemaState};
use crate::schema::Family;

/// What the tables can hold (1.30.8: schema/mysql/v8/visibility/schema.sql).
pub(crate) fn limits() -> Limits {
    let earliest = "1000-01-01T00:00:00Z".parse().unwrap_or(Timestamp::MIN);
    Limits {
        precision: Precision::Microsecond,
        times: (earliest, Timestamp::MAX),
        name: Length::Characters(255),
        keyword: Length::Characters(255),
        // TEXT
        text: Text::Of(Length::Bytes(65_535)),
        nul: true,
        lists: false,
        // DECIMAL(20, 5)
        double_below: Some(1e15),
        document: None,
    }
}

/// A record that no cluster has, for the write that is rolled back.
const PROBE: &str = "00000000-0000-0000-0000-000000000000";

/// The tables' columns; empty when there are no tables.
pub(super) async fn tables(store: &str, session: &mut Session<'_>) -> Result<Tables, ports::Error> {
    let statement = statements::without_comments(include_str!("../../sql/mysql/columns.sql"));
    let rows = session.rows(&statement, Vec::new()).await?;
    let columns: Result<Vec<(String, String)>, ports::Error> = rows
        .iter()
        .map(|row| Ok((row::plain(store, row, 0)?, row::plain(store, row, 1)?)))
        .collect();
    Ok(Tables::new(&columns?))
}

/// What a preflight wants to know; a missing schema is no error.
pub(crate) async fn inspect(entry: MysqlEntry) -> Result<Facts, OpenError> {
    let (store, family) = (entry.describe(), entry.family);
    let lane = Lane::new(Arc::new(entry), false);
    let mut session = lane.open().await?;
    let tables = tables(&store, &mut session).await?;
    let general = General::read(&store, &mut session).await?;
    let uuid = one(&store, &mut session, include_str!("../../sql/mysql/identity.sql")).await;

    let mut facts = Facts {
        family,
        limits: limits(),
        engine: general.engine(),
        identity: Some(general.identity(uuid.ok().flatten().as_deref())),
        schema: SchemaState::Absent,
        writable: None,
        records_estimate: general.records,
        bytes: general.bytes,
        free_bytes: None,
        warnings: general.warnings(family),
        store: store.clone(),
    };
    if !tables.records.is_empty() {
        let recorded = match general.has_schema_version {
            true => one(&store, &mut session, include_str!("../../sql/mysql/schema_version.sql")).await?,
            false => None,
        };
        facts.writable = Some(probe(&mut session, &tables).await);
        facts.schema = SchemaState::Tables {
            recorded: recorded.and_then(|version| version.parse().ok()),
            columns: ColumnSet(tables.together()),
        };
    }
    Ok(facts)
}

/// The first column of the first row, as text.
async fn one(store: &str, session: &mut Session<'_>, statement: &str) -> Result<Option<String>, ports::Error> {
    let statement = statements::without_comments(statement);
    let rows = session.rows(&statement, Vec::new()).await?;
    rows.first().map_or(Ok(None), |row| row::plain(store, row, 0))
}

/// The server's settings and the tables' size.
struct General {
    version: String,
    host: String,
    port: u64,
    database: String,
    read_only: bool,
    collation: String,
    has_schema_version: bool,
    records: Option<u64>,
    bytes: Option<u64>,
}

impl General {
    async fn read(store: &str, session: &mut Session<'_>) -> Result<Self, ports::Error> {
        let statement = statements::without_comments(include_str!("../../sql/mysql/facts.sql"));
        let rows = session.rows(&statement, Vec::new()).await?;
        let row: &Row = rows.first().ok_or_else(|| ports::Error::Failed {
            store: store.to_owned(),
            reason: "it says nothing of itself".to_owned(),
        })?;
        Ok(Self {
            version: row::plain(store, row, 0)?,
            host: row::plain(store, row, 1)?,
            port: row::plain(store, row, 2)?,
            database: row::plain(store, row, 3)?,
            read_only: row::plain::<i64>(store, row, 4)? != 0,
            collation: row::plain(store, row, 5)?,
            has_schema_version: row::plain::<i64>(store, row, 6)? != 0,
            records: row::plain(store, row, 7)?,
            bytes: row::plain(store, row, 8)?,
        })
    }

    /// The engine behind the protocol: TiDB and MariaDB answer to MySQL's clients too.
    fn engine(&self) -> String {
        match self.version.split_once("-TiDB-") {
            Some((mysql, tidb)) => format!("TiDB {} (as MySQL {mysql})", tidb.trim_start_matches('v')),
            None if self.is_mariadb() => format!("MariaDB {}", self.version.split('-').next().unwrap_or_default()),
            None => format!("MySQL {}", self.version),
        }
    }

    fn is_mariadb(&self) -> bool {
        self.version.to_lowercase().contains("mariadb")
    }

    /// What tells this database from any other: the server's UUID, else the name and port that it gives itself.
    fn identity(&self, uuid: Option<&str>) -> String {
        let uuid = uuid.filter(|uuid| uuid.contains(|c: char| c != '0' && c != '-'));
        let server = uuid.map_or_else(|| format!("{}:{}", self.host, self.port), str::to_owned);
        format!("{server}/{}", self.database)
    }

    fn warnings(&self, family: Family) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.read_only {
            warnings.push("this server is read-only; the datastore must name one that can be written".to_owned());
        }
        if !self.collation.is_empty() && !self.collation.starts_with("utf8mb4") {
            warnings.push(format!(
                "the table's collation is {}, whose character set cannot hold every text; utf8mb4 is expected",
                self.collation
            ));
        }
        if family == Family::Sql && self.is_mariadb() {
            warnings.push(
                "the plugin mysql8 needs MySQL 8.0.17 or later; MariaDB has no multi-valued indexes, and Temporal's schema \
                 cannot be set up on it"
                    .to_owned(),
            );
        }
        warnings
    }
}

/// Writes and deletes a record in a transaction that is rolled back; gives the reason if that is not allowed.
async fn probe(session: &mut Session<'_>, tables: &Tables) -> Result<(), String> {
    let record = marker_record(PROBE, "crossfade-probe", PROBE, Timestamp::UNIX_EPOCH);
    let put = tables.for_writing(include_str!("../../sql/mysql/rewrite.sql"), 1);
    let mut steps = vec![(put, row::parameters(&record, tables))];
    for table in &tables.attributes {
        let put = table.for_writing(include_str!("../../sql/mysql/attributes.sql"), 1);
        steps.push((put, row::attribute_parameters(&record, table)));
    }
    let names = tables.attributes.iter().map(|table| table.name);
    for table in std::iter::once("executions_visibility").chain(names) {
        let delete = statements::without_comments(include_str!("../../sql/mysql/delete.sql"));
        let delete = statements::with_keys(&delete.replace("{table}", table), 1);
        steps.push((delete, statements::key_parameters([&record.key])));
    }
    session
        .command("START TRANSACTION")
        .await
        .map_err(|error| error.to_string())?;
    for (statement, parameters) in steps {
        session
            .change(&statement, parameters)
            .await
            .map_err(|error| fault::reason(&error))?;
    }
    session.command("ROLLBACK").await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn general(version: &str) -> General {
        General {
            version: version.to_owned(),
            host: "db1".to_owned(),
            port: 3306,
            database: "visibility".to_owned(),
            read_only: false,
            collation: "utf8mb4_0900_ai_ci".to_owned(),
            has_schema_version: true,
            records: None,
            bytes: None,
        }
    }

    #[test]
    fn engines_are_told_apart() {
        assert_eq!(general("8.0.36").engine(), "MySQL 8.0.36");
        assert_eq!(general("8.0.11-TiDB-v8.5.4").engine(), "TiDB 8.5.4 (as MySQL 8.0.11)");
        let mariadb = general("10.11.6-MariaDB-0+deb12u1");
        assert_eq!(mariadb.engine(), "MariaDB 10.11.6");
        assert_eq!(
            (
                mariadb.warnings(Family::Sql).len(),
                mariadb.warnings(Family::StandardSql).len()
            ),
            (1, 0)
        );
    }

    #[test]
    fn a_server_without_a_uuid_is_known_by_its_own_name() {
        let identity = |uuid| general("8.0.36").identity(uuid);
        assert_eq!(
            identity(Some("3e11fa47-71ca-11e1-9e33-c80aa9429562")),
            "3e11fa47-71ca-11e1-9e33-c80aa9429562/visibility"
        );
        assert_eq!(
            identity(Some("00000000-0000-0000-0000-000000000000")),
            "db1:3306/visibility"
        );
        assert_eq!(identity(None), "db1:3306/visibility");
    }
}
