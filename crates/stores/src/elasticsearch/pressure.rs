//! How hard an Elasticsearch works: its nodes' queues for writes, and what they turn away.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use crossfade_visibility::ports::{Error, Read};
use crossfade_visibility::pressure::{Gauge, Level, Load};
use serde_json::Value;

use super::Elasticsearch;
use super::client::Call;
use crate::store::Gauged;

/// Waiting writes per thread that works them off: more is a queue that grows.
const LONG_QUEUE: u64 = 8;

/// The share of a queue's room, in percent, from which the rate goes down: what does not fit is turned away.
const FULL_QUEUE: u64 = 50;

/// One watcher of a cluster: what was rejected is counted since its last look.
struct ElasticsearchGauge {
    store: Arc<Elasticsearch>,
    rejected: Mutex<BTreeMap<String, u64>>,
}

impl Gauged for Elasticsearch {
    fn gauge(self: Arc<Self>) -> Arc<dyn Gauge> {
        Arc::new(ElasticsearchGauge {
            store: self,
            rejected: Mutex::default(),
        })
    }
}

/// One node's queue for writes.
struct Queue {
    node: String,
    threads: u64,
    waiting: u64,
    /// `None` where it has no end.
    room: Option<u64>,
    /// Since the node started.
    rejected: u64,
}

impl Queue {
    /// All numbers come as text.
    fn read(row: &Value) -> Option<Self> {
        let number = |name: &str| row.get(name)?.as_str()?.parse::<i64>().ok();
        let count = |name: &str| number(name).and_then(|count| u64::try_from(count).ok());
        Some(Self {
            node: row.get("node_name")?.as_str()?.to_owned(),
            threads: count("pool_size").or_else(|| count("size")).unwrap_or(1).max(1),
            waiting: count("queue")?,
            room: count("queue_size"),
            rejected: count("rejected")?,
        })
    }

    /// How hard this node works, `rejected_before` being what it had turned away at the last look.
    fn load(&self, rejected_before: Option<u64>) -> Load {
        // A node that was restarted counts from 0 again.
        let rejected = rejected_before.map_or(0, |before| self.rejected.saturating_sub(before));
        let filled = self.room.map_or(0, |room| self.waiting * 100 / room.max(1));
        let level = if rejected > 0 || filled >= FULL_QUEUE {
            Level::Over
        } else if self.waiting > self.threads * LONG_QUEUE {
            Level::Strained
        } else {
            Level::Calm
        };
        let room = self.room.map_or_else(String::new, |room| format!(" of {room}"));
        let seen = format!(
            "node {}: {}{room} writes wait, {rejected} were rejected since the last look",
            self.node, self.waiting
        );
        Load { level, seen }
    }
}

#[async_trait]
impl Gauge for ElasticsearchGauge {
    fn describe(&self) -> String {
        format!("{}: queues for writes", Read::describe(&*self.store))
    }

    async fn look(&self) -> Result<Load, Error> {
        let fields = [
            ("format", "json"),
            ("h", "node_name,pool_size,queue,queue_size,rejected"),
        ];
        let call = Call {
            query: &fields,
            ..Call::get("_cat/thread_pool/write")
        };
        let answer = self.store.cluster.ask(call).await?;
        let queues: Option<Vec<Queue>> = answer
            .as_array()
            .and_then(|rows| rows.iter().map(Queue::read).collect());
        let Some(queues) = queues.filter(|queues| !queues.is_empty()) else {
            return Err(Error::Failed {
                store: Read::describe(&*self.store),
                reason: "it does not tell its queues for writes (_cat/thread_pool/write)".to_owned(),
            });
        };
        let mut rejected = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        let loads = queues.into_iter().map(|queue| {
            let before = rejected.insert(queue.node.clone(), queue.rejected);
            queue.load(before)
        });
        let worst = loads.max_by_key(|load| load.level);
        let mut load = worst.unwrap_or(Load {
            level: Level::Calm,
            seen: String::new(),
        });
        load.seen = format!("{}: {}", Read::describe(&*self.store), load.seen);
        Ok(load)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn load(row: Value, before: Option<u64>) -> Load {
        Queue::read(&row).expect("a row").load(before)
    }

    #[test]
    fn queues_and_rejections_tell_how_hard_a_node_works() {
        let row = |waiting: u64, rejected: u64| {
            json!({
                "node_name": "a", "pool_size": "2", "queue": waiting.to_string(),
                "queue_size": "200", "rejected": rejected.to_string(),
            })
        };
        assert_eq!(
            load(row(16, 900), None).level,
            Level::Calm,
            "what was before us is not ours"
        );
        assert_eq!(load(row(17, 900), Some(900)).level, Level::Strained);
        assert_eq!(load(row(100, 900), Some(900)).level, Level::Over);
        let over = load(row(0, 903), Some(900));
        assert_eq!(over.level, Level::Over);
        assert_eq!(
            over.seen,
            "node a: 0 of 200 writes wait, 3 were rejected since the last look"
        );
        assert_eq!(load(row(0, 0), Some(900)).level, Level::Calm, "restarted");
        let endless = json!({"node_name": "a", "pool_size": "2", "queue": "3", "queue_size": "-1", "rejected": "0"});
        assert_eq!(load(endless, Some(0)).level, Level::Calm);
    }
}
