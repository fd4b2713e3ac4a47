//! The Cassandra driver against a real node with Temporal's own schema.

mod clogged;
mod fixture;
mod moving;
mod opening;
mod reading;

use std::sync::Arc;

use crossfade_stores::open;
use crossfade_visibility::ports::{Range, Read};
use crossfade_visibility::record::Record;

use crate::fixture::{KEYSPACE, shared};

/// The store of the shared node.
async fn store() -> Arc<dyn Read> {
    let opened = open(&shared().cassandra.datastore(KEYSPACE)).await;
    opened.unwrap_or_else(|error| panic!("{error}")).read()
}

/// A Namespace id that is one test's alone.
fn namespace(n: u32) -> String {
    format!("{n:08x}-aaaa-4000-8000-000000000000")
}

fn within(namespace_id: &str) -> Range {
    Range {
        namespace_id: Some(namespace_id.to_owned()),
        ..Range::default()
    }
}

/// Everything that a scan gives, in pages.
async fn scanned(store: &dyn Read, mut range: Range, limit: usize) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        let page = store
            .scan(&range, limit)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let Some(last) = page.last() else { return records };
        range.after = Some(last.key.clone());
        records.extend(page);
    }
}
