//! The end-to-end tests: one binary, real servers, one module for each story.

mod crash;
mod judge;
mod postgres_to_postgres;
mod rollback;
mod testbed;
mod traffic;
