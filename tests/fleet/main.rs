//! Clusters of several hosts: what their clients see of a migration, and what becomes of a host in trouble.

mod trouble;
mod unnoticed;
mod warm;
