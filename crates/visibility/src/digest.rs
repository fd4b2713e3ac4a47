//! Digests: what a store can say of many records in a few bytes, computed where the records are.
//!
//! A digest is a number of records and the sum of a hash of each: equal for equal records, whatever the order in which
//! they are stored. Two stores whose digests agree need not be read; where they do not, the records themselves are compared
//! ([`crate::compare`]), so that a digest never says what is wrong, only where to look.
//!
//! # What a digest can overlook
//!
//! The hash of a record has 64 bits and depends on its run id, so that values which two records have exchanged are seen, too.
//! Of stores that differ anywhere in a cell, one in about 2^64 has the same digest of it. Records are compared by their versions,
//! too, where both stores keep them. One kind of difference is not left to chance: PostgreSQL's own hash of a JSON value turns
//! what it has by one bit for each scalar, so that two search attributes of one record whose values were exchanged, with a
//! multiple of 32 scalars between them, look the same. A comparison without digests sees that.
//!
//! A memo is a protobuf map, whose entries each write puts in an order of its own: the same memo has different bytes in two
//! stores. What goes into the hash are therefore its entries in the order of their bytes. Within an entry bytes count: a payload
//! with several metadata fields (an encrypted one) may then look different when it is not. Everything of that kind, a number
//! written as 1 and as 1.0 or a field that is null among it, costs reading the cell and never an answer: equality by digest is
//! stricter than equality.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ports::Range;
use crate::sameness::Yardstick;

/// What a store is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Of which records.
    pub range: &'a Range,
    /// How many characters of the run id make a cell: 0 (a cell for each Namespace) to [`MOST_DIGITS`].
    pub digits: u32,
    /// What counts.
    pub by: Yardstick,
    /// Whether the version counts: where both stores keep it.
    pub versions: bool,
    /// How long the store may take for it; as long as it likes when absent.
    pub within: Option<Duration>,
}

/// The most characters of a run id that make a cell: a million cells for each Namespace.
pub const MOST_DIGITS: u32 = 5;

/// The records of one Namespace whose run ids begin alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// The Namespace's id.
    pub namespace_id: String,
    /// How the run ids begin.
    pub prefix: String,
}

/// Of the records of one cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// How many there are.
    pub records: u64,
    /// The sum of their hashes.
    pub sum: i128,
}

/// A store's answer. Cells without records are not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    /// How they were computed: those of two stores say something of each other only if this is the same.
    pub recipe: String,
    /// By cell.
    pub cells: BTreeMap<Cell, Digest>,
}

/// How many characters of the run id make cells of some hundred records each.
pub(crate) fn digits_for(records: u64) -> u32 {
    let mut digits = 1;
    let mut cells: u64 = 16;
    while digits < MOST_DIGITS && records / cells > RECORDS_OF_CELL {
        digits += 1;
        cells *= 16;
    }
    digits
}

/// Records of a cell that is worth having: one that differs is read in one page.
const RECORDS_OF_CELL: u64 = 1_000;

/// Digits of a UUID before its first dash.
const BEFORE_A_DASH: usize = 8;

/// The bounds of the run ids that begin with `prefix`, both such that every collation puts them between the same UUIDs: the
/// first is before all of them and the last after. `None` for what no UUID begins with. `None` as an end is the Namespace's own.
pub fn bounds(prefix: &str) -> Option<(Option<String>, Option<String>)> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if prefix.is_empty() || prefix.len() > BEFORE_A_DASH || !prefix.bytes().all(is_hex) {
        return None;
    }
    let width = prefix.len();
    let number = u64::from_str_radix(prefix, 16).ok()?;
    // `z` is after every digit that can stand there.
    let before = number.checked_sub(1).map(|number| format!("{number:0width$x}z"));
    let next = number + 1;
    let after = (next < 1 << (4 * width)).then(|| format!("{next:0width$x}"));
    Some((before, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_everything_that_begins_so() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(bounds("a0"), Some((text("9fz"), text("a1"))));
        assert_eq!(bounds("00"), Some((None, text("01"))));
        assert_eq!(bounds("ff"), Some((text("fez"), None)));
        assert_eq!(bounds("0"), Some((None, text("1"))));
        assert_eq!(bounds("ffffffff"), Some((text("fffffffez"), None)));
        for odd in ["", "r1", "A0", "a-", "123456789"] {
            assert_eq!(bounds(odd), None, "{odd}");
        }
        for prefix in ["00", "0a", "10", "9f", "a0", "ff"] {
            let (before, after) = bounds(prefix).unwrap_or_default();
            for run in [prefix.to_owned(), format!("{prefix}0"), format!("{prefix}~")] {
                assert!(before.as_ref().is_none_or(|before| *before < run), "{run}");
                assert!(after.as_ref().is_none_or(|after| run < *after), "{run}");
            }
        }
    }

    #[test]
    fn cells_have_a_thousand_records_or_so() {
        assert_eq!(digits_for(0), 1);
        assert_eq!(digits_for(16_000), 1);
        assert_eq!(digits_for(100_000), 2);
        assert_eq!(digits_for(1_000_000), 3);
        assert_eq!(digits_for(u64::MAX), MOST_DIGITS);
    }
}
