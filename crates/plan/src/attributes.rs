//! The custom search attributes that the server has registered, and what changed since they were last looked at.
//!
//! Each store decodes them with a list of its own (common/searchattribute/encode.go). One that is added, removed or given
//! another type while records are carried over would be dropped or refused by one store alone, so every stage that
//! depends on them looks again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::problem::{Code, Problem};

/// The most attributes that are named; with more of them their number still counts.
const NAMED: usize = 200;

/// The custom search attributes registered for the store that the cluster reads.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attributes {
    /// Type by name (`Keyword`), or, where each Namespace has its own names, column by `NAMESPACE/NAME` (`Keyword01`).
    pub registered: BTreeMap<String, String>,
    /// How many there are beside those named.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: u64,
}

const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Attributes {
    /// These attributes, of which the first are named.
    pub fn new(all: BTreeMap<String, String>) -> Self {
        let more = all.len().saturating_sub(NAMED) as u64;
        Self {
            registered: all.into_iter().take(NAMED).collect(),
            more,
        }
    }

    /// What is not any more as it was `before`, in words: removed, or of another type. What was added is no change here:
    /// it is fine as soon as the target has it as well, which is asked separately.
    pub fn changes_since(&self, before: &Self) -> Vec<String> {
        let mut changes: Vec<String> = before
            .registered
            .iter()
            .filter_map(|(name, kind)| match self.registered.get(name) {
                Some(now) if now == kind => None,
                Some(now) => Some(format!("`{name}` was {kind} and is {now}")),
                // With more than can be named, new ones may have pushed this one off the list.
                None if self.more > 0 => None,
                None => Some(format!("`{name}` ({kind}) was removed")),
            })
            .collect();
        let (was, is) = (before.count(), self.count());
        if changes.is_empty() && is < was {
            changes.push(format!("there were {was} and there are {is}"));
        }
        changes
    }

    fn count(&self) -> u64 {
        self.registered.len() as u64 + self.more
    }

    /// The problem of a change, if there is one.
    pub fn changed_since(&self, before: &Self) -> Option<Problem> {
        let changes = self.changes_since(before);
        (!changes.is_empty()).then(|| {
            Problem::new(
                Code::SearchAttributes,
                format!(
                    "custom search attributes changed during the migration: {}",
                    changes.join("; ")
                ),
            )
            .at("cluster.frontend")
            .remedy(
                "register them again as they were (`temporal operator search-attribute create`, on old clusters `tctl admin \
                 cluster add-search-attributes`), then `resume`; remove or change them after the migration",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(all: &[(&str, &str)]) -> Attributes {
        Attributes::new(
            all.iter()
                .map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn what_is_gone_or_of_another_type_is_a_change_and_what_is_new_is_none() {
        let before = attributes(&[("City", "Keyword"), ("Paid", "Bool")]);
        assert_eq!(before.changed_since(&before), None);
        let more = attributes(&[("City", "Keyword"), ("Paid", "Bool"), ("Score", "Double")]);
        assert_eq!(more.changed_since(&before), None);
        let other = attributes(&[("City", "Text")]);
        let problem = other.changed_since(&before).expect("a change");
        assert_eq!(
            problem.message,
            "custom search attributes changed during the migration: `City` was Keyword and is Text; `Paid` (Bool) was removed"
        );
    }

    #[test]
    fn more_than_can_be_named_still_count() {
        let many =
            |count: usize| Attributes::new((0..count).map(|n| (format!("A{n:04}"), "Keyword".to_owned())).collect());
        assert_eq!((many(250).registered.len(), many(250).more), (200, 50));
        assert_eq!(many(251).changed_since(&many(250)), None);
        assert_eq!(
            many(249).changes_since(&many(250)),
            ["there were 250 and there are 249"]
        );
    }
}
