//! The drivers against real stores: the contract, and what is a driver's own.

mod clusters;
mod comparing;
mod elasticsearch;
mod elasticsearch_ids;
mod elasticsearch_inside;
mod elasticsearch_settings;
mod elasticsearch_trouble;
mod elasticsearch_whole;
mod encrypted;
mod fixture;
mod opening;
mod postgres;
mod postgres_bulk;
mod postgres_digest;
mod postgres_indexes;
mod postgres_listed;
mod pressure;
mod races;
mod renaming;
mod signs;
mod slices;
mod sqlite;
mod standard;

use crossfade_stores::{Store, open};
use serde_json::Value;

async fn opened(entry: &Value) -> Store {
    open(entry).await.unwrap_or_else(|error| panic!("{error}"))
}
