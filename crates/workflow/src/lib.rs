//! The durable way: the `VisibilityMigration` workflow.
//!
//! The workflow decides and waits; activities act. It depends on `temporalio-workflow` and
//! `crossfade-plan` alone, so no client, no driver and no clock can be reached from here.
//!
//! - [`names`]: every name on the wire.
//! - [`activities`]: the activities' contracts; their bodies are in the worker.
//! - [`options`]: every timeout and retry policy, with its reason.
//! - [`migration`]: the workflow: its input, messages, queries, and the walk through the stages.
//! - `stages`: one module a stage; `rollback`: the way back.
//! - `guard`: what runs beside the stages, and what becomes of them when the target fails.
//! - `control`: how an order is given: pauses, the way back and continue-as-new are looked at in between.

pub mod activities;
mod control;
mod failure;
mod guard;
mod input;
pub mod migration;
pub mod names;
pub mod options;
mod rollback;
mod stages;

pub use migration::VisibilityMigration;
