//! Which parts of the key space have to be read: those of which the two stores' digests differ.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::suspects::Pair;
use crate::digest::{Cell, Digest, Question, bounds, digits_for};
use crate::ports::{Error, Range};
use crate::record::Key;

/// A part of the key space; all parts together are the whole, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The same in both stores by their digests: so many records of this Namespace, before this key.
    Same {
        namespace_id: String,
        records: u64,
        until: Key,
    },
    /// To be read.
    Read(Range),
}

/// The parts of `range`, Namespaces of no more than `few` records undivided; or `None` where the two stores cannot give
/// digests that say something of each other, or not `within` that time.
pub(super) async fn parts(
    pair: &Pair<'_>,
    range: &Range,
    few: usize,
    within: Option<Duration>,
) -> Result<Option<Vec<Part>>, Error> {
    let Some((in_source, in_target)) = digests(pair, range, 0, within).await? else {
        return Ok(None);
    };
    let mut parts = Vec::new();
    let namespaces: BTreeSet<&Cell> = in_source.keys().chain(in_target.keys()).collect();
    for cell in namespaces {
        let (a, b) = (of(&in_source, cell), of(&in_target, cell));
        let whole = Range {
            namespace_id: Some(cell.namespace_id.clone()),
            ..range.clone()
        };
        let records = a.records.max(b.records);
        if a == b {
            parts.push(Part::Same {
                records,
                until: end_of(&cell.namespace_id),
                namespace_id: cell.namespace_id.clone(),
            });
        } else if records <= few as u64 {
            parts.push(Part::Read(whole));
        } else {
            match digests(pair, &whole, digits_for(records), within).await? {
                Some((in_source, in_target)) => parts.extend(by_cells(&whole, &in_source, &in_target)),
                None => return Ok(None),
            }
        }
    }
    Ok(Some(parts))
}

type Cells = BTreeMap<Cell, Digest>;

async fn digests(
    pair: &Pair<'_>,
    range: &Range,
    digits: u32,
    within: Option<Duration>,
) -> Result<Option<(Cells, Cells)>, Error> {
    let question = Question {
        range,
        digits,
        by: pair.by,
        versions: pair.source.versioned() && pair.target.versioned(),
        within,
    };
    let both = futures::future::try_join(pair.source.digests(question), pair.target.digests(question));
    Ok(match both.await? {
        (Some(a), Some(b)) if a.recipe == b.recipe => Some((a.cells, b.cells)),
        _ => None,
    })
}

fn of(cells: &Cells, cell: &Cell) -> Digest {
    cells.get(cell).copied().unwrap_or_default()
}

/// The parts of one Namespace, neighbours of one kind made one.
fn by_cells(range: &Range, in_source: &Cells, in_target: &Cells) -> Vec<Part> {
    let cells: BTreeSet<&Cell> = in_source.keys().chain(in_target.keys()).collect();
    let differing = |cell: &&&Cell| of(in_source, cell) != of(in_target, cell);
    let (all, wrong) = (cells.len(), cells.iter().filter(differing).count());
    // Of what differs nearly everywhere, reading all is quicker than asking for it piece by piece.
    if wrong * 2 > all || cells.iter().any(|cell| bounds(&cell.prefix).is_none()) {
        return vec![Part::Read(range.clone())];
    }
    let mut parts: Vec<Part> = Vec::new();
    for cell in cells {
        let Some((before, after)) = bounds(&cell.prefix) else {
            continue;
        };
        let namespace_id = cell.namespace_id.clone();
        let key = |run_id: String| Key::new(namespace_id.clone(), run_id);
        let digest = of(in_source, cell);
        let end = after.map(key);
        if digest == of(in_target, cell) {
            // Like the end of a Namespace: after every digit that can stand there.
            let until = key(format!("{}z", cell.prefix));
            match parts.last_mut() {
                Some(Part::Same {
                    records, until: last, ..
                }) => {
                    *records += digest.records;
                    *last = until;
                }
                _ => parts.push(Part::Same {
                    records: digest.records,
                    until,
                    namespace_id: cell.namespace_id.clone(),
                }),
            }
            continue;
        }
        match parts.last_mut() {
            Some(Part::Read(last)) => last.until = earlier(range.until.clone(), end),
            _ => parts.push(Part::Read(Range {
                namespace_id: range.namespace_id.clone(),
                after: range.after.clone().max(before.map(key)),
                until: earlier(range.until.clone(), end),
            })),
        }
    }
    parts
}

/// The earlier of two ends, either of which may be none.
fn earlier(a: Option<Key>, b: Option<Key>) -> Option<Key> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// A key after those of all UUIDs of a Namespace, in every collation.
fn end_of(namespace_id: &str) -> Key {
    Key::new(namespace_id, "zzzz")
}
