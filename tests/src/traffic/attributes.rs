//! What an order carries: custom search attributes of every type, and a memo; a pure function of its number.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use temporalio_common::protos::temporal::api::enums::v1::IndexedValueType;
use temporalio_common::search_attributes::{SearchAttributeKey, SearchAttributeUpdate, Timestamp};

const CUSTOMER_ID: SearchAttributeKey<String> = SearchAttributeKey::keyword("CustomerId");
pub(super) const QUANTITY: SearchAttributeKey<i64> = SearchAttributeKey::int("Quantity");
const PRICE: SearchAttributeKey<f64> = SearchAttributeKey::float("Price");
const PAID: SearchAttributeKey<bool> = SearchAttributeKey::bool("Paid");
const ORDERED_AT: SearchAttributeKey<Timestamp> = SearchAttributeKey::datetime("OrderedAt");
const TAGS: SearchAttributeKey<Vec<String>> = SearchAttributeKey::keyword_list("Tags");
const NOTES: SearchAttributeKey<String> = SearchAttributeKey::text("Notes");

/// Every attribute and its type, to be registered.
pub const ATTRIBUTES: [(&str, IndexedValueType); 7] = [
    ("CustomerId", IndexedValueType::Keyword),
    ("Quantity", IndexedValueType::Int),
    ("Price", IndexedValueType::Double),
    ("Paid", IndexedValueType::Bool),
    ("OrderedAt", IndexedValueType::Datetime),
    ("Tags", IndexedValueType::KeywordList),
    ("Notes", IndexedValueType::Text),
];

/// Search attributes or a memo, by name.
pub type Values = BTreeMap<String, Value>;

/// What order `number` starts with: every ninth with nothing at all, as many workflows do.
///
/// No `:` or `'` in the notes: on PostgreSQL the server cannot write a Text attribute that is not a tsvector literal
/// (1.30.8:schema/postgresql/v12/visibility/schema.sql, `Text01 TSVECTOR`).
pub(super) fn at_start(number: u64) -> Values {
    if number % 9 == 8 {
        return Values::new();
    }
    // Beyond 2^53, where a reader that takes JSON numbers for doubles goes wrong.
    let quantity = if number.is_multiple_of(10) {
        9_007_199_254_740_993 + i64::from(number as u32)
    } else {
        -(number as i64)
    };
    let customer = match number % 4 {
        0 => format!("customer-{number}"),
        1 => format!("Zoë O'Brien \"{number}\""),
        2 => format!("50%_\\{number}\\'; --"),
        _ => format!("顧客-{number}-🛒"),
    };
    values([
        ("CustomerId", json!(customer)),
        ("Quantity", json!(quantity)),
        ("Price", json!(number as f64 * 0.25 + 0.125)),
        ("Paid", json!(false)),
        (
            "OrderedAt",
            json!(format!(
                "2026-03-{:02}T{:02}:00:00.{:06}Z",
                number % 28 + 1,
                number % 24,
                number % 1_000_000
            )),
        ),
        ("Tags", json!(["new", format!("lane-{}", number % 5)])),
        (
            "Notes",
            json!(format!("order number {number} leave it at the door,\nsecond line")),
        ),
    ])
}

/// What order `number` changes when it works, in its `generation`.
pub(super) fn after_work(number: u64, generation: u32) -> Values {
    values([
        ("Paid", json!(true)),
        ("Quantity", json!(number % 1000 + u64::from(generation))),
        (
            "Tags",
            json!(["paid", format!("generation-{generation}"), "näher, \"quoted\""]),
        ),
    ])
}

/// The memo that order `number` starts with. Several keys: a store may keep them in any order.
pub(super) fn memo_at_start(number: u64) -> Values {
    if number % 9 == 8 {
        return Values::new();
    }
    values([
        ("number", json!(number)),
        (
            "origin",
            json!({"shop": format!("shop-{}", number % 3), "channel": ["web", "app"]}),
        ),
        ("comment", json!(format!("Grüße – {number}"))),
        ("binary", json!(vec![number % 256; 8])),
    ])
}

/// What order `number` adds to its memo when it works.
pub(super) fn memo_after_work(number: u64, generation: u32) -> Values {
    values([
        ("step", json!(format!("worked-{generation}"))),
        ("receipt", json!(number * 7)),
    ])
}

fn values<const N: usize>(values: [(&str, Value); N]) -> Values {
    values
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The same values as the SDK wants them.
pub(super) fn updates(values: &Values) -> Result<Vec<SearchAttributeUpdate>> {
    values
        .iter()
        .map(|(name, value)| update(name, value).with_context(|| format!("{name}: {value}")))
        .collect()
}

fn update(name: &str, value: &Value) -> Result<SearchAttributeUpdate> {
    let text = || value.as_str().context("not a string").map(str::to_owned);
    let update = match name {
        "CustomerId" => CUSTOMER_ID.try_value_set(text()?),
        "Notes" => NOTES.try_value_set(text()?),
        "Quantity" => QUANTITY.try_value_set(value.as_i64().context("not an integer")?),
        "Price" => PRICE.try_value_set(value.as_f64().context("not a number")?),
        "Paid" => PAID.try_value_set(value.as_bool().context("not a boolean")?),
        "Tags" => TAGS.try_value_set(serde_json::from_value(value.clone())?),
        "OrderedAt" => {
            let at: jiff::Timestamp = text()?.parse()?;
            ORDERED_AT.try_value_set(Timestamp::new(at.as_second(), at.subsec_nanosecond()))
        }
        _ => bail!("not a search attribute of traffic"),
    };
    Ok(update?)
}
