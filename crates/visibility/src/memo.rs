//! Memos compared by meaning.
//!
//! A memo is a protobuf map, and each write serialises it in its own order, so two stores written in dual mode hold
//! different bytes for the same memo (seen on 1.30.8: 160 of 920 rows). They are therefore compared decoded.

use std::collections::BTreeMap;

use prost::encoding::{WireType, decode_key, decode_varint};
use twox_hash::XxHash3_128;

use crate::record::PROTO3;

/// `temporal.api.common.v1.Memo` as a value: equal when it means the same, with what this code does not know kept as
/// bytes, so that nothing can be overlooked.
#[derive(PartialEq)]
struct Memo<'a> {
    fields: BTreeMap<&'a [u8], Payload<'a>>,
    rest: Vec<&'a [u8]>,
}

/// `temporal.api.common.v1.Payload` as a value; details of external payloads, being a list, are in `rest`.
#[derive(PartialEq, Default)]
struct Payload<'a> {
    metadata: BTreeMap<&'a [u8], &'a [u8]>,
    data: &'a [u8],
    rest: Vec<&'a [u8]>,
}

/// Whether two memos, each with its encoding's name, are the same memo.
///
/// Another encoding than protobuf is compared as bytes: that may show a difference where there is none, and never hides
/// one.
pub fn same(a: Option<&[u8]>, a_encoding: &str, b: Option<&[u8]>, b_encoding: &str) -> bool {
    let (a, b) = (a.unwrap_or_default(), b.unwrap_or_default());
    if a.is_empty() && b.is_empty() {
        return true;
    }
    if a_encoding != b_encoding {
        return false;
    }
    if a == b {
        return true;
    }
    if a_encoding != PROTO3 {
        return false;
    }
    match (Memo::decode(a), Memo::decode(b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

impl<'a> Memo<'a> {
    /// Reads a memo; `None` when the bytes are no protobuf message.
    fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut memo = Self {
            fields: BTreeMap::new(),
            rest: Vec::new(),
        };
        for field in Fields(bytes) {
            match field? {
                Field {
                    number: 1,
                    content: Some(entry),
                    ..
                } => {
                    let (name, payload) = map_entry(entry)?;
                    memo.fields.insert(name, Payload::decode(payload)?);
                }
                other => memo.rest.push(other.whole),
            }
        }
        Some(memo)
    }
}

impl<'a> Payload<'a> {
    fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut payload = Self::default();
        for field in Fields(bytes) {
            match field? {
                Field {
                    number: 1,
                    content: Some(entry),
                    ..
                } => {
                    let (name, value) = map_entry(entry)?;
                    payload.metadata.insert(name, value);
                }
                Field {
                    number: 2,
                    content: Some(data),
                    ..
                } => payload.data = data,
                other => payload.rest.push(other.whole),
            }
        }
        Some(payload)
    }
}

/// One field of a message on the wire.
struct Field<'a> {
    number: u32,
    /// The content of a length-delimited field.
    content: Option<&'a [u8]>,
    /// The field with its key.
    whole: &'a [u8],
}

/// A map's entry: a message of a key (1) and a value (2), either of which may be left out when empty.
fn map_entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
    for field in Fields(bytes) {
        match field? {
            Field {
                number: 1,
                content: Some(content),
                ..
            } => key = content,
            Field {
                number: 2,
                content: Some(content),
                ..
            } => value = content,
            // A map's entry has no third field; a memo with one is not what this code takes it for.
            _ => return None,
        }
    }
    Some((key, value))
}

/// The fields of a message, one by one; `None` in place of the first that is none, with which it ends.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self) -> Option<Field<'a>> {
        let start = self.0;
        let bytes = &mut self.0;
        let (number, wire_type) = decode_key(bytes).ok()?;
        let length = match wire_type {
            WireType::Varint => {
                decode_varint(bytes).ok()?;
                0
            }
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::LengthDelimited => usize::try_from(decode_varint(bytes).ok()?).ok()?,
            // Groups are no part of proto3.
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        let (content, after) = bytes.split_at_checked(length)?;
        self.0 = after;
        Some(Field {
            number,
            content: (wire_type == WireType::LengthDelimited).then_some(content),
            whole: &start[..start.len() - after.len()],
        })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Option<Field<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.take();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// A hash of a memo that two memos have alike only if [`same`] says of them that they are: the sum of a hash of each entry,
/// since each write puts them in an order of its own. What is no protobuf, has one name twice or more than [`MOST_ENTRIES`]
/// entries goes by its bytes.
pub(crate) fn sum(bytes: &[u8], encoding: &[u8], seed: u64) -> u128 {
    if bytes.is_empty() {
        return 0;
    }
    let entries = if encoding == PROTO3.as_bytes() {
        sum_of_entries(bytes, seed)
    } else {
        None
    };
    entries.unwrap_or_else(|| {
        let whole = [&(encoding.len() as u64).to_le_bytes()[..], encoding, bytes].concat();
        XxHash3_128::oneshot_with_seed(seed ^ 1, &whole)
    })
}

/// Entries that are told apart by their names; more are taken as they are.
const MOST_ENTRIES: usize = 32;

fn sum_of_entries(bytes: &[u8], seed: u64) -> Option<u128> {
    let mut names = Vec::new();
    let mut sum: u128 = 1;
    for field in Fields(bytes) {
        let field = field?;
        let entry = field.content.filter(|_| field.number == 1)?;
        let (name, payload) = map_entry(entry)?;
        if names.len() == MOST_ENTRIES || names.contains(&name) {
            return None;
        }
        names.push(name);
        sum = sum.wrapping_add(of_pair(name, &sum_of_payload(payload, seed)?.to_le_bytes(), seed ^ 2));
    }
    Some(sum)
}

fn sum_of_payload(bytes: &[u8], seed: u64) -> Option<u128> {
    let mut names = Vec::new();
    let mut data: Option<&[u8]> = None;
    let mut sum: u128 = 0;
    for field in Fields(bytes) {
        let field = field?;
        match (field.number, field.content) {
            (1, Some(entry)) => {
                let (name, value) = map_entry(entry)?;
                if names.len() == MOST_ENTRIES || names.contains(&name) {
                    return None;
                }
                names.push(name);
                sum = sum.wrapping_add(of_pair(name, value, seed ^ 3));
            }
            (2, Some(content)) if data.is_none() => data = Some(content),
            _ => return None,
        }
    }
    Some(sum.wrapping_add(of_pair(&[], data.unwrap_or_default(), seed ^ 4)))
}

fn of_pair(name: &[u8], value: &[u8], seed: u64) -> u128 {
    let mut short = [0_u8; 240];
    let length = 8 + name.len() + value.len();
    // The length of the name, so that no other pair has the same bytes.
    let size = (name.len() as u64).to_le_bytes();
    match short.get_mut(..length) {
        Some(pair) => {
            pair[..8].copy_from_slice(&size);
            pair[8..8 + name.len()].copy_from_slice(name);
            pair[8 + name.len()..].copy_from_slice(value);
            XxHash3_128::oneshot_with_seed(seed, pair)
        }
        None => XxHash3_128::oneshot_with_seed(seed, &[&size, name, value].concat()),
    }
}

/// The fields of a memo in an order that says nothing; the whole where it is no protobuf.
#[cfg(feature = "testing")]
pub(crate) fn entries(bytes: &[u8]) -> Vec<&[u8]> {
    let fields: Option<Vec<&[u8]>> = Fields(bytes).map(|field| Some(field?.whole)).collect();
    let mut entries = fields.unwrap_or_else(|| vec![bytes]);
    entries.sort_unstable();
    entries
}

/// Encodes JSON texts as a memo, entries in the order given; for tests that need one memo in different bytes.
#[cfg(feature = "testing")]
pub fn encode(entries: &[(&str, &str)]) -> Vec<u8> {
    fn delimited(number: u8, content: &[u8]) -> Vec<u8> {
        let mut field = vec![number << 3 | 2];
        prost::encoding::encode_varint(content.len() as u64, &mut field);
        field.extend(content);
        field
    }
    let encoding = [delimited(1, b"encoding"), delimited(2, b"json/plain")].concat();
    entries
        .iter()
        .flat_map(|(name, json)| {
            let payload = [delimited(1, &encoding), delimited(2, json.as_bytes())].concat();
            delimited(1, &[delimited(1, name.as_bytes()), delimited(2, &payload)].concat())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(a: &[u8], b: &[u8], expected: bool) {
        assert_eq!(same(Some(a), PROTO3, Some(b), PROTO3), expected);
        assert_eq!(same(Some(b), PROTO3, Some(a), PROTO3), expected);
    }

    #[test]
    fn order_of_entries_does_not_matter_and_content_does() {
        let ab = encode(&[("a", "1"), ("b", "\"x\"")]);
        let ba = encode(&[("b", "\"x\""), ("a", "1")]);
        assert_ne!(ab, ba);
        check(&ab, &ba, true);
        check(&ab, &encode(&[("b", "\"y\""), ("a", "1")]), false);
        check(&ab, &encode(&[("a", "1")]), false);
        check(&ab, &encode(&[("c", "1"), ("b", "\"x\"")]), false);
    }

    #[test]
    fn unknown_fields_are_never_overlooked() {
        // Field 9 (a varint) in front of, or behind, the same entries: only its value differs.
        let known = encode(&[("a", "1")]);
        let mut one = vec![0x48, 1];
        one.extend(&known);
        let mut two = known.clone();
        two.extend([0x48, 2]);
        check(&one, &two, false);
    }

    #[test]
    fn an_entry_without_value_is_an_entry_with_an_empty_one() {
        // Go writes empty keys and values of maps, other writers leave them out.
        check(&[0x0a, 5, 0x0a, 1, b'a', 0x12, 0], &[0x0a, 3, 0x0a, 1, b'a'], true);
        check(&[0x0a, 5, 0x0a, 1, b'a', 0x12, 0], &[0x0a, 3, 0x0a, 1, b'b'], false);
        check(&[0x0a, 5, 0x0a, 1, b'a'], &[0x0a, 3, 0x0a, 1, b'a'], false);
    }

    #[test]
    fn absent_and_empty_are_the_same_and_encodings_are_not() {
        assert!(same(None, PROTO3, Some(b""), ""));
        let memo = encode(&[("a", "1")]);
        assert!(!same(Some(&memo), PROTO3, None, PROTO3));
        assert!(!same(Some(&memo), PROTO3, Some(&memo), "Json"));
        assert!(same(Some(b"junk"), "Json", Some(b"junk"), "Json"));
        assert!(!same(Some(&[0xff, 1]), PROTO3, Some(&[0xff, 2]), PROTO3));
    }
}
