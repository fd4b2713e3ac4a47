//! One store's records in order, the next page read while this one is looked at.

use std::collections::VecDeque;

use futures::future::{BoxFuture, FutureExt};

use crate::ports::{Error, Range, Read};
use crate::record::{Key, Record};

/// A scan. Memory is bounded by two pages.
///
/// A page that is being read may keep its store's only connection for itself, so that nobody else may ask the store
/// anything before it is [`rested`](Self::rest).
pub(super) struct Scan<'a> {
    store: &'a dyn Read,
    range: Range,
    page: usize,
    records: VecDeque<Record>,
    next: Next<'a>,
}

/// The page after the one at hand.
enum Next<'a> {
    Unasked,
    Coming(BoxFuture<'a, Result<Vec<Record>, Error>>),
    Here(Result<Vec<Record>, Error>),
    /// There is none.
    None,
}

impl<'a> Scan<'a> {
    pub(super) fn new(store: &'a dyn Read, range: &Range, page: usize) -> Self {
        Self {
            store,
            range: range.clone(),
            page,
            records: VecDeque::new(),
            next: Next::Unasked,
        }
    }

    /// The key of the next record, `None` when the page at hand is used up; see [`turn`](Self::turn).
    pub(super) fn peek(&self) -> Option<&Key> {
        self.records.front().map(|record| &record.key)
    }

    /// Takes the record that was peeked at.
    pub(super) fn next(&mut self) -> Option<Record> {
        self.records.pop_front()
    }

    /// Whether the page at hand is used up and may have a successor.
    pub(super) fn must_turn(&self) -> bool {
        self.records.is_empty() && !matches!(self.next, Next::None)
    }

    /// Takes up the next page where it is needed, and asks for the one after it. Afterwards there is a record, or there
    /// are no more.
    ///
    /// # Errors
    ///
    /// What the store reports, of this page or one read ahead.
    pub(super) async fn turn(&mut self) -> Result<(), Error> {
        if self.must_turn() {
            self.ask();
            self.rest().await;
            if let Next::Here(page) = std::mem::replace(&mut self.next, Next::Unasked) {
                let page = page?;
                match page.last() {
                    Some(last) => {
                        self.range.after = Some(last.key.clone());
                        self.records = page.into();
                    }
                    None => self.next = Next::None,
                }
            }
            self.ask();
            self.nudge();
        }
        Ok(())
    }

    /// Lets the page that is being read come on, as far as it can without waiting.
    pub(super) fn nudge(&mut self) {
        if let Next::Coming(page) = &mut self.next
            && let Some(page) = page.as_mut().now_or_never()
        {
            self.next = Next::Here(page);
        }
    }

    /// Waits for the page that is being read, so that its store can be asked something else.
    pub(super) async fn rest(&mut self) {
        if let Next::Coming(page) = &mut self.next {
            self.next = Next::Here(page.await);
        }
    }

    fn ask(&mut self) {
        if matches!(self.next, Next::Unasked) {
            let (store, range, limit) = (self.store, self.range.clone(), self.page);
            self.next = Next::Coming(async move { store.scan(&range, limit).await }.boxed());
        }
    }
}
