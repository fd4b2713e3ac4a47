//! The end-to-end tests: one binary, real servers, one module for each story.

mod bad_input;
mod bad_stores;
mod cassandra_to_elasticsearch;
mod clocks;
mod compose;
mod control;
mod crash;
mod dead_letters;
mod encrypted;
mod from_files;
mod gone;
mod guard;
mod judge;
mod kubernetes;
mod namespace_rows;
mod postgres_to_postgres;
mod read_only;
mod retention;
mod rollback;
mod sqlite_to_sqlite;
mod systemd;
mod testbed;
mod traffic;
