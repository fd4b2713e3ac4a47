//! The work behind the activities: each function does one order's job with the libraries and says what came of it.

mod alone;
pub(crate) mod attributes;
pub(crate) mod beat;
pub(crate) mod clock;
pub(crate) mod comparing;
pub(crate) mod config_files;
mod containers;
pub(crate) mod copying;
mod cursor;
mod filling;
pub(crate) mod finishing;
mod fitting;
pub(crate) mod frontend;
pub(crate) mod guarding;
pub(crate) mod healthy;
pub(crate) mod host_files;
pub(crate) mod hosts;
pub(crate) mod indexing;
mod keeping;
pub(crate) mod kept_orders;
mod planned_edits;
mod pods;
pub(crate) mod preflight;
pub(crate) mod problems;
pub(crate) mod reads;
pub(crate) mod refreshing;
mod secrets;
pub(crate) mod stores;
pub(crate) mod target;
mod throttling;
pub(crate) mod told;
mod units;
pub(crate) mod waiting;
pub(crate) mod writes;

#[cfg(test)]
mod tests;
