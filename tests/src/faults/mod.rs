//! Faults on purpose: a seed says which migration meets which faults at which of its points, and the same seed always says
//! the same. Real servers, real traffic; afterwards the judge and the files say whether anything was lost.
//!
//! What an operator may do here is little, and the same in every run: approve the gate that asks, turn back where the
//! schedule says so, start a server again that was killed, say `resume` where the status says that a person is needed
//! and names `resume` as the remedy, and start a migration again that was refused before it changed anything.

mod disk;
mod fault;
mod many;
mod point;
mod promoted;
mod proxy;
mod run;
mod schedule;
mod sites;
mod world;

pub use disk::SmallDisk;
pub use fault::Fault;
pub use many::{Tally, chaos};
pub use point::Point;
pub use proxy::{Proxy, Way};
pub use schedule::{Back, Schedule, Strike};
