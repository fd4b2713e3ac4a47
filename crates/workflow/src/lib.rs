//! The durable way: the `VisibilityMigration` workflow.

pub mod names;
