//! Why search attributes could not be registered.

use std::time::Duration;

use temporalio_common::protos::temporal::api::enums::v1::IndexedValueType;

use crate::attributes::Lack;
use crate::error::CallError;

/// Attributes that could not be registered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// A call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The cluster does not know the index yet.
    #[error(
        "the frontend that answers was not started with the store of index {index:?}; attributes can be registered for \
         it once a host has it as its secondaryVisibilityStore"
    )]
    NotConfigured {
        /// The index.
        index: String,
    },
    /// A name has different types in different Namespaces, and the target has one type for each name.
    #[error(
        "search attribute {name} has the type {one:?} in one Namespace and {other:?} in another; index {index:?} can \
         hold it by one type only: rename it in one of them"
    )]
    TwoTypes {
        /// The target's index.
        index: String,
        /// The name.
        name: String,
        /// One type.
        one: IndexedValueType,
        /// Another.
        other: IndexedValueType,
    },
    /// The target has too few columns.
    #[error(
        "Namespace {namespace} needs {wanted} columns of type {kind:?} and index {index:?} has {columns}; remove \
         attributes that are not used, or leave this Namespace out"
    )]
    Columns {
        /// The target's index.
        index: String,
        /// The Namespace's name.
        namespace: String,
        /// The type.
        kind: IndexedValueType,
        /// How many are needed, with those that are taken already.
        wanted: usize,
        /// How many there are.
        columns: usize,
    },
    /// Names are taken by attributes of other types. No API changes a type.
    #[error("{} has attributes of the source by the same names with other types: {}", place(index, namespace.as_deref()), list(lacks))]
    OtherTypes {
        /// The target's index.
        index: String,
        /// The Namespace that names columns so, by its name; `None` for the index itself.
        namespace: Option<String>,
        /// Which.
        lacks: Vec<Lack>,
    },
    /// They are not registered, although every call was answered.
    #[error(
        "index {index:?} has not the attributes of the source after {waited:?}: {}",
        list(lacks)
    )]
    Lacking {
        /// The target's index.
        index: String,
        /// What it lacks.
        lacks: Vec<Lack>,
        /// For how long it was tried.
        waited: Duration,
    },
}

impl RegisterError {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Call(error) => error.is_transient(),
            Self::NotConfigured { .. } => true,
            Self::Lacking { lacks, .. } => lacks.iter().all(|lack| matches!(lack, Lack::Missing { .. })),
            Self::TwoTypes { .. } | Self::Columns { .. } | Self::OtherTypes { .. } => false,
        }
    }
}

fn list(lacks: &[Lack]) -> String {
    let said: Vec<String> = lacks.iter().map(ToString::to_string).collect();
    said.join(", ")
}

fn place(index: &str, namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) => format!("Namespace {namespace}, for the columns of index {index:?},"),
        None => format!("index {index:?}"),
    }
}
