//! The data: one visibility record, two ports, and what can be said of any two stores.
//!
//! A record ([`record::Record`]) is one execution's row or document, in no store's dialect. A store is met through
//! two ports only ([`ports::Read`], [`ports::Write`]); the drivers live elsewhere and do not know each other. Over the
//! ports stand the two jobs of a migration: [`copy`](copy::copy) carries what a target lacks while the cluster goes on
//! writing, and [`compare`](compare::compare) tells, record by record, whether anything is missing, stale, different
//! or extra, and can put it right.
//!
//! Nothing here knows a database, a Temporal client or a workflow; records never leave this crate serialised.

pub mod attribute;
pub mod compare;
#[cfg(feature = "testing")]
pub mod contract;
pub mod copy;
pub mod digest;
pub mod division;
pub mod fit;
pub mod indexing;
pub mod keeps;
pub mod limits;
pub mod memo;
#[cfg(feature = "testing")]
pub mod memory;
pub mod origin;
pub mod pace;
pub mod parallel;
pub mod ports;
pub mod pressure;
pub mod record;
pub mod repair;
pub mod sameness;
pub mod sign;
