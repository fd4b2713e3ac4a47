//! Everything of this crate that a real Temporal server can prove.

mod canaries;
mod frontend;
mod lock;
mod restart;
mod server;
