//! A copy between two stores of one cluster, which moves the records itself.
//!
//! Only their names pass through us, and only the reading differs: the cluster reads a record when it puts it (3), and not
//! before. What it then finds is the listed version or a later one of the server's, as a page might have read it; what is
//! gone by then it does not put. The source is asked afterwards as ever (4), and what it lost is deleted (5). As the version
//! that was put is not known, a record is deleted up to the version that the target holds *after* (4): up to what was put,
//! or what the server wrote there before its own delete, which finds nothing more to do.
//!
//! It goes page by page, not as one long task of the cluster: so a rate is kept, a stop is a stop at the next page, a
//! cluster refuses a document of one page and not the whole copy, and whoever is killed leaves nothing running but the
//! pages under way, which end by themselves within moments, as a bulk does whose sender is gone.

use std::collections::BTreeSet;

use crate::ports::{Condemned, Error, Place, Read, Target};
use crate::record::{Key, Record};

/// Where `target` takes the records of `source` from by itself, if it does.
pub(super) async fn place(source: &dyn Read, target: Target<'_>) -> Result<Option<Place>, Error> {
    match source.place() {
        Some(place) if target.write.takes_from(&place).await? => Ok(Some(place)),
        _ => Ok(None),
    }
}

/// Has the target take over what `named` names, from (3) to (5). What it does not take is read and put, so that what it
/// refuses is told as ever. Gives how many records were written and withdrawn, and the bytes that passed through us.
pub(super) async fn take(
    source: &dyn Read,
    target: Target<'_>,
    place: &Place,
    named: &[Record],
) -> Result<(u64, u64, u64), Error> {
    if named.is_empty() {
        return Ok((0, 0, 0));
    }
    let (written, bytes) = match target.write.take(place, named).await? {
        Some(taken) => (taken, 0),
        None => {
            let keys: Vec<Key> = named.iter().map(|record| record.key.clone()).collect();
            let records = source.get(&keys).await?;
            let bytes = records.iter().map(Record::bytes).sum();
            (target.write.put(&records).await?, bytes)
        }
    };
    Ok((written, withdraw_gone(source, target, named).await?, bytes))
}

async fn withdraw_gone(source: &dyn Read, target: Target<'_>, named: &[Record]) -> Result<u64, Error> {
    let gone: BTreeSet<Key> = source.gone(named).await?.into_iter().collect();
    if gone.is_empty() {
        return Ok(0);
    }
    let gone: Vec<Key> = gone.into_iter().collect();
    let held = target.read.versions(&gone).await?;
    let condemned = held.into_iter().map(|(key, at_most)| Condemned { key, at_most });
    target.write.delete(&condemned.collect::<Vec<_>>()).await
}
