//! What a store can hold of a record's values, as its driver describes it.

use jiff::Timestamp;

use crate::ports::Precision;

/// The limits of one store. A value beyond one of them is refused by the store, or cut by the server on its way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// The finest step of time.
    pub precision: Precision,
    /// The earliest and the latest time of a search attribute.
    pub times: (Timestamp, Timestamp),
    /// The longest Workflow Id, Workflow Type, Task Queue and parent's or root's Workflow Id.
    pub name: Length,
    /// The longest value of a Keyword, and of each value of a KeywordList.
    pub keyword: Length,
    /// Which texts a Text attribute can have.
    pub text: Text,
    /// Whether texts may contain the character NUL (U+0000).
    pub nul: bool,
    /// Whether an attribute that is no KeywordList may have several values at once, as Elasticsearch allows.
    pub lists: bool,
    /// Doubles are held below this absolute value; `None` for all of them.
    pub double_below: Option<f64>,
    /// The longest record as JSON, in bytes; `None` where there is no such limit.
    pub document: Option<u64>,
}

/// How long a text may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// As long as it likes.
    Any,
    /// This many characters (Unicode scalar values).
    Characters(usize),
    /// This many bytes of UTF-8.
    Bytes(usize),
}

impl Length {
    /// Whether `text` is not too long.
    pub fn holds(self, text: &str) -> bool {
        match self {
            Self::Any => true,
            // A text has at most as many characters as bytes, and counting them is slower.
            Self::Characters(limit) => text.len() <= limit || text.chars().count() <= limit,
            Self::Bytes(limit) => text.len() <= limit,
        }
    }
}

/// Which texts a store takes for a Text attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// Any up to a length.
    Of(Length),
    /// What reads as a `tsvector` literal: PostgreSQL casts a Text to it as it is, so that a quote, a colon or a
    /// backslash makes the server's own write fail (1.30.8: schema/postgresql/v12/visibility/schema.sql, `Text01`).
    Tsvector,
}

impl Text {
    /// Whether `text` is sure to be taken. Of texts with a quote, a colon or a backslash some would be.
    pub fn holds(self, text: &str) -> bool {
        match self {
            Self::Of(length) => length.holds(text),
            Self::Tsvector => !text.contains(['\'', ':', '\\']) && text.split(' ').all(|word| word.len() < 2047),
        }
    }
}

/// The times that Elasticsearch's `date_nanos` reaches, which the server enforces there
/// (1.30.8: common/persistence/visibility/store/elasticsearch/visibility_store.go, `validateDatetime`).
pub fn times_in_nanoseconds() -> (Timestamp, Timestamp) {
    let latest = Timestamp::from_nanosecond(i128::from(i64::MAX)).unwrap_or(Timestamp::MAX);
    (Timestamp::UNIX_EPOCH, latest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_counted_in_their_own_unit() {
        let text = "ü".repeat(255);
        assert!(Length::Characters(255).holds(&text) && !Length::Characters(254).holds(&text));
        assert!(!Length::Bytes(255).holds(&text) && Length::Bytes(510).holds(&text));
        assert!(Length::Any.holds(&text));
    }

    #[test]
    fn a_text_that_is_no_tsvector_is_not_sure_to_be_taken() {
        assert!(Text::Tsvector.holds("some plain words"));
        for text in ["it's", "a:b", "back\\slash"] {
            assert!(!Text::Tsvector.holds(text) && Text::Of(Length::Any).holds(text));
        }
    }
}
