//! Retention Periods that no API sets: shorter than an hour, or none at all. The server accepts such Namespaces (older
//! servers registered them) but registers none below an hour (1.30.8: common/namespace/const.go, `MinRetentionLocal`).

use anyhow::{Result, bail, ensure};
use e2e::testbed::{Store, Testbed};

/// A Retention Period as a Namespace's row has it: field 1 of `NamespaceConfig`, a `Duration` whose seconds take two
/// bytes. A number written in more bytes than it needs is still that number.
fn encoded(seconds: u16) -> [u8; 5] {
    let [low, high] = [seconds & 0x7f, seconds >> 7].map(|bits| bits.to_le_bytes()[0]);
    [0x0a, 3, 0x08, low | 0x80, high]
}

/// Gives every Namespace that was registered with `from` seconds a Retention Period of `to` seconds, and restarts the
/// server, which keeps Namespaces in memory. Both are from 128 to 16,383, but for `to`, which may be less.
pub(crate) async fn set_retention(testbed: &Testbed, from: u16, to: u16) -> Result<()> {
    testbed.temporal().stop()?;
    let changed = match testbed.source() {
        Store::Sqlite { file } => in_sqlite(&file.with_file_name("temporal.db"), from, to)?,
        Store::Postgres { port, .. } => in_postgres(*port, from, to).await?,
        other => bail!("no Namespace's row can be reached through {other:?}"),
    };
    ensure!(changed > 0, "no Namespace has a Retention Period of {from} s");
    testbed.temporal().hosts().iter().try_for_each(|host| host.start())?;
    testbed.temporal().serving().await
}

fn replaced(row: &[u8], from: u16, to: u16) -> Option<Vec<u8>> {
    let at = row.windows(5).position(|window| window == encoded(from))?;
    let mut row = row.to_vec();
    row[at..at + 5].copy_from_slice(&encoded(to));
    Some(row)
}

fn in_sqlite(file: &std::path::Path, from: u16, to: u16) -> Result<u64> {
    let database = rusqlite::Connection::open(file)?;
    let mut rows = database.prepare("SELECT id, data FROM namespaces")?;
    let rows: Vec<(Vec<u8>, Vec<u8>)> = rows
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut changed = 0;
    for (id, data) in rows {
        if let Some(data) = replaced(&data, from, to) {
            changed += database.execute("UPDATE namespaces SET data = ?2 WHERE id = ?1", (id, data))? as u64;
        }
    }
    Ok(changed)
}

async fn in_postgres(port: u16, from: u16, to: u16) -> Result<u64> {
    let database = e2e::servers::postgres::connect(port, "temporal").await?;
    let mut changed = 0;
    for row in database.query("SELECT id, data FROM namespaces", &[]).await? {
        let (id, data): (Vec<u8>, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
        if let Some(data) = replaced(&data, from, to) {
            changed += database
                .execute("UPDATE namespaces SET data = $2 WHERE id = $1", &[&id, &data])
                .await?;
        }
    }
    Ok(changed)
}
