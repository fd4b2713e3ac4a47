//! The Temporal cluster: what it says of itself, its services, its canaries.
//!
//! Everything that talks to a live cluster, to the services on its hosts and to Temporal's own schema tools:
//!
//! - [`connect`]: how a frontend or a service is reached, and what is refused before a byte is sent.
//! - [`frontend`]: the public API: health, cluster, Namespaces, search attributes, lists, counts, executions.
//! - [`admin`]: the few admin calls that the public API has no word for: members, shards; [`dlq`]: dead letters.
//! - [`attributes`]: custom search attributes, for each store's index and each Namespace, and registering them.
//! - [`listing`]: lists and counts that every Visibility store can answer, standard ones too.
//! - [`mutable_state`]: what the history service holds of an execution, and refreshing its record from there.
//! - [`canary`]: one tiny workflow for each history shard, to prove where writes go.
//! - [`lock`]: one migration for each cluster.
//! - [`host_lock`]: one worker at a host.
//! - [`register`]: custom search attributes, registered for the store that the cluster moves to.
//! - [`restart`]: restart a service once, whatever kills us half way; [`health`] proves that it came back.
//! - [`shards`]: which history host has which shards, and whether they have come to rest.
//! - [`systemd`]: what systemd tells of a unit.
//! - [`compose`]: the containers of a Docker Compose project, by the Docker Engine's own API.
//! - [`kubernetes`]: the ConfigMaps, Secrets and workloads of a Kubernetes cluster, by its own API.
//! - [`task_latency`]: how long the cluster's own visibility tasks take.
//! - [`schema`] and [`index_schema`]: Temporal's own tools on a target store.
//!
//! This crate knows no YAML, no store dialect and no migration plan.
//! Every call is bounded in time, and every call may be made twice.

pub mod admin;
pub mod attributes;
pub mod canary;
pub mod compose;
pub mod connect;
mod described;
pub mod dlq;
mod error;
mod execution;
pub mod frontend;
pub mod health;
pub mod host_lock;
mod incarnation;
pub mod index_schema;
pub mod kubernetes;
pub mod listing;
pub mod lock;
mod marker;
pub mod mutable_state;
mod parked;
mod process;
pub mod register;
pub mod restart;
pub mod schema;
pub mod shards;
mod sql_target;
pub mod systemd;
pub mod task_latency;
mod tool;
mod version;

pub use connect::{ApiKey, ConnectSettings, TlsSettings};
pub use error::{CallError, ConnectError, Error};
pub use execution::{Execution, ExecutionKey, ExecutionStatus, Payload};
pub use frontend::Frontend;
pub use incarnation::Incarnation;
pub use version::Version;
