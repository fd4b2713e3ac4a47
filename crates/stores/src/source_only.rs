//! A store that can be left and not moved to.

use async_trait::async_trait;
use crossfade_visibility::ports::{Condemned, Error, Rewrite, Write};
use crossfade_visibility::record::Record;

/// Takes the place of the port that a store of an old family does not have, and refuses everything but nothing.
pub(crate) struct SourceOnly {
    /// The store for people.
    pub(crate) name: String,
}

impl SourceOnly {
    fn refuse(&self, nothing: bool) -> Result<u64, Error> {
        if nothing {
            return Ok(0);
        }
        Err(Error::SourceOnly {
            store: self.name.clone(),
        })
    }
}

#[async_trait]
impl Write for SourceOnly {
    fn describe(&self) -> String {
        self.name.clone()
    }

    async fn put(&self, records: &[Record]) -> Result<u64, Error> {
        self.refuse(records.is_empty())
    }

    async fn rewrite(&self, changes: &[Rewrite]) -> Result<u64, Error> {
        self.refuse(changes.is_empty())
    }

    async fn delete(&self, condemned: &[Condemned]) -> Result<u64, Error> {
        self.refuse(condemned.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use crossfade_visibility::record::marker_record;
    use jiff::Timestamp;

    use super::*;

    #[tokio::test]
    async fn refuses_whatever_would_be_written() {
        let store = SourceOnly { name: "old".to_owned() };
        let record = marker_record("n", "w", "r", Timestamp::UNIX_EPOCH);
        let refused = store.put(&[record]).await.expect_err("a refusal");
        assert!(
            !refused.is_retryable() && refused.to_string().contains("old can only be moved away from"),
            "{refused}"
        );
        assert_eq!(store.put(&[]).await.ok(), Some(0));
    }
}
