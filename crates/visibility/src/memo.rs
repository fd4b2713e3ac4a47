//! Memos compared by meaning.
//!
//! A memo is a protobuf map, and each write serialises it in its own order, so two stores written in dual mode hold
//! different bytes for the same memo (seen on 1.30.8: 160 of 920 rows). They are therefore compared decoded.

use std::collections::BTreeMap;

use prost::encoding::{WireType, decode_key, decode_varint};

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
        for field in fields(bytes)? {
            match field {
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
        for field in fields(bytes)? {
            match field {
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
    for field in fields(bytes)? {
        match field {
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

/// Splits a message into its fields; `None` when it is none.
fn fields(mut bytes: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let start = bytes;
        let (number, wire_type) = decode_key(&mut bytes).ok()?;
        let length = match wire_type {
            WireType::Varint => {
                decode_varint(&mut bytes).ok()?;
                0
            }
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::LengthDelimited => usize::try_from(decode_varint(&mut bytes).ok()?).ok()?,
            // Groups are no part of proto3.
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        let (content, after) = bytes.split_at_checked(length)?;
        let whole = &start[..start.len() - after.len()];
        fields.push(Field {
            number,
            content: (wire_type == WireType::LengthDelimited).then_some(content),
            whole,
        });
        bytes = after;
    }
    Some(fields)
}

/// The fields of a memo in an order that says nothing; the whole where it is no protobuf.
#[cfg(feature = "testing")]
pub(crate) fn entries(bytes: &[u8]) -> Vec<&[u8]> {
    let mut entries = match fields(bytes) {
        Some(fields) => fields.iter().map(|field| field.whole).collect(),
        None => vec![bytes],
    };
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
