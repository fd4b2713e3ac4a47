//! Copying between real stores while a server writes to both, by its own statements, between any two calls of ours, and
//! while whoever copies is killed: nothing is missing or old afterwards, nothing deleted comes back to stay.
//!
//! What happens follows from the seed alone; a failure names it, and `CROSSFADE_TEST_SEED` runs that one again.

mod server;
mod world;

use std::time::Duration;

use crossfade_visibility::compare::{self, compare};
use crossfade_visibility::copy::{self, Step, copy, copy_in_list_order};
use crossfade_visibility::ports::{Range, Target, Write};
use futures::stream::{self, StreamExt};
use serde_json::json;

use crate::clusters::Product;
use crate::fixture::postgres;
use crate::opened;
use server::Server;
use world::{Port, Seed, World};

/// Copies to the end, as a worker does that is stopped and killed on the way and goes on from its last cursor.
async fn copy_all(world: &World<'_>, seed: &mut Seed) {
    let (source, target) = (world.at_source(), world.at_target());
    let target = Target {
        read: &target,
        write: &target,
    };
    let options = copy::Options {
        page: seed.below(6) + 1,
        in_flight: seed.below(4) + 1,
    };
    // A source without such an order is copied by keys.
    let is_listed = seed.below(2) == 0;
    let mut last = copy::Progress::default();
    loop {
        let from = last.clone();
        let stop = seed.below(4) == 0;
        let mut watch = |progress: &copy::Progress| {
            last = progress.clone();
            if stop { Step::Stop } else { Step::Continue }
        };
        let range = world.range();
        let copied = match is_listed {
            true => copy_in_list_order(&source, target, Some(&world.namespace), options, &mut watch).await,
            false => Ok(None),
        };
        let copied = match copied {
            Ok(Some(outcome)) => Ok(outcome),
            Ok(None) => copy(&source, target, &range, from, options, &mut watch).await,
            Err(error) => Err(error),
        };
        match copied {
            Ok(outcome) if outcome.finished => return world.revive(),
            Ok(_) => {}
            Err(error) => {
                assert!(error.is_retryable(), "{error}");
                world.revive();
            }
        }
    }
}

async fn verify(world: &World<'_>, repair: bool) -> compare::Outcome {
    let (source, target) = (world.at_source(), world.at_target());
    let write: Option<&dyn Write> = repair.then_some(&target as &dyn Write);
    let options = compare::Options {
        page: 4,
        pause: Duration::from_millis(1),
        report_every: 5,
        suspects: 3,
        ..compare::Options::default()
    };
    let mut watch = |_: &compare::Progress| Step::Continue;
    let from = compare::Progress::default();
    let compared = compare(&source, &target, write, &world.range(), from, options, &mut watch).await;
    compared.unwrap_or_else(|error| panic!("{error}"))
}

/// One life of a world.
async fn race(number: u64, source: &Server, target: &Server) {
    let mut seed = Seed::new(number);
    // From 1.29 a server writes both stores at once; before, the source first.
    let parallel = seed.below(2) == 0;
    let world = World::new(&mut seed, source, target, parallel).await;
    copy_all(&world, &mut seed).await;
    world.drain().await;
    let (held, wanted) = (target.rows(&world.namespace).await, source.rows(&world.namespace).await);
    for (run, row) in &wanted {
        assert_eq!(held.get(run), Some(row), "seed {number}: {run} after the copy");
    }
    if !parallel && !world.was_killed() {
        assert_eq!(held, wanted, "seed {number}: what was deleted came back");
    }
    verify(&world, true).await;
    assert!(verify(&world, false).await.is_clean(), "seed {number}");
    let (held, wanted) = (target.rows(&world.namespace).await, source.rows(&world.namespace).await);
    assert_eq!(held, wanted, "seed {number}: after the repair");
}

/// Runs that many seeds, a few at a time, or the one that is asked for.
async fn races(seeds: u64, source: Server, target: Server) {
    let only = std::env::var("CROSSFADE_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let numbers = only.map_or(0..seeds, |only| only..only + 1);
    let (source, target) = (&source, &target);
    stream::iter(numbers)
        .for_each_concurrent(4, |number| race(number, source, target))
        .await;
}

#[tokio::test]
async fn from_postgres_to_postgres() {
    let (from, to) = (
        postgres().visibility("race_from", "v1.13"),
        postgres().visibility("race_to", "v1.13"),
    );
    let source = Server::of_postgres(opened(&from).await, "race_from").await;
    let target = Server::of_postgres(opened(&to).await, "race_to").await;
    races(200, source, target).await;
}

#[tokio::test]
async fn from_postgres_to_elasticsearch() {
    let from = postgres().visibility("race_to_documents", "v1.13");
    let node = Product::Elasticsearch.shared().await;
    let to = node.index("race", "v13", json!({})).await;
    let source = Server::of_postgres(opened(&from).await, "race_to_documents").await;
    let target = Server::of_elasticsearch(opened(&to).await, node, &to);
    races(20, source, target).await;
}

/// The cluster moves the records itself.
#[tokio::test]
async fn within_one_elasticsearch() {
    let node = Product::Elasticsearch.shared().await;
    let from = node.index("race_within_from", "v13", json!({})).await;
    let to = node.index("race_within_to", "v13", json!({})).await;
    let (from_store, to_store) = (opened(&from).await, opened(&to).await);
    let place = from_store.read().place().expect("a place");
    assert!(to_store.write().takes_from(&place).await.expect("an answer"));
    let source = Server::of_elasticsearch(from_store, node, &from);
    let target = Server::of_elasticsearch(to_store, node, &to);
    races(20, source, target).await;
}

impl World<'_> {
    fn range(&self) -> Range {
        Range {
            namespace_id: Some(self.namespace.clone()),
            ..Range::default()
        }
    }

    fn at_source(&self) -> Port<'_> {
        Port::new(self, self.source)
    }

    fn at_target(&self) -> Port<'_> {
        Port::new(self, self.target)
    }
}
