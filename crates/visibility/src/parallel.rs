//! Copies several slices at the same time, in one process.

use std::sync::{Mutex, PoisonError};

use futures::FutureExt as _;
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::copy::{Options, Outcome, Progress, Step, Watch, copy};
use crate::ports::{Error, Range, Read, Target};

/// Copies `slices`, `at_once` of them (at least 1) at the same time, each as [`copy`] does and in the order in which they
/// are given. They must not overlap: pages that are under way at once share no key. `watch` is told of all slices
/// together after each page of any; there is no cursor in that, for there are several. When it says to stop, no slice is
/// begun any more, and those under way stop after the pages that they are writing.
///
/// # Errors
///
/// What either store reports of any slice, with the others left where they are; what was done stays done.
pub async fn copy_slices(
    source: &dyn Read,
    target: Target<'_>,
    slices: Vec<Range>,
    at_once: usize,
    options: Options,
    watch: &mut dyn Watch<Progress>,
) -> Result<Outcome, Error> {
    let shared = Mutex::new(Shared {
        all: Progress::default(),
        step: Step::Continue,
        watch,
    });
    let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
    let one = |slice: Range| {
        let mut before = Progress::default();
        let mut pages = move |now: &Progress| lock().add(&mut before, now);
        async move {
            let stopped = lock().step == Step::Stop;
            if stopped {
                return Ok(false);
            }
            let from = Progress {
                cursor: slice.after.clone(),
                ..Progress::default()
            };
            let outcome = copy(source, target, &slice, from, options, &mut pages).await?;
            Ok(outcome.finished)
        }
        .boxed()
    };
    let finished: Vec<bool> = stream::iter(slices.into_iter().map(one))
        .buffer_unordered(at_once.max(1))
        .try_collect()
        .await?;
    let progress = lock().all.clone();
    Ok(Outcome {
        progress,
        finished: finished.into_iter().all(|finished| finished),
    })
}

/// All slices together, and who is told of them.
struct Shared<'a> {
    all: Progress,
    step: Step,
    watch: &'a mut dyn Watch<Progress>,
}

impl Shared<'_> {
    /// Adds what one slice has done since `before`, which becomes `now`.
    fn add(&mut self, before: &mut Progress, now: &Progress) -> Step {
        self.all.scanned += now.scanned - before.scanned;
        self.all.written += now.written - before.written;
        self.all.withdrawn += now.withdrawn - before.withdrawn;
        self.all.bytes += now.bytes - before.bytes;
        before.clone_from(now);
        let step = self.watch.page(&self.all);
        if step == Step::Stop {
            self.step = Step::Stop;
        }
        self.step
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::division;
    use crate::memory::Memory;
    use crate::ports::Write;
    use crate::record::{Record, marker_record};

    /// As many records as asked for, evenly over the run ids of two Namespaces.
    async fn filled(records: u32) -> Memory {
        let store = Memory::versioned("source");
        let all: Vec<Record> = (0..records)
            .map(|number| {
                let run_id = format!("{:08x}-0000-4000-8000-{number:012x}", number.wrapping_mul(0x9e37_79b9));
                marker_record(
                    if number % 3 == 0 { "a" } else { "b" },
                    "w",
                    &run_id,
                    jiff::Timestamp::UNIX_EPOCH,
                )
            })
            .collect();
        store.put(&all).await.expect("a memory takes all");
        store
    }

    async fn slices(store: &Memory, number: u64) -> Vec<Range> {
        let counts = store.count(None).await.expect("counts");
        let records: BTreeMap<String, u64> = counts.into_iter().map(|(id, count)| (id, count.total())).collect();
        division::between(division::cuts(&records, number))
    }

    #[tokio::test]
    async fn several_at_once_carry_what_one_carries() {
        let source = filled(1_000).await;
        for at_once in [1, 3, 100] {
            let copied = Memory::versioned("target");
            let target = Target {
                read: &copied,
                write: &copied,
            };
            let mut seen = Vec::new();
            let mut watch = |progress: &Progress| {
                seen.push(progress.scanned);
                Step::Continue
            };
            let slices = slices(&source, 7).await;
            assert_eq!(slices.len(), 7);
            let outcome = copy_slices(&source, target, slices, at_once, Options::pages_of(20), &mut watch).await;
            let outcome = outcome.expect("copied");
            let Progress {
                scanned,
                written,
                withdrawn,
                bytes,
                ..
            } = outcome.progress;
            assert!(outcome.finished);
            assert_eq!((scanned, written, withdrawn), (1_000, 1_000, 0));
            assert!(bytes > 100 * 1_000, "{bytes}");
            assert!(seen.is_sorted() && seen.last() == Some(&1_000), "{seen:?}");
            let all = |store: &Memory| futures::executor::block_on(store.scan(&Range::default(), 2_000)).expect("all");
            assert_eq!(all(&copied), all(&source));
        }
    }

    #[tokio::test]
    async fn all_stop_when_told_to() {
        let source = filled(1_000).await;
        let copied = Memory::versioned("target");
        let target = Target {
            read: &copied,
            write: &copied,
        };
        let mut watch = |progress: &Progress| match progress.scanned < 100 {
            true => Step::Continue,
            false => Step::Stop,
        };
        let slices = slices(&source, 7).await;
        let outcome = copy_slices(&source, target, slices, 3, Options::pages_of(10), &mut watch).await;
        let outcome = outcome.expect("stopped");
        assert!(!outcome.finished);
        assert!((100..400).contains(&outcome.progress.scanned), "{:?}", outcome.progress);
    }
}
