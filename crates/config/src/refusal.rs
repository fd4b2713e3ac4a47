//! Why a file is left alone: every reason, where it stands, what was seen and what to do about it.

use std::fmt;
use std::path::{Path, PathBuf};

/// A file that cannot be read or edited safely. Nothing was written.
///
/// The message names file and line, says what was seen and what to do, and ends with the lines to add by hand where
/// that is a way out (passwords masked). It never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The file as the caller named it.
    pub file: PathBuf,
    /// The line (from 1) that the reason is about; `None` when it is about the file as a whole.
    pub line: Option<usize>,
    /// What stands in the way.
    pub reason: Box<Reason>,
    /// What a person can change by hand instead, ready to paste; secrets are masked and have to be filled in. `None`
    /// where the change should not be made by hand either, such as a name that is taken.
    pub by_hand: Option<String>,
}

impl Refusal {
    pub(crate) fn new(file: &Path, line: impl Into<Option<usize>>, reason: Reason) -> Self {
        Self {
            file: file.to_path_buf(),
            line: line.into(),
            reason: Box::new(reason),
            by_hand: None,
        }
    }

    /// Adds the lines to write by hand, where writing them is a way out.
    pub(crate) fn with_by_hand(mut self, lines: String) -> Self {
        let way_out = matches!(
            *self.reason,
            Reason::Template { .. } | Reason::SeveralDocuments | Reason::Shared { .. } | Reason::NotExact { .. }
        );
        if way_out {
            self.by_hand.get_or_insert(lines);
        }
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.reason)?;
        if let Some(lines) = &self.by_hand {
            write!(f, "\nTo make this change by hand:\n{}", lines.trim_end())?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.reason.as_ref())
    }
}

/// What stands in the way of reading or editing a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The bytes are not UTF-8.
    #[error("byte {offset} is not UTF-8; save the file as UTF-8 and try again")]
    NotUtf8 {
        /// Offset of the first bad byte, from 0.
        offset: usize,
    },
    /// A line ends with a carriage return alone.
    #[error(
        "this line ends with a carriage return alone; save the file with Unix or Windows line endings and try again"
    )]
    LoneCarriageReturn,
    /// The file is a Go template: what the server reads is rendered from it.
    #[error(
        "this is a Go template ({seen}), so the server reads what is rendered from it, not this file; edit the template, \
         or render it to a plain file ({how}), start the server with that file and name it in `hosts[].config`"
    )]
    Template {
        /// What gave it away.
        seen: String,
        /// How it is rendered.
        how: &'static str,
    },
    /// More than one YAML document; the server reads the first only.
    #[error("a second YAML document starts here and the server reads the first only; keep one document in the file")]
    SeveralDocuments,
    /// One key twice in a mapping.
    #[error("key {key:?} is given twice, first on line {first}; the server refuses such a file: remove one of them")]
    DuplicateKey {
        /// The key.
        key: String,
        /// Line (from 1) of its first mention.
        first: usize,
    },
    /// A tab where YAML wants spaces.
    #[error("this line is indented with a tab, which YAML does not allow; use spaces")]
    Tab,
    /// Not YAML.
    #[error("not valid YAML at column {column}: {message}; correct the file and try again")]
    Unparseable {
        /// Column, from 1.
        column: usize,
        /// The parser's words.
        message: String,
    },
    /// A place that has to hold one kind of value holds another.
    #[error("{key} is {seen}, expected {expected}; correct the file and try again")]
    WrongShape {
        /// Path of the key, dotted.
        key: String,
        /// What stands there.
        seen: String,
        /// What should.
        expected: &'static str,
    },
    /// A key that the edit needs is not in the file.
    #[error("{key} is not in this file; {next}")]
    Missing {
        /// Path of the key, dotted.
        key: String,
        /// What to do.
        next: &'static str,
    },
    /// The place to edit is shared: changing it would change other places too.
    #[error(
        "{key} is shared with other places of the file ({how}), so an edit here would change those as well; \
         write it out in full under {key} and try again"
    )]
    Shared {
        /// Path of the key, dotted.
        key: String,
        /// By which alias, anchor or merge key, with line.
        how: String,
    },
    /// The name of the new datastore already belongs to a different one.
    #[error(
        "datastore {name:?} is already defined here and differs from the one to add; choose another `target.name`, \
         or make the two the same"
    )]
    TargetNameTaken {
        /// The name.
        name: String,
    },
    /// Source and target are one datastore.
    #[error("{name:?} is already the {role}, so it cannot be the target; choose another in `target`")]
    TargetInUse {
        /// The name.
        name: String,
        /// The key that uses it.
        role: &'static str,
    },
    /// A key that the edit is to set or remove holds something that neither we wrote nor we replace.
    #[error("{key} is {seen:?}, expected {expected}; {next}")]
    Unexpected {
        /// Path of the key, dotted.
        key: String,
        /// The value seen.
        seen: String,
        /// The values that would have been fine.
        expected: String,
        /// What to do.
        next: &'static str,
    },
    /// Dual Visibility is already configured in the older way, by a second index.
    #[error(
        "datastore {name:?} already writes to a second index (`indices.secondary_visibility`), and the server takes no \
         secondaryVisibilityStore beside it; finish or undo that migration first"
    )]
    SecondaryIndex {
        /// The datastore.
        name: String,
    },
    /// A store without search attributes has an Elasticsearch beside it in the older way: by
    /// `persistence.advancedVisibilityStore`.
    #[error(
        "advancedVisibilityStore {name:?} stands beside a visibilityStore without search attributes: servers up to 1.24 \
         then write and read {name:?} alone, unless the dynamic config says otherwise \
         (system.advancedVisibilityWritingMode, system.enableReadVisibilityFromES), and take no secondaryVisibilityStore. If \
         neither key is set, the move to it is done already: make {name:?} the visibilityStore, remove \
         advancedVisibilityStore and restart; else finish that migration first"
    )]
    AlreadyAdvanced {
        /// The Elasticsearch datastore.
        name: String,
    },
    /// `persistence.advancedVisibilityStore` without `visibilityStore`: the older name of the primary.
    #[error(
        "advancedVisibilityStore {name:?} is the only Visibility store, and no visibilityStore is set: servers up to 1.24 take \
         it for the primary; write `visibilityStore: {name}` in its place, restart and try again"
    )]
    AdvancedAlone {
        /// The Elasticsearch datastore.
        name: String,
    },
    /// `persistence.advancedVisibilityStore` beside a store of another family.
    #[error(
        "advancedVisibilityStore is {name:?}: servers up to 1.24 do not start with it beside this visibilityStore, later ones \
         ignore it; remove the key, restart and try again"
    )]
    AdvancedStore {
        /// The datastore.
        name: String,
    },
    /// The datastore has no Elasticsearch section with `indices.visibility`, so it has no second index either.
    #[error(
        "datastore {name:?} is no Elasticsearch store with `indices.visibility`, so it takes no second index; use a \
         secondaryVisibilityStore"
    )]
    NoIndices {
        /// The datastore.
        name: String,
    },
    /// The datastore to remove is still in use.
    #[error("datastore {name:?} cannot be removed: {role} still uses it; keep the source datastore")]
    DatastoreInUse {
        /// The datastore.
        name: String,
        /// The key that uses it.
        role: &'static str,
    },
    /// The server reads no dynamic config, so nothing can be switched while it runs.
    #[error(
        "dynamicConfigClient is not set, so the server reads no dynamic config and nothing can be switched while it \
         runs; add dynamicConfigClient with filepath and pollInterval (10s, at least 5s) and restart the server"
    )]
    NoDynamicConfigClient,
    /// The server would not start with this poll interval.
    #[error(
        "dynamicConfigClient.pollInterval is {seen}, expected a duration of at least 5s such as \"10s\"; the server does \
         not start with it: correct it and restart the server"
    )]
    PollInterval {
        /// The value as written.
        seen: String,
    },
    /// The server rejects the whole dynamic config file because of this place, and keeps its old values.
    #[error(
        "{key} {fault}; the server rejects the whole file because of it and keeps its old values, so no edit would take \
         effect: correct it first"
    )]
    ServerRejects {
        /// The dynamic config key.
        key: String,
        /// What is wrong with it.
        fault: String,
    },
    /// One dynamic config key in two spellings.
    #[error(
        "{second} is the same dynamic config key as {first} on line {first_line} (letter case does not count), and the \
         server takes either at random; remove one of them"
    )]
    SameKeyTwice {
        /// The first spelling.
        first: String,
        /// Its line, from 1.
        first_line: usize,
        /// The second spelling.
        second: String,
    },
    /// Two parsers read a value differently, so nobody can say what the server reads.
    #[error(
        "{key} is read differently by two YAML parsers; write it in plainer YAML (on one line, in quotes) and try again"
    )]
    Ambiguous {
        /// Path of the key, dotted.
        key: String,
    },
    /// The edited text would not mean what was intended.
    #[error(
        "the edit would not mean exactly the file as it is plus the intended keys ({seen}), so it was not made; \
         make the change by hand"
    )]
    NotExact {
        /// How it would differ; keys only, never values.
        seen: String,
    },
}
