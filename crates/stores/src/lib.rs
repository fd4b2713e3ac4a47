//! The drivers: each visibility store's dialect and nothing else.
//!
//! [`open`] takes the server's own datastore entry and gives both ports of [`crossfade_visibility`]; [`inspect`] gives
//! what a preflight wants to know, of a store whose schema may still be absent. No driver knows another, and none knows
//! what is done over the ports. Statements are files, under `sql/`.

mod cassandra;
mod columns;
mod elasticsearch;
mod entry;
mod error;
mod facts;
mod mapping;
mod mysql;
mod postgres;
mod schema;
mod source_only;
mod sqlite;
mod store;
mod tls_section;
mod verifier;

pub use crate::entry::{SUPPORTED_PLUGINS, plugin_name};
pub use crate::error::OpenError;
pub use crate::facts::{Facts, SchemaFault, SchemaState};
pub use crate::mapping::Mapping;
pub use crate::schema::{ExpectedSchema, Family, SchemaVersion, expected_schema};
pub use crate::store::{AttributeFields, Reuse, Store, inspect, limits, map_fields, open, rename_attributes};
