//! Real servers on demand: their programs found or built, and the processes started from them.

pub mod balancer;
pub mod binaries;
pub mod cache;
pub mod cassandra;
pub mod codec;
pub mod distance;
pub mod docker;
pub mod elasticsearch;
pub mod faketime;
mod go;
mod java;
pub mod jvm;
pub mod kubernetes;
pub mod mysql;
pub mod node;
pub mod opensearch;
pub mod ports;
pub mod postgres;
pub mod processes;
pub mod progress;
pub mod shared;
pub mod systemd;
pub mod temporal;
mod temporal_files;
mod temporal_ports;
