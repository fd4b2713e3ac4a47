//! Search attributes as one number: the sum of a hash of each, taken from JSON without making values of it.

use std::fmt;

use jiff::Timestamp;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use twox_hash::XxHash3_128;

use super::Moment;
use crate::attribute::is_datetime;

/// The search attributes of one record.
#[derive(Debug)]
pub struct Attributes {
    seed: u64,
    sum: u128,
    bytes: Vec<u8>,
}

impl Attributes {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            sum: 0,
            bytes: Vec::new(),
        }
    }

    /// What they come to. 0 where there are none.
    pub fn sum(&self) -> u128 {
        self.sum
    }

    /// None of any, to be used again.
    pub fn clear(&mut self) {
        self.sum = 0;
    }

    /// All of them, as the text that stores of one dialect make of the same ones.
    pub fn take_text(&mut self, text: &[u8]) {
        if !text.is_empty() && text != b"{}" {
            self.sum = XxHash3_128::oneshot_with_seed(self.seed ^ 5, text);
        }
    }

    /// One of them.
    pub fn take_value(&mut self, field: &str, value: &Value) {
        // A value of JSON is never refused: nothing here makes an error of its own.
        let taken: Result<(), serde_json::Error> = self.field(field).deserialize(value);
        debug_assert!(taken.is_ok());
    }

    /// All of them, from a JSON object.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn take_json(&mut self, json: &[u8]) -> Result<(), serde_json::Error> {
        let mut json = serde_json::Deserializer::from_slice(json);
        json.deserialize_any(&mut *self)?;
        json.end()
    }

    /// Takes one of them from whatever is deserialized: its value.
    pub fn field(&mut self, field: &str) -> Attribute<'_> {
        self.bytes.clear();
        self.bytes.extend((field.len() as u64).to_le_bytes());
        self.bytes.extend(field.as_bytes());
        Attribute {
            is_time: is_datetime(field),
            of: self,
        }
    }
}

impl<'de> Visitor<'de> for &mut Attributes {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(is_time) = map.next_key_seed(Name(self))? {
            map.next_value_seed(Attribute { of: self, is_time })?;
        }
        Ok(())
    }
}

/// Takes the name of a field; whether it is one of times.
struct Name<'a>(&'a mut Attributes);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<bool, D::Error> {
        name.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(self.0.field(name).is_time)
    }
}

/// Where the value of one search attribute is taken.
#[derive(Debug)]
pub struct Attribute<'a> {
    of: &'a mut Attributes,
    is_time: bool,
}

impl<'de> DeserializeSeed<'de> for Attribute<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        let meaning = Meaning {
            bytes: &mut self.of.bytes,
            is_time: self.is_time,
        };
        // A field that is null is as one that is not there.
        if value.deserialize_any(meaning)? {
            let hash = XxHash3_128::oneshot_with_seed(self.of.seed ^ 6, &self.of.bytes);
            self.of.sum = self.of.sum.wrapping_add(hash);
        }
        Ok(())
    }
}

/// Writes down what a value means, as [`crate::attribute`] has it; whether it means anything.
struct Meaning<'a> {
    bytes: &'a mut Vec<u8>,
    is_time: bool,
}

/// What comes before the bytes of a value of each kind.
mod kind {
    pub(super) const BOOL: u8 = 1;
    pub(super) const WHOLE: u8 = 2;
    pub(super) const FLOAT: u8 = 3;
    pub(super) const TIME: u8 = 4;
    pub(super) const TEXT: u8 = 5;
    pub(super) const LIST: u8 = 6;
    pub(super) const OBJECT: u8 = 7;
    pub(super) const NULL: u8 = 8;
}

/// Beyond it two whole numbers can be the same number as floating point.
const EXACT: f64 = 9_007_199_254_740_992.0;

impl Meaning<'_> {
    fn whole(self, number: i128) -> bool {
        self.bytes.push(kind::WHOLE);
        self.bytes.extend(number.to_le_bytes());
        true
    }

    fn text(self, text: &str) -> bool {
        self.bytes.push(kind::TEXT);
        self.bytes.extend((text.len() as u64).to_le_bytes());
        self.bytes.extend(text.as_bytes());
        true
    }
}

impl<'de> Visitor<'de> for Meaning<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of JSON")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        self.bytes.push(kind::NULL);
        Ok(false)
    }

    fn visit_bool<E>(self, value: bool) -> Result<bool, E> {
        self.bytes.extend([kind::BOOL, u8::from(value)]);
        Ok(true)
    }

    fn visit_i64<E>(self, value: i64) -> Result<bool, E> {
        Ok(self.whole(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<bool, E> {
        Ok(self.whole(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<bool, E> {
        if value.fract() == 0.0 && value.abs() < EXACT {
            // 1.0 is 1.
            return Ok(self.whole(value as i128));
        }
        self.bytes.push(kind::FLOAT);
        self.bytes.extend(value.to_bits().to_le_bytes());
        Ok(true)
    }

    fn visit_str<E>(self, value: &str) -> Result<bool, E> {
        let time = self.is_time.then(|| value.parse::<Timestamp>().ok()).flatten();
        let Some(at) = time.map(Moment::from) else {
            return Ok(self.text(value));
        };
        self.bytes.push(kind::TIME);
        self.bytes.extend(at.seconds.to_le_bytes());
        self.bytes.extend(at.nanoseconds.to_le_bytes());
        Ok(true)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<bool, A::Error> {
        let begins = self.bytes.len();
        self.bytes.extend([kind::LIST; 9]);
        let mut length: u64 = 0;
        while let Some(()) = list.next_element_seed(Element(self.bytes))? {
            length += 1;
        }
        self.bytes[begins + 1..begins + 9].copy_from_slice(&length.to_le_bytes());
        // A list of one text is as that text.
        if length == 1 && self.bytes[begins + 9] == kind::TEXT {
            self.bytes.drain(begins..begins + 9);
        }
        Ok(true)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        self.bytes.push(kind::OBJECT);
        while map.next_key_seed(Element(self.bytes))?.is_some() {
            map.next_value_seed(Element(self.bytes))?;
        }
        // No text is so long.
        self.bytes.extend(u64::MAX.to_le_bytes());
        Ok(true)
    }
}

/// A value within another: a text there is never a time.
struct Element<'a>(&'a mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        let meaning = Meaning {
            bytes: self.0,
            is_time: false,
        };
        value.deserialize_any(meaning).map(drop)
    }
}
