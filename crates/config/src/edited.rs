//! The outcome of an edit: a text that means exactly what was intended, or nothing.

use std::fmt;
use std::path::Path;

use crate::meaning::{first_difference, meaning};
use crate::outline::Outline;
use crate::refusal::{Reason, Refusal};
use crate::splice::{Change, apply};

/// The whole text of a file after an edit.
///
/// `Debug` does not show the text: it may hold passwords.
#[derive(Clone, PartialEq, Eq)]
pub struct Edited {
    text: String,
    changed: bool,
}

impl Edited {
    /// The file's whole text; the one it had when nothing had to change.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The same as bytes, ready to be written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.text.into_bytes()
    }

    /// Whether the text differs from the one before; `false` when the file already said what was wanted.
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// Applies the changes and accepts the result only when it means `expected`, no more and no less.
    pub(crate) fn checked(
        file: &Path,
        before: &str,
        changes: Vec<Change>,
        expected: &yaml_serde::Value,
    ) -> Result<Self, Refusal> {
        if changes.is_empty() {
            return Ok(Self {
                text: before.to_owned(),
                changed: false,
            });
        }
        let text = apply(before, changes);
        let seen = match meaning(&text) {
            Ok(after) => first_difference(expected, &after),
            Err(fault) => Some(format!("line {} would not be valid YAML", fault.line)),
        };
        // The lossless parser has to be able to read it too, or the next edit and the way back by edit would be refused.
        let seen = seen.or_else(|| {
            Outline::parse(file, text.as_bytes())
                .err()
                .map(|refusal| refusal.reason.to_string())
        });
        match seen {
            Some(seen) => Err(Refusal::new(file, None, Reason::NotExact { seen })),
            None => Ok(Self {
                changed: text != before,
                text,
            }),
        }
    }
}

impl fmt::Debug for Edited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edited")
            .field("bytes", &self.text.len())
            .field("changed", &self.changed)
            .finish()
    }
}
