//! Search attributes: what their field names say of their type, and when two values are the same.

use jiff::Timestamp;
use serde_json::{Map, Value};

/// Predefined lists beside the numbered `KeywordListNN` and `TemporalKeywordListNN`
/// (1.30.8: common/searchattribute/sadefs/constants.go, `predefined`).
const PREDEFINED_LISTS: [&str; 6] = [
    "TemporalChangeVersion",
    "BinaryChecksums",
    "BuildIds",
    "TemporalPauseInfo",
    "TemporalReportedProblems",
    "TemporalUsedWorkerDeploymentVersions",
];

/// Whether a SQL store's field of this name holds a list of keywords.
pub fn is_keyword_list(field: &str) -> bool {
    PREDEFINED_LISTS.contains(&field) || numbered(field, "KeywordList") || numbered(field, "TemporalKeywordList")
}

/// Whether a SQL store's field of this name holds a point in time.
pub fn is_datetime(field: &str) -> bool {
    field == "TemporalScheduledStartTime" || numbered(field, "Datetime") || numbered(field, "TemporalDatetime")
}

/// `prefix` followed by 01 to 99, as the server names its pre-allocated fields (1.30.8: sadefs/constants.go).
fn numbered(field: &str, prefix: &str) -> bool {
    field
        .strip_prefix(prefix)
        .is_some_and(|number| number.len() == 2 && number != "00" && number.bytes().all(|b| b.is_ascii_digit()))
}

/// The fields in which two sets of search attributes differ by value; empty when they are the same.
///
/// A field that is `null` and one that is absent are the same: no store can tell them apart in a query.
pub fn differing<'a>(a: &'a Map<String, Value>, b: &'a Map<String, Value>) -> Vec<&'a str> {
    let mut fields: Vec<&str> = a
        .iter()
        .filter(|(field, value)| !same(field, Some(value), b.get(*field)))
        .map(|(field, _)| field.as_str())
        .collect();
    fields.extend(
        b.iter()
            .filter(|(field, value)| !a.contains_key(*field) && !same(field, None, Some(value)))
            .map(|(field, _)| field.as_str()),
    );
    fields.sort_unstable();
    fields
}

/// Whether a field's two values are the same: numbers by value, times as instants, a list of one as its one element.
fn same(field: &str, a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a.unwrap_or(&Value::Null), b.unwrap_or(&Value::Null)) {
        (Value::Number(a), Value::Number(b)) => same_number(a, b),
        (Value::String(a), Value::String(b)) if a != b && is_datetime(field) => {
            match (a.parse::<Timestamp>(), b.parse::<Timestamp>()) {
                (Ok(a), Ok(b)) => a == b,
                _ => false,
            }
        }
        // Elasticsearch and SQLite keep a list of one as the bare value.
        (Value::Array(list), other @ Value::String(_)) | (other @ Value::String(_), Value::Array(list)) => {
            list.as_slice() == std::slice::from_ref(other)
        }
        // SQLite joins a list into one text, where no element and one empty element look the same.
        (Value::Array(a), Value::Array(b)) => a == b || (is_blank(a) && is_blank(b)),
        (a, b) => a == b,
    }
}

fn is_blank(list: &[Value]) -> bool {
    matches!(list, []) || matches!(list, [Value::String(only)] if only.is_empty())
}

/// Integers exactly; as floating point only where one side is (1 and 1.0 are the same Double).
fn same_number(a: &serde_json::Number, b: &serde_json::Number) -> bool {
    if a.is_f64() || b.is_f64() {
        a.as_f64() == b.as_f64()
    } else {
        a == b
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(a: Value, b: Value, expected: &[&str]) {
        let (Value::Object(a), Value::Object(b)) = (a, b) else {
            panic!("objects expected")
        };
        assert_eq!(differing(&a, &b), expected, "{a:?} against {b:?}");
        assert_eq!(differing(&b, &a), expected, "{b:?} against {a:?}");
    }

    #[test]
    fn values_are_compared_by_meaning() {
        check(json!({}), json!({}), &[]);
        check(json!({"Keyword01": null}), json!({}), &[]);
        check(json!({"Double01": 1}), json!({"Double01": 1.0}), &[]);
        check(
            json!({"Int01": 9007199254740993_i64}),
            json!({"Int01": 9007199254740992_i64}),
            &["Int01"],
        );
        check(json!({"KeywordList01": ["a"]}), json!({"KeywordList01": "a"}), &[]);
        check(
            json!({"KeywordList01": ["a", "b"]}),
            json!({"KeywordList01": ["b", "a"]}),
            &["KeywordList01"],
        );
        check(json!({"KeywordList01": []}), json!({"KeywordList01": [""]}), &[]);
        check(
            json!({"KeywordList01": []}),
            json!({"KeywordList01": ["", ""]}),
            &["KeywordList01"],
        );
        check(
            json!({"Datetime01": "2024-01-01T01:00:00.5+01:00"}),
            json!({"Datetime01": "2024-01-01T00:00:00.500Z"}),
            &[],
        );
        check(
            json!({"Text01": "2024-01-01T00:00:00Z"}),
            json!({"Text01": "2024-01-01T00:00:00.0Z"}),
            &["Text01"],
        );
        check(
            json!({"Keyword01": "a", "Bool01": true}),
            json!({"Keyword02": "a", "Bool01": true}),
            &["Keyword01", "Keyword02"],
        );
        check(json!({"Bool01": true}), json!({"Bool01": "true"}), &["Bool01"]);
    }

    #[test]
    fn field_names_tell_their_type() {
        assert!(
            is_keyword_list("KeywordList99") && is_keyword_list("BuildIds") && is_keyword_list("TemporalKeywordList01")
        );
        assert!(
            !is_keyword_list("Keyword01") && !is_keyword_list("KeywordList00") && !is_keyword_list("KeywordListing")
        );
        assert!(is_datetime("Datetime03") && is_datetime("TemporalScheduledStartTime") && !is_datetime("DatetimeX1"));
    }
}
