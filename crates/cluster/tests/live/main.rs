//! Everything of this crate that a real Temporal server can prove.

mod cache;
mod canaries;
mod compose;
mod elastic;
mod foresee;
mod frontend;
mod index_schema;
mod indices;
mod kubernetes;
mod lock;
mod postgres;
mod records;
mod restart;
mod schema;
mod server;
mod standard;
mod task_latency;
mod tls;
