//! Filling in what the source of a copied record never held, from the cluster's own state: search attributes, the parent.
//!
//! Reading an execution's mutable state changes nothing, so this is done where a refresh would do harm, too. Where the
//! state is gone, or was cleaned up after the close, nobody has them any more, and the record goes without.

use std::sync::Arc;

use async_trait::async_trait;
use crossfade_plan::{
    existing::{REFRESHED_A_SECOND, Refreshables},
    problem::Problem,
    spec::Spec,
};
use crossfade_visibility::{
    keeps::Column,
    ports::{Condemned, Error, Read, Rewrite, Write},
    record::Record,
};

use super::refreshing::{Refresher, witness_failed};

/// A [`Write`] that fills records in before they are put.
struct Filled<W> {
    inner: W,
    cluster: Refresher,
}

/// `write` for records of `source`, filled in where that keeps no search attributes.
pub(crate) async fn filled<W: Write + 'static>(
    write: W,
    source: &dyn Read,
    spec: &Spec,
) -> Result<Arc<dyn Write>, Problem> {
    if source.keeps().has(Column::SearchAttributes) {
        return Ok(Arc::new(write));
    }
    Ok(Arc::new(Filled {
        inner: write,
        cluster: Refresher::new(spec, Refreshables::default(), REFRESHED_A_SECOND).await?,
    }))
}

#[async_trait]
impl<W: Write> Write for Filled<W> {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn put(&self, records: &[Record]) -> Result<u64, Error> {
        let filled = self.cluster.filled(records).await;
        let filled = filled.map_err(|problem| witness_failed(&self.cluster, &problem))?;
        self.inner.put(&filled).await
    }

    async fn rewrite(&self, changes: &[Rewrite]) -> Result<u64, Error> {
        self.inner.rewrite(changes).await
    }

    async fn delete(&self, condemned: &[Condemned]) -> Result<u64, Error> {
        self.inner.delete(condemned).await
    }
}
