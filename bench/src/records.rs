//! The records that are copied and compared: made from their number alone, so that every run has the same.

use std::collections::BTreeMap;

use crossfade_visibility::record::{COMPLETED, Key, PROTO3, RUNNING, Record};
use jiff::{SignedDuration, Timestamp};
use prost::Message as _;
use serde_json::{Map, Value, json};
use uuid::Builder;

/// The Namespaces, with how many of a hundred records each has: one large, as clusters have it.
const NAMESPACES: [(&str, u64); 4] = [
    ("1c5a3f7e-90b2-4d64-8a11-6f0e2b7c9d01", 70),
    ("5e82b0c4-3d1f-4b9a-9c27-14a6d8f3e502", 20),
    ("93d7f6a8-72c5-4e10-b38d-a9e1c05b4703", 9),
    ("e04b19d2-f8a7-4c36-85fe-3b6d7290ac04", 1),
];

const TYPES: [&str; 8] = [
    "OrderWorkflow",
    "PaymentWorkflow",
    "ShipmentWorkflow",
    "InvoiceWorkflow",
    "NotifyCustomer",
    "ReconcileLedger",
    "OnboardMerchant",
    "RefreshInventory",
];

const REGIONS: [&str; 5] = ["eu-central-1", "eu-west-1", "us-east-1", "us-west-2", "ap-south-1"];

/// The first start: 2026-01-01T00:00:00Z.
const EPOCH_SECONDS: i64 = 1_767_225_600;

/// The search attributes of each record by field and by Elasticsearch's type: every type that there is, eight fields.
pub(crate) const ATTRIBUTES: [(&str, &str); 8] = [
    ("Bool01", "boolean"),
    ("Datetime01", "date_nanos"),
    ("Double01", "scaled_float"),
    ("Int01", "long"),
    ("Keyword01", "keyword"),
    ("Keyword02", "keyword"),
    ("KeywordList01", "keyword"),
    ("Text01", "text"),
];

/// `temporal.api.common.v1.Memo`.
#[derive(Clone, PartialEq, prost::Message)]
struct Memo {
    #[prost(btree_map = "string, message", tag = "1")]
    fields: BTreeMap<String, Payload>,
}

/// `temporal.api.common.v1.Payload`.
#[derive(Clone, PartialEq, prost::Message)]
struct Payload {
    #[prost(btree_map = "string, bytes", tag = "1")]
    metadata: BTreeMap<String, Vec<u8>>,
    #[prost(bytes = "vec", tag = "2")]
    data: Vec<u8>,
}

/// The record of a number. One of twenty is open. Run ids come in no order, start times do, as in a live store.
pub(crate) fn record(number: u64) -> Record {
    let dice = scatter(number);
    let roll = |sides: u64, which: u32| scatter(dice ^ u64::from(which)) % sides;
    let random = (u128::from(scatter(dice)) << 64) | u128::from(dice);
    let run_id = Builder::from_random_bytes(random.to_be_bytes()).into_uuid().to_string();
    let is_open = roll(20, 1) == 0;
    let start = at(number * 3_000_000 + roll(3_000_000, 2));
    let took = 40_000 + roll(1 << (16 + roll(16, 3)), 4);
    let close = start + SignedDuration::from_micros(took.cast_signed());
    let workflow_id = format!("order-{number:010}-{:08x}", roll(1 << 32, 5));
    let events = 5 + roll(200, 6);
    let closed = |value: u64| (!is_open).then(|| value.cast_signed());
    Record {
        key: Key::new(namespace(roll(100, 7)), run_id.as_str()),
        // A task id of the server: they grow, and are never small.
        version: Some((number + 1).cast_signed() << 20),
        workflow_type: TYPES[roll(8, 8) as usize].to_owned(),
        status: if is_open {
            RUNNING
        } else {
            COMPLETED + i32::from(roll(10, 9) == 0)
        },
        start_time: start,
        execution_time: start,
        close_time: (!is_open).then_some(close),
        history_length: closed(events),
        history_size_bytes: closed(events * 210),
        execution_duration: closed(took * 1_000),
        state_transition_count: closed(events / 2),
        memo: Some(memo(number).encode_to_vec()),
        memo_encoding: PROTO3.to_owned(),
        task_queue: format!("orders-{}", REGIONS[roll(5, 10) as usize]),
        search_attributes: attributes(number, dice, start),
        parent_workflow_id: None,
        parent_run_id: None,
        root_workflow_id: Some(workflow_id.clone()),
        root_run_id: Some(run_id),
        task_key: None,
        workflow_id,
    }
}

fn namespace(percent: u64) -> &'static str {
    let mut below = 0;
    let found = NAMESPACES.iter().find(|(_, share)| {
        below += share;
        percent < below
    });
    found.map_or(NAMESPACES[0].0, |(id, _)| id)
}

fn memo(number: u64) -> Memo {
    let json = |value: Value| Payload {
        metadata: BTreeMap::from([("encoding".to_owned(), b"json/plain".to_vec())]),
        data: value.to_string().into_bytes(),
    };
    Memo {
        fields: BTreeMap::from([
            ("ticket".to_owned(), json(json!(format!("SUP-{number}")))),
            (
                "note".to_owned(),
                json(json!({"by": "nightly batch", "priority": number % 5})),
            ),
        ]),
    }
}

fn attributes(number: u64, dice: u64, start: Timestamp) -> Map<String, Value> {
    let due = start + SignedDuration::from_hours(24);
    let values = [
        json!(dice.is_multiple_of(2)),
        json!(due.to_string()),
        json!((dice % 1_000_000) as f64 / 4.0),
        json!(dice % 100_000),
        json!(format!("customer-{}", dice % 5_000)),
        json!(REGIONS[(dice % 5) as usize]),
        json!([format!("shelf-{}", dice % 40), format!("carrier-{}", dice % 7)]),
        json!(format!("order {number} packed and handed over at dock {}", dice % 60)),
    ];
    let named = ATTRIBUTES.iter().zip(values);
    named.map(|((field, _), value)| ((*field).to_owned(), value)).collect()
}

/// A time so many microseconds after the first start.
fn at(microseconds: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH
        + SignedDuration::from_secs(EPOCH_SECONDS)
        + SignedDuration::from_micros(microseconds.cast_signed())
}

/// Splitmix64: neighbours become strangers.
fn scatter(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn records_are_the_same_every_time_and_no_two_have_one_key() {
        let first: Vec<Record> = (0..5_000).map(record).collect();
        assert!(
            first
                .iter()
                .enumerate()
                .all(|(number, seen)| *seen == record(number as u64))
        );
        let keys: BTreeSet<&Key> = first.iter().map(|record| &record.key).collect();
        assert_eq!(keys.len(), first.len());
        let open = first.iter().filter(|record| record.is_open()).count();
        assert!((150..350).contains(&open), "{open} of 5000 are open");
        assert!(first.iter().all(|record| record.search_attributes.len() == 8));
    }
}
