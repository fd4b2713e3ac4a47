//! Real servers on demand: their programs found or built, and the processes started from them.

pub mod binaries;
pub mod cache;
mod go;
pub mod ports;
pub mod postgres;
pub mod processes;
pub mod progress;
pub mod temporal;
mod temporal_files;
