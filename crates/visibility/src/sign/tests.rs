//! Two records of one sign are the same, and what is the same nearly always has one sign.

use serde_json::{Map, json};

use super::*;
use crate::ports::Precision;
use crate::record::{PROTO3, marker_record};
use crate::sameness::same;
use crate::{keeps::Keeps, memo};

fn record() -> Record {
    let at: jiff::Timestamp = "2024-05-06T07:08:09.123456789Z".parse().unwrap_or_default();
    let mut record = marker_record("n", "w", "r", at);
    record.version = Some(5);
    record.memo = Some(memo::encode(&[("a", "1"), ("b", "2")]));
    record.memo_encoding = PROTO3.to_owned();
    record.search_attributes.insert("Keyword01".to_owned(), json!("x"));
    record
}

fn terms() -> Terms {
    Terms::new(Yardstick::whole(Precision::Microsecond), true, false)
}

/// Whether two records have one sign, which they may have only if they are the same.
fn alike(a: &Record, b: &Record, terms: Terms) -> bool {
    let mut signer = Signer::new(terms);
    let alike = signer.sign_record(a) == signer.sign_record(b);
    assert!(!alike || same(a, b, terms.by), "{a:?} {b:?}");
    alike
}

/// One change to a record.
type Change = fn(&mut Record);

#[test]
fn whatever_differs_changes_the_sign() {
    let changes: [Change; 20] = [
        |r| r.version = Some(6),
        |r| r.key.run_id.push('x'),
        |r| r.workflow_id.push('x'),
        |r| r.workflow_type.push('x'),
        |r| r.status = 3,
        |r| r.start_time += jiff::SignedDuration::from_micros(1),
        |r| r.execution_time += jiff::SignedDuration::from_micros(1),
        |r| r.close_time = None,
        |r| r.history_length = Some(1),
        |r| r.history_size_bytes = None,
        |r| r.execution_duration = Some(1),
        |r| r.state_transition_count = Some(1),
        |r| r.memo = Some(memo::encode(&[("a", "1"), ("b", "3")])),
        |r| r.memo = Some(memo::encode(&[("a", "2"), ("b", "1")])),
        |r| r.task_queue.push('x'),
        |r| r.parent_workflow_id = Some("p".to_owned()),
        |r| r.parent_run_id = Some("p".to_owned()),
        |r| r.root_workflow_id = None,
        |r| {
            r.search_attributes.insert("Keyword02".to_owned(), json!("x"));
        },
        |r| r.search_attributes.clear(),
    ];
    let terms = terms();
    let mut signs = std::collections::BTreeSet::new();
    let mut signer = Signer::new(terms);
    signs.insert(signer.sign_record(&record()));
    for change in changes {
        let mut other = record();
        change(&mut other);
        assert!(!alike(&record(), &other, terms));
        signs.insert(signer.sign_record(&other));
    }
    assert_eq!(signs.len(), changes.len() + 1);
}

#[test]
fn what_means_the_same_has_one_sign() {
    let changes: [Change; 6] = [
        |r| r.memo = Some(memo::encode(&[("b", "2"), ("a", "1")])),
        |r| r.start_time = Precision::Microsecond.truncate(r.start_time),
        |r| r.parent_run_id = Some(String::new()),
        |r| r.task_key = Some("1~2".to_owned()),
        |r| {
            r.search_attributes.insert("Keyword01".to_owned(), json!(["x"]));
        },
        |r| {
            r.search_attributes.insert("Bool01".to_owned(), json!(null));
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut other = record();
        change(&mut other);
        assert!(alike(&record(), &other, terms()), "{number}");
    }
    let by = Yardstick {
        keeps: Keeps::all_but(&[Column::SearchAttributes, Column::Parent]),
        ..Yardstick::whole(Precision::Millisecond)
    };
    let mut other = record();
    other.version = None;
    other.search_attributes.clear();
    other.parent_run_id = Some("p".to_owned());
    other.start_time = Precision::Millisecond.truncate(other.start_time);
    assert!(alike(&record(), &other, Terms::new(by, false, false)));
}

#[test]
fn values_are_signed_by_meaning() {
    let check = |a: Value, b: Value, expected: bool| {
        let with = |attributes: Value| {
            let mut record = record();
            record.search_attributes = attributes.as_object().cloned().unwrap_or_default();
            record
        };
        assert_eq!(alike(&with(a.clone()), &with(b.clone()), terms()), expected, "{a} {b}");
    };
    check(
        json!({"Double01": 1, "Int01": 2}),
        json!({"Int01": 2, "Double01": 1.0}),
        true,
    );
    check(
        json!({"Int01": 9_007_199_254_740_993_i64}),
        json!({"Int01": 9_007_199_254_740_992_i64}),
        false,
    );
    check(json!({"Int01": u64::MAX}), json!({"Int01": -1}), false);
    check(json!({"Double01": 0.1}), json!({"Double01": 0.2}), false);
    check(
        json!({"KeywordList01": ["a", "b"]}),
        json!({"KeywordList01": ["b", "a"]}),
        false,
    );
    check(
        json!({"KeywordList01": ["a", "b"]}),
        json!({"KeywordList01": ["ab"]}),
        false,
    );
    check(json!({"KeywordList01": []}), json!({"KeywordList01": ""}), false);
    check(json!({"KeywordList01": [1]}), json!({"KeywordList01": 1}), false);
    check(json!({"Bool01": true}), json!({"Bool01": "true"}), false);
    check(
        json!({"Keyword01": "x", "Keyword02": "y"}),
        json!({"Keyword01": "y", "Keyword02": "x"}),
        false,
    );
    check(
        json!({"Datetime01": "2024-01-01T01:00:00.5+01:00"}),
        json!({"Datetime01": "2024-01-01T00:00:00.500Z"}),
        true,
    );
    check(
        json!({"Text01": "2024-01-01T00:00:00Z"}),
        json!({"Text01": "2024-01-01T00:00:00.0Z"}),
        false,
    );
    check(
        json!({"Datetime01": ["2024-01-01T00:00:00Z"]}),
        json!({"Datetime01": ["2024-01-01T00:00:00.0Z"]}),
        false,
    );
}

#[test]
fn values_and_their_text_have_one_sum() {
    let attributes = json!({
        "Bool01": true, "Int01": -3, "Double01": 2.5, "Keyword01": "ä\"\n", "KeywordList01": ["a", "b"],
        "Datetime01": "2024-01-01T00:00:00Z", "Odd": {"a": [1, null]}, "Nothing": null,
    });
    let signer = Signer::new(terms());
    let (mut values, mut text) = (signer.attributes(), signer.attributes());
    for (field, value) in attributes.as_object().unwrap_or(&Map::new()) {
        values.take_value(field, value);
    }
    let taken = text.take_json(attributes.to_string().as_bytes());
    assert!(taken.is_ok() && text.sum() == values.sum() && text.sum() != 0);
    for none in ["{}", "null", "{\"Keyword01\": null}"] {
        let mut attributes = signer.attributes();
        assert!(
            attributes.take_json(none.as_bytes()).is_ok() && attributes.sum() == 0,
            "{none}"
        );
    }
    for broken in ["", "[]", "1", "{\"a\"", "{} x"] {
        assert!(signer.attributes().take_json(broken.as_bytes()).is_err(), "{broken}");
    }
}

#[test]
fn memos_that_are_no_usual_ones_go_by_their_bytes() {
    let (a, b) = (memo::encode(&[("a", "1")]), memo::encode(&[("a", "2")]));
    let many: Vec<(String, &str)> = (0..40).map(|number| (number.to_string(), "1")).collect();
    let mut many: Vec<(&str, &str)> = many.iter().map(|(name, json)| (name.as_str(), *json)).collect();
    let straight = memo::encode(&many);
    many.reverse();
    let reversed = memo::encode(&many);
    for (one, other) in [
        ([&a[..], &b].concat(), [&b[..], &a].concat()),
        (straight, reversed),
        (vec![0xff, 1], vec![0xff, 2]),
    ] {
        let sum = |memo: &[u8]| memo::sum(memo, PROTO3.as_bytes(), 7);
        assert_eq!(sum(&one), sum(&one));
        assert_ne!(sum(&one), sum(&other));
    }
    assert_ne!(memo::sum(&a, b"Proto3", 7), memo::sum(&a, b"Json", 7));
    assert_eq!(memo::sum(b"", b"Proto3", 7), memo::sum(b"", b"", 7));
}

#[test]
fn run_ids_are_kept_whole() {
    for run_id in [
        "0b1c2d3e-4f50-4617-8293-a4b5c6d7e8f9",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
    ] {
        let Run::Uuid(run) = Run::of(run_id) else {
            panic!("{run_id} is a UUID")
        };
        assert_eq!(uuid_text(run), run_id);
    }
    for run_id in [
        "",
        "r1",
        "0B1C2D3E-4f50-4617-8293-a4b5c6d7e8f9",
        "0b1c2d3e04f50-4617-8293-a4b5c6d7e8f9",
    ] {
        assert_eq!(Run::of(run_id), Run::Other(run_id.into()));
    }
    let mut page = Page::default();
    for namespace in ["a", "b", "a"] {
        page.push(namespace, "r", 1);
    }
    assert_eq!(page.namespaces, ["a", "b"]);
    assert_eq!(
        page.records.iter().map(|record| record.namespace).collect::<Vec<_>>(),
        [0, 1, 0]
    );
}

#[test]
fn moments_are_rounded_down() {
    let moment = |text: &str| Moment::from(text.parse::<jiff::Timestamp>().unwrap_or_default());
    assert_eq!(moment("1969-12-31T23:59:59.75Z"), Moment::from_microseconds(-250_000));
    assert_eq!(moment("1969-12-31T23:59:59.75Z").seconds, -1);
    assert_eq!(
        moment("2024-05-06T07:08:09.123456Z"),
        Moment::from_microseconds(1_714_979_289_123_456)
    );
    assert_eq!(
        moment("2024-05-06T07:08:09.123456789Z")
            .cut(Precision::Millisecond)
            .nanoseconds,
        123_000_000
    );
}
