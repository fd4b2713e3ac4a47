//! What a store does for its readers at every write, set aside while it is filled and brought back afterwards.
//!
//! A copy into a table with all of its indexes spends nearly all of its time on them, and leaves them larger than they
//! need be. Where the store can build an index over what is there, a target that nobody reads is filled without. Where
//! it is settings that have it work for readers (how often what was written is made visible, how many copies are kept
//! of it), those are set aside in the same way.
//!
//! # Whatever happens, they come back
//!
//! What was set aside is written down twice before anything is gone: in the store itself, in the same step, and by the
//! caller, who is given it ([`Parked`]). [`Indexing::restore`] builds what either of the two names and the store lacks.
//! It may be ended at any moment and called again, by anyone, and by several at once: one builds, the others wait.

use async_trait::async_trait;

use crate::copy::Watch;
use crate::ports::Error;

/// What a store that can build indexes later offers.
#[async_trait]
pub trait Indexing: Send + Sync {
    /// Counts what could be set aside and what is; changes nothing.
    async fn survey(&self) -> Result<Survey, Error>;

    /// Sets aside every index that only serves reading, all in one step: never the primary key, nor one that keeps
    /// records unique or that says more than its definition. Gives everything that is set aside, also by an earlier call
    /// that was never heard of again. Only for a store that nobody reads.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] where the role does not own the table: then nothing was done. [`Error::Busy`] while they are
    /// being restored, or while a lock cannot be had.
    async fn park(&self) -> Result<Parked, Error>;

    /// Builds what is set aside, by `parked` or by what the store itself has written down, and is not there. Others may
    /// read and write meanwhile; a write waits for [`Pace::longest_block`] at most. `watch` is told several times a
    /// minute, and may stop it: what is under way then is finished by the store, and counted by the next call.
    ///
    /// # Errors
    ///
    /// What the store reports; what was built stays built.
    async fn restore(&self, parked: &Parked, pace: Pace, watch: &mut dyn Watch<Rebuilding>) -> Result<Rebuilt, Error>;
}

/// How many indexes (or settings) there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Those that could be set aside.
    pub present: u64,
    /// Those that are set aside and not built again.
    pub parked: u64,
    /// Why [`Indexing::park`] would be refused, where that is known without trying, in words: this role may not.
    pub refusal: Option<String>,
}

/// What is set aside: all that is needed to have it again exactly as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parked {
    /// Indexes that were dropped, in the order of their names.
    pub indexes: Vec<Definition>,
    /// Settings that were changed, in the order of their names.
    pub settings: Vec<Setting>,
}

impl Parked {
    /// How many things are set aside.
    pub fn count(&self) -> u64 {
        (self.indexes.len() + self.settings.len()) as u64
    }

    /// Whether indexes will be built over the records as they then lie, so that it matters in which order they were put.
    pub fn sorts_later(&self) -> bool {
        !self.indexes.is_empty()
    }
}

/// A setting of the store as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name, which is the store's own.
    pub name: String,
    /// Its value in the store's words; `None` where it was not set, and the store's default held.
    pub value: Option<String>,
}

/// One index. In the store's own dialect; holds nothing of any record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its name, which is the store's own.
    pub name: String,
    /// The statement that creates it.
    pub statement: String,
    /// Where its files are; `None` is where the database's are.
    pub tablespace: Option<String>,
}

/// How indexes are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How many at the same time (at least 1).
    pub sessions: usize,
    /// How long a write may have to wait for one, at most: the quick way keeps writes out while one index is built. What
    /// takes longer is built the slow way, which keeps nobody out.
    pub longest_block: std::time::Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            sessions: 2,
            longest_block: std::time::Duration::from_secs(5),
        }
    }
}

/// Where a rebuild stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rebuilding {
    /// How many indexes were set aside.
    pub total: u64,
    /// How many of them are there again.
    pub built: u64,
    /// What is under way.
    pub under_way: Vec<Building>,
    /// What is waited for before any can be built.
    pub waiting_for: Option<String>,
}

/// An index that is being built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Building {
    /// Its name.
    pub name: String,
    /// What the store does for it now, in the store's words.
    pub phase: String,
    /// How much of that phase is done, 0 to 100, where the store says.
    pub percent: Option<u8>,
}

/// How a rebuild ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// How many indexes this call built.
    pub built: u64,
    /// Of those, how many the slow way.
    pub slowly: u64,
    /// Whether nothing is set aside any more (and it was not only stopped).
    pub finished: bool,
}
