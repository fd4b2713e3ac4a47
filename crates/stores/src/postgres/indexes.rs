//! Secondary indexes, set aside and built again.
//!
//! What is set aside stands in the table `crossfade_parked_indexes` beside the visibility table, written in the
//! transaction that drops the indexes, and goes when the last of them is back. A session-wide advisory lock keeps two
//! rebuilds apart, and it is held (shared) by each session that builds: one whose client was killed finishes its index
//! first, since PostgreSQL does not notice earlier, and until then nobody can take that index for a leftover.

mod rebuild;

use async_trait::async_trait;
use crossfade_visibility::copy::Watch;
use crossfade_visibility::indexing::{Definition, Indexing, Pace, Parked, Rebuilding, Rebuilt, Survey};
use crossfade_visibility::ports::Error;
use tokio_postgres::{Client, GenericClient, Row};

use super::Postgres;

/// The advisory lock of whoever changes which indexes there are; of this database, as such locks are.
const LOCK: i64 = 0x0063_726f_7373_6664;

/// How long the table may be kept from others while indexes are dropped. Whoever comes after us waits behind us.
const DROP_WITHIN: &str = "SET LOCAL lock_timeout = '3s'";

/// Where things are, whatever the search path.
struct Place {
    /// The visibility table.
    table: u32,
    /// Its name, quoted, with its schema.
    table_name: String,
    /// The name of the table of what is set aside, in the same form.
    parked: String,
    /// Whether the role owns the table, or may act as its owner.
    owned: bool,
}

impl Place {
    fn read(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            table: row.try_get(0)?,
            table_name: row.try_get(1)?,
            parked: row.try_get(2)?,
            owned: row.try_get(3)?,
        })
    }
}

/// A session that reads definitions and builds.
struct Workshop {
    client: Client,
    place: Place,
}

impl Postgres {
    async fn workshop(&self) -> Result<Workshop, Error> {
        let client = self.writes.another().await?;
        let row = client
            .query_opt(include_str!("../../sql/postgres/indexes/place.sql"), &[])
            .await
            .map_err(|error| self.fault(&error))?;
        let row = row.ok_or_else(|| self.schema("the table executions_visibility is gone"))?;
        let place = Place::read(&row).map_err(|error| self.fault(&error))?;
        client
            .query_one(include_str!("../../sql/postgres/indexes/session.sql"), &[])
            .await
            .map_err(|error| self.fault(&error))?;
        Ok(Workshop { client, place })
    }

    /// What the store itself has written down as set aside.
    async fn noted(&self, client: &impl GenericClient, place: &Place) -> Result<Vec<Definition>, Error> {
        let fault = |error: tokio_postgres::Error| self.fault(&error);
        let there = client
            .query_one("SELECT TO_REGCLASS($1) IS NOT NULL", &[&place.parked])
            .await
            .and_then(|row| row.try_get::<_, bool>(0))
            .map_err(fault)?;
        if !there {
            return Ok(Vec::new());
        }
        let noted = include_str!("../../sql/postgres/indexes/noted.sql").replace("{parked}", &place.parked);
        let rows = client.query(&noted, &[]).await.map_err(fault)?;
        rows.iter().map(|row| definition(row).map_err(fault)).collect()
    }

    fn schema(&self, reason: impl Into<String>) -> Error {
        Error::Schema {
            store: self.name.clone(),
            reason: reason.into(),
        }
    }

    /// Those that may be set aside, each with its quoted name.
    async fn secondary(
        &self,
        client: &impl GenericClient,
        place: &Place,
    ) -> Result<(Vec<Definition>, Vec<String>), Error> {
        let rows = client
            .query(
                include_str!("../../sql/postgres/indexes/secondary.sql"),
                &[&place.table],
            )
            .await
            .map_err(|error| self.fault(&error))?;
        let read = rows.iter().map(|row| Ok((definition(row)?, row.try_get(3)?)));
        let read: Result<Vec<_>, _> = read.collect();
        let (definitions, names) = read.map_err(|error| self.fault(&error))?.into_iter().unzip();
        Ok((definitions, names))
    }

    async fn set_aside(&self, workshop: &mut Workshop) -> Result<Parked, Error> {
        let fault = |error: tokio_postgres::Error| self.fault(&error);
        let Workshop { client, place } = workshop;
        let transaction = client.transaction().await.map_err(fault)?;
        let free = transaction
            .query_one("SELECT PG_TRY_ADVISORY_XACT_LOCK($1)", &[&LOCK])
            .await
            .and_then(|row| row.try_get::<_, bool>(0))
            .map_err(fault)?;
        if !free {
            return Err(Error::Busy {
                store: self.name.clone(),
                reason: "its indexes are being built".to_owned(),
            });
        }
        let lock = format!(
            "{DROP_WITHIN}; LOCK TABLE {} IN ACCESS EXCLUSIVE MODE",
            place.table_name
        );
        transaction.batch_execute(&lock).await.map_err(fault)?;
        let (definitions, quoted) = self.secondary(&transaction, place).await?;
        if !definitions.is_empty() {
            let table = include_str!("../../sql/postgres/indexes/note_table.sql").replace("{parked}", &place.parked);
            transaction.batch_execute(&table).await.map_err(fault)?;
            let note = include_str!("../../sql/postgres/indexes/note.sql").replace("{parked}", &place.parked);
            let names: Vec<&str> = definitions.iter().map(|index| index.name.as_str()).collect();
            let statements: Vec<&str> = definitions.iter().map(|index| index.statement.as_str()).collect();
            let spaces: Vec<Option<&str>> = definitions.iter().map(|index| index.tablespace.as_deref()).collect();
            transaction
                .execute(&note, &[&names, &statements, &spaces])
                .await
                .map_err(fault)?;
            let drop = format!("DROP INDEX {}", quoted.join(", "));
            transaction.batch_execute(&drop).await.map_err(fault)?;
        }
        let indexes = self.noted(&transaction, place).await?;
        transaction.commit().await.map_err(fault)?;
        Ok(Parked {
            indexes,
            settings: Vec::new(),
        })
    }
}

/// A row that begins with name, statement and tablespace.
fn definition(row: &Row) -> Result<Definition, tokio_postgres::Error> {
    Ok(Definition {
        name: row.try_get(0)?,
        statement: row.try_get(1)?,
        tablespace: row.try_get(2)?,
    })
}

#[async_trait]
impl Indexing for Postgres {
    async fn survey(&self) -> Result<Survey, Error> {
        let Workshop { client, place } = self.workshop().await?;
        let (present, _) = self.secondary(&client, &place).await?;
        let parked = self.noted(&client, &place).await?;
        let lacking = |index: &&Definition| !present.iter().any(|present| present.name == index.name);
        Ok(Survey {
            present: present.len() as u64,
            parked: parked.iter().filter(lacking).count() as u64,
            refusal: (!place.owned).then(|| {
                "the role does not own the table executions_visibility, or may not create a table beside it".to_owned()
            }),
        })
    }

    async fn park(&self) -> Result<Parked, Error> {
        let mut workshop = self.workshop().await?;
        self.set_aside(&mut workshop).await
    }

    async fn restore(&self, parked: &Parked, pace: Pace, watch: &mut dyn Watch<Rebuilding>) -> Result<Rebuilt, Error> {
        self.rebuild(parked, pace, watch).await
    }
}
