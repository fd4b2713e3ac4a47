//! Which parts of a record a store keeps at all.
//!
//! Families differ: a Cassandra table has no search attributes, an old SQL schema no parents. What a store does not keep
//! it cannot be wrong about, and must not be asked to bring back.

/// A part of a record that some family of stores does not keep. Everything else is kept by all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Column {
    /// When the first task was or will be scheduled.
    ExecutionTime,
    /// Events in the history.
    HistoryLength,
    /// Bytes of the history.
    HistorySizeBytes,
    /// Close time minus execution time.
    ExecutionDuration,
    /// State transitions.
    StateTransitionCount,
    /// The Task Queue's name.
    TaskQueue,
    /// Search attributes, predefined and custom.
    SearchAttributes,
    /// The parent's Workflow Id and run id.
    Parent,
    /// The root's Workflow Id and run id.
    Root,
}

impl Column {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::ExecutionTime,
        Self::HistoryLength,
        Self::HistorySizeBytes,
        Self::ExecutionDuration,
        Self::StateTransitionCount,
        Self::TaskQueue,
        Self::SearchAttributes,
        Self::Parent,
        Self::Root,
    ];

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// A set of [`Column`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeps(u16);

impl Keeps {
    /// Every column.
    pub const EVERYTHING: Self = Self((1 << Column::ALL.len()) - 1);

    /// Every column but these.
    #[must_use]
    pub fn all_but(columns: &[Column]) -> Self {
        Self(
            columns
                .iter()
                .fold(Self::EVERYTHING.0, |kept, column| kept & !column.bit()),
        )
    }

    /// Whether `column` is kept.
    pub fn has(self, column: Column) -> bool {
        self.0 & column.bit() != 0
    }

    /// What both keep.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_what_they_say() {
        for column in Column::ALL {
            assert!(Keeps::EVERYTHING.has(column));
            let others = Keeps::all_but(&[column]);
            assert!(!others.has(column));
            assert_eq!(Column::ALL.into_iter().filter(|other| others.has(*other)).count(), 8);
            assert_eq!(others.and(Keeps::EVERYTHING), others);
        }
        let (a, b) = (Keeps::all_but(&[Column::Root]), Keeps::all_but(&[Column::Parent]));
        assert_eq!(a.and(b), Keeps::all_but(&[Column::Parent, Column::Root]));
    }
}
