//! What a migration will do: the pure core of Crossfade.
//!
//! Nothing here waits, reads a clock, opens a file or knows Temporal's client. The types are the wire
//! types: the workflow's input, the activities' inputs and outputs, and every query's answer.
//!
//! ```text
//! preflight -> prepare-target -> dual-write -> existing-records -> verify -> cutover -> promote -> finish
//!     |              |               |                |              |         |          |
//!     +--------------+---------------+----- rollback -+--------------+---------+     no way back
//! ```
//!
//! Read the modules in this order: [`spec`] (what the operator asks), [`stage`] (the way), [`route`] (which
//! way is open), [`existing`] (how old records reach the target), [`indexes`] (what the target does without meanwhile), [`settings`] (what each stage means in the server's own configuration), [`order`] (what
//! activities are told and answer), [`plan`] (what preflight found), [`progress`] (where a migration
//! stands), [`message`] and [`operator`] (what operators may say, and what it does), [`problem`] (what can go wrong and what to do), [`dead_letters`] (what the server gave up on), [`guard`] (what happens when the target takes no writes).

mod attribute_work;
pub mod attributes;
mod copying;
pub mod dead_letters;
pub mod drift;
pub mod estimate;
pub mod existing;
pub mod guard;
pub mod heartbeat;
pub mod indexes;
mod likeness;
pub mod message;
pub mod operator;
pub mod order;
pub mod period;
pub mod plan;
pub mod problem;
pub mod progress;
pub mod report;
pub mod route;
pub mod secret;
pub mod settings;
pub mod slices;
pub mod spec;
pub mod stage;
mod steps;
pub mod throttle;
pub mod warm;
