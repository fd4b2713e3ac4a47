//! How far a copy is, and how fast.

use serde::{Deserialize, Serialize};

use crate::{order::Copied, slices::Slices};

/// How far the copy is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CopyProgress {
    /// All steps so far, added up. The cursor is that of a copy without slices.
    pub copied: Copied,
    /// The records that the source held when the copy began.
    pub expected: u64,
    /// Its slices.
    #[serde(default, skip_serializing_if = "Slices::is_none")]
    pub slices: Slices,
}

impl CopyProgress {
    /// Adds a step in the slice of that number, or that it was stopped and could not tell what it did.
    pub fn add(&mut self, number: u32, step: Option<&Copied>) {
        self.slices.settle(number, step.map(Copied::step).as_ref());
        self.copied.done = self.slices.is_over();
        let Some(step) = step else { return };
        self.copied.scanned += step.scanned;
        // Executions that start meanwhile are looked at too.
        self.expected = self.expected.max(self.copied.scanned);
        self.copied.written += step.written;
        self.copied.withdrawn += step.withdrawn;
        self.copied.bytes += step.bytes;
        self.copied.millis += step.millis;
    }

    /// Seconds left at the pace so far, with as many slices under way as now; `None` before there is a pace.
    pub fn seconds_left(&self) -> Option<u64> {
        let left = self.expected.saturating_sub(self.copied.scanned);
        let at_once = u64::from(self.slices.under_way().max(1));
        let one_alone = left
            .saturating_mul(self.copied.millis)
            .checked_div(self.copied.scanned)?;
        Some(one_alone / at_once / 1_000)
    }

    /// Records a second at the pace so far, with as many slices under way as now; `None` before there is a pace.
    pub fn pace(&self) -> Option<u64> {
        let at_once = u64::from(self.slices.under_way().max(1));
        let scanned = self.copied.scanned.saturating_mul(1_000).saturating_mul(at_once);
        scanned.checked_div(self.copied.millis)
    }
}
