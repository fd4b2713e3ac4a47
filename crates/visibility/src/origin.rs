//! The cluster as a third witness beside two stores.

use std::collections::BTreeSet;

use async_trait::async_trait;

use crate::ports::Error;
use crate::record::{Key, Record};

/// Where records come from: the cluster itself, which may know of an execution what a store does not.
///
/// A store that lets its records expire by itself loses some before the cluster does, and one that keeps less than a whole
/// record cannot give back what another lacks. The cluster can.
#[async_trait]
pub trait Origin: Send + Sync {
    /// Those of `records` whose executions exist. A record that the source has lost and whose execution exists is rightly
    /// at the target.
    async fn existing(&self, records: &[Record]) -> Result<BTreeSet<Key>, Error>;

    /// Has those of `records` that can be written anew, and waits until they are. What is not written then is put right
    /// from the source, like every other.
    async fn restore(&self, records: &[Record]) -> Result<(), Error>;
}
