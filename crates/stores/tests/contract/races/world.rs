//! Executions that live on in both stores, a few of whose events fall before and after every call of the product.

use std::collections::{BTreeMap, VecDeque};
use std::future::ready;
use std::sync::Mutex;

use async_trait::async_trait;
use crossfade_visibility::digest::{Digests, Question};
use crossfade_visibility::keeps::Keeps;
use crossfade_visibility::ports::{
    Condemned, Count, Error, OpenExecution, Pages, Place, Precision, Range, Read, Rewrite, Write,
};
use crossfade_visibility::record::{Key, Record};
use futures::stream::StreamExt as _;
use jiff::Timestamp;

use super::server::{Event, Row, Server};

/// Numbers that follow from one (Steele, Lea and Flood: Fast splittable pseudorandom number generators, 2014).
pub(crate) struct Seed(u64);

impl Seed {
    pub(crate) fn new(number: u64) -> Self {
        Self(number)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to, and without, `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("small")
    }

    fn version(&mut self) -> i64 {
        i64::try_from(self.below(20) + 1).expect("small") * 2
    }
}

/// A Namespace in two stores, and what is yet to happen to it.
pub(crate) struct World<'a> {
    pub(crate) namespace: String,
    pub(crate) source: &'a Server,
    pub(crate) target: &'a Server,
    /// `true` is an event at the source. Held while one is written, so that they come one after the other.
    events: tokio::sync::Mutex<VecDeque<(bool, Event)>>,
    gusts: Mutex<VecDeque<usize>>,
    fate: Mutex<Fate>,
}

/// When whoever copies is killed.
#[derive(Default)]
struct Fate {
    /// After this many more calls of `put`.
    after_puts: Option<usize>,
    dead: bool,
    was_killed: bool,
}

impl<'a> World<'a> {
    /// What is there at first is written at once; `parallel` lets the target's half of a write come before the source's.
    pub(crate) async fn new(seed: &mut Seed, source: &'a Server, target: &'a Server, parallel: bool) -> Self {
        let namespace = uuid(seed);
        let mut timeline = Vec::new();
        for _ in 0..seed.below(25) + 1 {
            let run = uuid(seed);
            let row = |version| Row {
                namespace: namespace.clone(),
                run: run.clone(),
                version,
            };
            let mut version = seed.version();
            let existing = seed.below(3) > 0;
            if existing {
                source.write(&Event::Upsert(row(version))).await;
                match seed.below(4) {
                    0 => target.write(&Event::Upsert(row(version))).await,
                    1 => target.write(&Event::Upsert(row(version - 1))).await,
                    _ => {}
                }
            }
            // Each store sees the events of one execution in their order.
            let (mut at_source, mut at_target) = (0, 0);
            let events = seed.below(4);
            for number in 0..events {
                version += 2;
                let event = match seed.below(3) {
                    _ if number == 0 && !existing => Event::Start(row(version)),
                    // A run id is never used again.
                    0 if number + 1 == events => Event::Delete(row(version)),
                    _ => Event::Upsert(row(version)),
                };
                let moment = seed.below(100);
                let lag = seed.below(15);
                at_source = moment.max(at_source + 1).max(if parallel { 0 } else { at_target + 1 });
                at_target = match parallel {
                    true => (moment + lag).saturating_sub(7).max(at_target + 1),
                    false => at_source + lag,
                };
                timeline.push((at_source, true, event.clone()));
                timeline.push((at_target, false, event));
            }
        }
        // What was there long before a copy begins, every page of it sees.
        source.refresh().await;
        timeline.sort_by_key(|(moment, at_source, _)| (*moment, !at_source));
        let gusts = (0..seed.below(10) + 1).map(|_| seed.below(4)).collect();
        let after_puts = (seed.below(3) == 0).then(|| seed.below(4));
        Self {
            namespace,
            source,
            target,
            events: tokio::sync::Mutex::new(timeline.into_iter().map(|(_, side, event)| (side, event)).collect()),
            gusts: Mutex::new(gusts),
            fate: Mutex::new(Fate {
                after_puts,
                ..Fate::default()
            }),
        }
    }

    async fn gust(&self) {
        let gust = {
            let mut gusts = self.gusts.lock().expect("no panic");
            gusts.rotate_left(1);
            gusts.back().copied().unwrap_or_default()
        };
        for _ in 0..gust {
            self.one_event().await;
        }
    }

    /// The next event; `false` if there is none. It is over when it was answered: a kill of whoever copies ends the call
    /// that it falls before or after, and a server that would not be heard to the end tries its write again.
    async fn one_event(&self) -> bool {
        let mut events = self.events.lock().await;
        let Some((at_source, event)) = events.front() else {
            return false;
        };
        let server = if *at_source { self.source } else { self.target };
        server.write(event).await;
        events.pop_front();
        true
    }

    /// Lets all that is yet to happen happen.
    pub(crate) async fn drain(&self) {
        while self.one_event().await {}
    }

    /// Lets the next attempt begin after a kill; there is one at most.
    pub(crate) fn revive(&self) {
        let mut fate = self.fate.lock().expect("no panic");
        (fate.dead, fate.after_puts) = (false, None);
    }

    pub(crate) fn was_killed(&self) -> bool {
        self.fate.lock().expect("no panic").was_killed
    }

    fn alive(&self) -> Result<(), Error> {
        match self.fate.lock().expect("no panic").dead {
            true => Err(Error::Unreachable {
                store: "whoever copies".to_owned(),
                reason: "killed".to_owned(),
            }),
            false => Ok(()),
        }
    }

    fn has_put(&self) {
        let mut fate = self.fate.lock().expect("no panic");
        match fate.after_puts {
            Some(0) => (fate.dead, fate.was_killed) = (true, true),
            Some(left) => fate.after_puts = Some(left - 1),
            None => {}
        }
    }
}

fn uuid(seed: &mut Seed) -> String {
    uuid::Builder::from_random_bytes(std::array::from_fn(|_| seed.below(256) as u8))
        .into_uuid()
        .to_string()
}

/// One store of a world, as the product sees it.
pub(crate) struct Port<'a> {
    world: &'a World<'a>,
    server: &'a Server,
}

impl<'a> Port<'a> {
    pub(crate) fn new(world: &'a World<'a>, server: &'a Server) -> Self {
        Self { world, server }
    }

    /// A call, with events before and after it.
    async fn amid<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.world.alive()?;
        self.world.gust().await;
        let answer = call.await;
        self.world.gust().await;
        answer
    }
}

#[async_trait]
impl Read for Port<'_> {
    fn describe(&self) -> String {
        self.server.store.describe()
    }
    fn precision(&self) -> Precision {
        self.server.store.read().precision()
    }
    fn keeps(&self) -> Keeps {
        self.server.store.read().keeps()
    }
    fn versioned(&self) -> bool {
        self.server.store.read().versioned()
    }
    async fn scan(&self, range: &Range, limit: usize) -> Result<Vec<Record>, Error> {
        self.amid(self.server.store.read().scan(range, limit)).await
    }
    async fn in_list_order(&self, namespace_id: Option<&str>, limit: usize) -> Result<Option<Pages<'_>>, Error> {
        self.world.alive()?;
        // Whoever reads in this order asks for each page by itself: the cursor is all that there is between two of them.
        let pages = self.server.read.in_list_order(namespace_id, limit).await?;
        Ok(pages.map(|pages| pages.then(|page| self.amid(ready(page))).boxed()))
    }
    fn place(&self) -> Option<Place> {
        self.server.store.read().place()
    }
    async fn scan_names(&self, range: &Range, limit: usize) -> Result<Vec<Record>, Error> {
        self.amid(self.server.store.read().scan_names(range, limit)).await
    }
    async fn get(&self, keys: &[Key]) -> Result<Vec<Record>, Error> {
        self.amid(self.server.store.read().get(keys)).await
    }
    async fn versions(&self, keys: &[Key]) -> Result<BTreeMap<Key, Option<i64>>, Error> {
        self.amid(self.server.store.read().versions(keys)).await
    }
    async fn versions_of(&self, records: &[Record]) -> Result<BTreeMap<Key, Option<i64>>, Error> {
        self.amid(self.server.store.read().versions_of(records)).await
    }
    async fn gone(&self, records: &[Record]) -> Result<Vec<Key>, Error> {
        self.amid(self.server.store.read().gone(records)).await
    }
    async fn digests(&self, question: Question<'_>) -> Result<Option<Digests>, Error> {
        self.amid(self.server.store.read().digests(question)).await
    }
    async fn count(&self, namespace_id: Option<&str>) -> Result<BTreeMap<String, Count>, Error> {
        self.server.store.read().count(namespace_id).await
    }
    async fn namespaces(&self) -> Result<Vec<String>, Error> {
        self.server.store.read().namespaces().await
    }
    async fn open_started_before(
        &self,
        before: Timestamp,
        range: &Range,
        limit: usize,
    ) -> Result<Vec<OpenExecution>, Error> {
        self.server.store.read().open_started_before(before, range, limit).await
    }
}

#[async_trait]
impl Write for Port<'_> {
    fn describe(&self) -> String {
        self.server.store.describe()
    }
    async fn put(&self, records: &[Record]) -> Result<u64, Error> {
        let written = self.amid(self.server.store.write().put(records)).await;
        self.world.has_put();
        written
    }
    async fn takes_from(&self, place: &Place) -> Result<bool, Error> {
        self.server.store.write().takes_from(place).await
    }
    async fn take(&self, place: &Place, named: &[Record]) -> Result<Option<u64>, Error> {
        let taken = self.amid(self.server.store.write().take(place, named)).await;
        self.world.has_put();
        taken
    }
    async fn rewrite(&self, changes: &[Rewrite]) -> Result<u64, Error> {
        self.amid(self.server.store.write().rewrite(changes)).await
    }
    async fn delete(&self, condemned: &[Condemned]) -> Result<u64, Error> {
        self.amid(self.server.store.write().delete(condemned)).await
    }
}
