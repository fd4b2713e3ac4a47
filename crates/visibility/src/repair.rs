//! Puts drift right, key by key.
//!
//! Everything is read again first, the source before the target, so that what the server wrote meanwhile is seen; what
//! is in order by then is left alone. The races are those of [`copy`](crate::copy), and two more:
//!
//! - **Same version, other content**: no version can decide, so the target's record is exchanged only while it is still
//!   exactly the one seen ([`Write::rewrite`](crate::ports::Write::rewrite)). A server's write before that makes the
//!   exchange fail, one after it has a higher version (or, without versions, replaces it).
//! - **Extra**: deleted only up to the version seen, after the source was asked once more. Should the server be writing
//!   that very record to both stores just now, target first, it may lose the target's; a caller therefore repairs only
//!   what a comparison still saw after its pause, and compares again afterwards.

use std::collections::BTreeMap;

use crate::copy::withdraw_gone;
use crate::ports::{Condemned, Error, Read, Rewrite, Target};
use crate::record::{Key, Record};
use crate::sameness::{Class, Yardstick, classify};

/// What a repair did, in records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Put or exchanged at the target.
    pub written: u64,
    /// Deleted at the target.
    pub deleted: u64,
    /// Found in order when read again, or changed by the server in the middle of the repair; the next comparison tells.
    pub moved_on: u64,
    /// Records whose version at the target is later than at the source, with other content. Replacing them would
    /// overwrite a newer record with an older one, so that a person has to decide. At most [`LEFT_SAMPLE`] keys.
    pub left: Vec<Key>,
    /// How many those are.
    pub left_count: u64,
}

impl Repaired {
    /// Adds what another repair did.
    pub fn add(&mut self, other: Self) {
        self.written += other.written;
        self.deleted += other.deleted;
        self.moved_on += other.moved_on;
        self.left_count += other.left_count;
        let room = LEFT_SAMPLE.saturating_sub(self.left.len());
        self.left.extend(other.left.into_iter().take(room));
    }
}

/// How many keys [`Repaired::left`] names.
pub const LEFT_SAMPLE: usize = 100;

/// Puts right the records of `keys` at the target, a page of `page` keys at a time.
///
/// # Errors
///
/// What either store reports; what was done stays done, and the whole may be repeated.
pub async fn repair(source: &dyn Read, target: Target<'_>, keys: &[Key], page: usize) -> Result<Repaired, Error> {
    let mut repaired = Repaired::default();
    for keys in keys.chunks(page.max(1)) {
        repair_page(source, target, keys, &mut repaired).await?;
    }
    Ok(repaired)
}

/// What has to be done for one page of keys.
#[derive(Default)]
struct Orders {
    put: Vec<Record>,
    rewrite: Vec<Rewrite>,
    delete: Vec<Condemned>,
}

async fn repair_page(
    source: &dyn Read,
    target: Target<'_>,
    keys: &[Key],
    repaired: &mut Repaired,
) -> Result<(), Error> {
    let in_source = by_key(source.get(keys).await?);
    let mut in_target = by_key(target.read.get(keys).await?);
    let by = Yardstick::between(source, target.read);
    // What the target alone has is asked for once more before it is deleted.
    in_target
        .values()
        .filter(|held| !in_source.contains_key(&held.key))
        .for_each(|held| source.hint(held));

    let mut orders = Orders::default();
    for (key, record) in keys.iter().map(|key| (key, in_source.get(key))) {
        let held = in_target.remove(key);
        match (classify(record, held.as_ref(), by), record, held) {
            (Some(Class::Missing | Class::Stale), Some(record), _) => orders.put.push(record.clone()),
            (Some(Class::Different), Some(record), Some(held)) if is_ahead(&held, record) => {
                repaired.left_count += 1;
                if repaired.left.len() < LEFT_SAMPLE {
                    repaired.left.push(key.clone());
                }
            }
            (Some(Class::Different), Some(record), Some(held)) => {
                // A source that keeps less must not take away what only the target can hold, its version among it.
                let to = record.filled_from(&held, source.keeps());
                orders.rewrite.push(Rewrite { seen: held, to });
            }
            (Some(Class::Extra), _, Some(held)) => {
                orders.delete.push(Condemned {
                    key: key.clone(),
                    at_most: held.version,
                });
            }
            _ => repaired.moved_on += 1,
        }
    }
    carry_out(source, target, orders, repaired).await
}

async fn carry_out(
    source: &dyn Read,
    target: Target<'_>,
    orders: Orders,
    repaired: &mut Repaired,
) -> Result<(), Error> {
    let Orders {
        put,
        rewrite,
        mut delete,
    } = orders;
    let wanted = (put.len() + rewrite.len()) as u64;
    if wanted > 0 {
        let mut changed = if put.is_empty() {
            0
        } else {
            target.write.put(&put).await?
        };
        changed += if rewrite.is_empty() {
            0
        } else {
            target.write.rewrite(&rewrite).await?
        };
        repaired.written += changed;
        repaired.moved_on += wanted.saturating_sub(changed);
        let written: Vec<Record> = put
            .into_iter()
            .chain(rewrite.into_iter().map(|change| change.to))
            .collect();
        repaired.deleted += withdraw_gone(source, target, &written).await?;
    }
    if !delete.is_empty() {
        let wanted = delete.len() as u64;
        let keys: Vec<Key> = delete.iter().map(|condemned| condemned.key.clone()).collect();
        let alive = source.versions(&keys).await?;
        delete.retain(|condemned| !alive.contains_key(&condemned.key));
        let deleted = if delete.is_empty() {
            0
        } else {
            target.write.delete(&delete).await?
        };
        repaired.deleted += deleted;
        repaired.moved_on += wanted.saturating_sub(deleted);
    }
    Ok(())
}

fn is_ahead(held: &Record, record: &Record) -> bool {
    matches!((held.version, record.version), (Some(held), Some(of_source)) if held > of_source)
}

pub(crate) fn by_key(records: Vec<Record>) -> BTreeMap<Key, Record> {
    records.into_iter().map(|record| (record.key.clone(), record)).collect()
}
