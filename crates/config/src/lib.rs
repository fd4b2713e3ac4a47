//! The server's files: lossless edits of the static and dynamic configuration.
//!
//! An edit is data ([`StaticEdit`], [`DynamicEdit`]) applied to a text, without any I/O: [`edit_static`] and
//! [`edit_dynamic`] give the whole new text ([`Edited`]) or a [`Refusal`] that names file, line, what was seen and what to
//! do. [`unified_diff`] shows it with the secrets masked. The file layer ([`read`], [`write_if_unchanged`], [`restore`])
//! knows bytes and hashes only.
//!
//! # How an edit stays exact
//!
//! One parser (`outline`, on `yaml-edit`'s lossless tree) says where everything stands, and the text is spliced there:
//! what is not meant is never rendered anew, so comments, order, quoting, anchors and line endings stay by construction.
//! Another parser (`meaning`, on `yaml_serde`) says what a text means, aliases and merge keys applied as the server does.
//! The text after an edit has to mean what the text before did plus the intended keys, or there is no edit.
//!
//! # Layout
//!
//! - reading: `outline` (places), `resolve` (values through aliases and merge keys), `meaning` (the second opinion),
//!   `static_config`, `dynamic_config`, `go_duration`
//! - editing: `static_edit`, `static_draft` and `static_index`, `dynamic_edit`, `render` (new YAML in the file's style), `splice` (changes of
//!   a text), `edited` (the check at the end)
//! - showing: `diff`, `secrets`, `refusal`
//! - files: `file` (compare and swap, restore), `kept` (copy of the original, journal)
//!
//! # Invariants
//!
//! - This crate alone knows YAML; it knows nothing of stages, stores or a running cluster.
//! - No secret is in any error, `Debug` output or diff. It is in texts and values that the caller asks for.
//! - Nothing is written before everything that can be known beforehand is known.

mod diff;
mod dynamic_config;
mod dynamic_edit;
mod edited;
mod file;
mod go_duration;
mod kept;
mod meaning;
mod outline;
mod parts;
mod refusal;
mod render;
mod resolve;
mod secrets;
mod splice;
mod static_config;
mod static_draft;
mod static_edit;
mod static_index;

pub use diff::unified_diff;
pub use dynamic_config::{
    DynamicConfig, READ_FROM_SECONDARY, ReadsFromSecondary, UnknownWritingMode, WRITING_MODE, WritingMode,
};
pub use dynamic_edit::{DynamicEdit, edit_dynamic};
pub use edited::Edited;
pub use file::{
    FileError, FileState, Restored, Written, check_writable, forget, kept_copy, read, rendered_from, restore, sha256,
    write_if_unchanged,
};
pub use kept::{Standing, standing};
pub use refusal::{Reason, Refusal};
pub use secrets::{MASK, is_secret_key, redact};
pub use static_config::{DynamicConfigClient, Located, Service, StaticConfig};
pub use static_edit::{SourceBecomes, StaticEdit, edit_static};
