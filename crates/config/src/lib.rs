//! The server's files: lossless edits of the static and dynamic configuration.

mod diff;
mod dynamic_config;
mod dynamic_edit;
mod edited;
mod file;
mod go_duration;
mod kept;
mod meaning;
mod outline;
mod refusal;
mod render;
mod resolve;
mod secrets;
mod splice;
mod static_config;
mod static_draft;
mod static_edit;

pub use diff::unified_diff;
pub use dynamic_config::{
    DynamicConfig, READ_FROM_SECONDARY, ReadsFromSecondary, UnknownWritingMode, WRITING_MODE, WritingMode,
};
pub use dynamic_edit::{DynamicEdit, edit_dynamic};
pub use edited::Edited;
pub use file::{
    FileError, FileState, Restored, Written, check_writable, forget, kept_copy, read, restore, sha256,
    write_if_unchanged,
};
pub use refusal::{Reason, Refusal};
pub use secrets::{MASK, is_secret_key, redact};
pub use static_config::{DynamicConfigClient, Located, Service, StaticConfig};
pub use static_edit::{SourceBecomes, StaticEdit, edit_static};
