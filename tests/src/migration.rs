//! A migration as an operator runs it: workers that are processes of their own, everything said and asked through `tctl`.
//!
//! What the product answers is read as plain JSON, by the names that it publishes.

mod end;
mod files;
mod history;
mod leaks;
mod operator;
mod payloads;
mod program;
mod recording;
mod worker;

pub use end::{End, Failure};
pub use files::Files;
pub use history::{Activity, activities, ordered_at_once, raw_history};
pub use leaks::Planted;
pub use operator::{Operator, awaits, is, stage};
pub use payloads::{payload, signal_with_payloads, start_with_payloads};
pub use program::{crossfade, crossfade_command};
pub use recording::record;
pub use worker::Worker;
