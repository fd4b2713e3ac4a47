//! Having the database move search attributes into the fields in which the server looks for them.
//!
//! A trigger does it, and not we: whoever writes the row (the server now, the server when an execution closes weeks after
//! the migration, a refresh, a copy) and whenever, the row is right from its first moment.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::connect::{Lane, Session};
use super::fault;
use crate::entry::PostgresEntry;
use crate::error::OpenError;
use crate::store::AttributeFields;

/// Rows that are written again by one statement.
const PAGE: i64 = 500;

/// Makes the trigger, and has it see the rows that are there already. Gives how many of these had something to move.
pub(crate) async fn rename_attributes(entry: PostgresEntry, fields: &AttributeFields) -> Result<u64, OpenError> {
    let store = entry.describe();
    let lane = Lane::new(Arc::new(entry), false);
    let mut guard = lane.open().await?;
    let session = guard.get()?;
    make(session, fields)
        .await
        .map_err(|error| OpenError::from(fault::of(&store, &error)))?;
    let renamed = rewrite(session, fields).await;
    renamed.map_err(|error| OpenError::from(fault::of(&store, &error)))
}

/// The function is replaced whenever the names change; the trigger, for which the table is locked, is made once.
async fn make(session: &mut Session, fields: &AttributeFields) -> Result<(), tokio_postgres::Error> {
    let transaction = session.client.transaction().await?;
    transaction.batch_execute(&function(fields)).await?;
    let there = transaction
        .query_one(include_str!("../../sql/postgres/attribute_names_trigger.sql"), &[])
        .await?;
    if !there.try_get::<_, bool>(0)? {
        transaction
            .batch_execute(include_str!("../../sql/postgres/create_attribute_names_trigger.sql"))
            .await?;
    }
    transaction.commit().await
}

async fn rewrite(session: &mut Session, fields: &AttributeFields) -> Result<u64, tokio_postgres::Error> {
    let namespaces: Vec<&str> = fields.keys().map(String::as_str).collect();
    let names: BTreeSet<&str> = fields.values().flatten().map(|(name, _)| name.as_str()).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let statement = session
        .prepare(include_str!("../../sql/postgres/rename_attributes.sql"))
        .await?;
    let (mut last, mut renamed) = ((String::new(), String::new()), 0);
    loop {
        let row = session
            .client
            .query_opt(&statement, &[&last.0, &last.1, &namespaces, &names, &PAGE])
            .await?;
        let Some(row) = row else { return Ok(renamed) };
        last = (row.try_get(0)?, row.try_get(1)?);
        renamed += u64::try_from(row.try_get::<_, i64>(2)?).unwrap_or_default();
    }
}

/// The function with the names in it. They are the users' own and may hold anything; a dollar sign, which could end the
/// quotation, is written as JSON can.
fn function(fields: &AttributeFields) -> String {
    let names = serde_json::json!(fields).to_string().replace('$', "\\u0024");
    include_str!("../../sql/postgres/attribute_names.sql").replace("{names}", &names)
}
