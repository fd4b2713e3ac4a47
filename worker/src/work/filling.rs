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
use tokio::sync::OnceCell;

use super::refreshing::{Refresher, witness_failed};

/// A [`Write`] that fills records in before they are put.
struct Filled<W> {
    inner: W,
    spec: Spec,
    /// Reached when the first record is put: most slices of a copy that is repeated, or of a comparison, put none.
    cluster: OnceCell<Refresher>,
}

/// `write` for records of `source`, filled in where that keeps no search attributes.
pub(crate) fn filled<W: Write + 'static>(write: W, source: &dyn Read, spec: &Spec) -> Arc<dyn Write> {
    if source.keeps().has(Column::SearchAttributes) {
        return Arc::new(write);
    }
    Arc::new(Filled {
        inner: write,
        spec: spec.clone(),
        cluster: OnceCell::new(),
    })
}

impl<W: Write> Filled<W> {
    /// Whoever puts records goes on with them as they were, so that they are filled in in a copy.
    async fn filled(&self, records: &[Record]) -> Result<Vec<Record>, Problem> {
        let connect = || Refresher::new(&self.spec, Refreshables::default(), REFRESHED_A_SECOND);
        let cluster = self.cluster.get_or_try_init(connect).await?;
        let mut filled = records.to_vec();
        cluster.fill_in(&mut filled).await?;
        Ok(filled)
    }
}

#[async_trait]
impl<W: Write> Write for Filled<W> {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn put(&self, records: &[Record]) -> Result<u64, Error> {
        if records.is_empty() {
            return Ok(0);
        }
        let filled = self.filled(records).await;
        let filled = filled.map_err(|problem| witness_failed(&self.spec.cluster.frontend, &problem))?;
        self.inner.put(&filled).await
    }

    async fn rewrite(&self, changes: &[Rewrite]) -> Result<u64, Error> {
        self.inner.rewrite(changes).await
    }

    async fn delete(&self, condemned: &[Condemned]) -> Result<u64, Error> {
        self.inner.delete(condemned).await
    }
}
