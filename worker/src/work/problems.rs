//! One table: what each library's error means to the operator, and whether it is tried again.

use std::io;

use anyhow::anyhow;
use crossfade_cluster::{
    CallError, ConnectError, canary::CanaryError, kubernetes::KubernetesError, restart::RestartError,
    schema::SchemaError,
};
use crossfade_config::{FileError, Refusal};
use crossfade_plan::problem::{Code, Problem, listing};
use crossfade_stores::OpenError;
use crossfade_visibility::ports;
use temporalio_common::error::ApplicationFailure;
use temporalio_sdk::activities::ActivityError;

/// An activity fails with its problems as details; it is tried again only when that can help with all of them.
pub(crate) fn failure(problems: Vec<Problem>) -> ActivityError {
    let code = problems
        .iter()
        .map(|problem| problem.code)
        .find(|code| !code.retryable());
    let type_name = code
        .or(problems.first().map(|problem| problem.code))
        .unwrap_or(Code::Unexpected);
    let failure = ApplicationFailure::builder(anyhow!(listing(&problems)))
        .type_name(type_name.name().to_owned())
        .non_retryable(code.is_some())
        .details(problems)
        .build();
    ActivityError::Application(Box::new(failure))
}

/// The frontend could not be connected to.
pub(crate) fn connect(error: &ConnectError) -> Problem {
    Problem::new(Code::ClusterUnreachable, error.to_string()).at("cluster.frontend")
}

/// The frontend answered with an error. What is not there may have gone between two calls, as a deleted Namespace
/// does, and is looked for again; what was refused would be refused for ever, so it goes to the operator.
pub(crate) fn call(error: &CallError) -> Problem {
    let code = match error.code() {
        _ if error.is_transient() => Code::ClusterUnreachable,
        None | Some(tonic::Code::NotFound) => Code::Unexpected,
        Some(_) => Code::ClusterRefused,
    };
    Problem::new(code, error.to_string()).at("cluster.frontend")
}

/// A canary could not be placed or removed.
pub(crate) fn canary(error: &CanaryError) -> Problem {
    let code = if error.is_transient() {
        Code::ClusterUnreachable
    } else {
        Code::CanaryLost
    };
    Problem::new(code, error.to_string()).at("cluster.canary_namespace")
}

/// A service could not be restarted; never tried again by itself, since a restart is felt by clients.
pub(crate) fn restart(error: &RestartError, host: &str) -> Problem {
    let code = match error {
        RestartError::NotBack { .. } => Code::HostDown,
        _ => Code::RestartFailed,
    };
    Problem::new(code, error.to_string()).at(format!("host {host}"))
}

/// Kubernetes does not do what is asked of it. What passes by itself is tried again, which begins no second rollout.
pub(crate) fn kubernetes(error: &KubernetesError) -> Problem {
    let code = match error {
        KubernetesError::NotFound { .. } | KubernetesError::NoKey { .. } => Code::ConfigUnreadable,
        KubernetesError::Immutable { .. } => Code::ConfigUnwritable,
        KubernetesError::Changed { .. } | KubernetesError::Conflict { .. } | KubernetesError::KeptDamaged { .. } => {
            Code::ConfigChanged
        }
        KubernetesError::NotRolledOut { .. } | KubernetesError::Stuck { .. } => Code::HostDown,
        _ if error.is_transient() => Code::ClusterUnreachable,
        _ => Code::RestartFailed,
    };
    let problem = Problem::new(code, error.to_string());
    match error {
        _ if code == Code::ClusterUnreachable => {
            problem.remedy("see that the API of Kubernetes answers and that this worker reaches it; it is tried again")
        }
        KubernetesError::Forbidden { .. } => {
            problem.remedy("grant the right, as deploy/kubernetes/rbac.yaml does, and start again or `resume`")
        }
        KubernetesError::NoAccess { .. } => {
            problem.remedy("give the worker access to the cluster, as the message says, and start again or `resume`")
        }
        KubernetesError::NotFound { .. } | KubernetesError::NoKey { .. } => {
            problem.remedy("correct the name in the spec, and start again")
        }
        KubernetesError::Changed { .. } => problem.remedy("start again, or `resume`: the edit is then made anew"),
        _ => problem,
    }
}

/// Temporal's schema tool failed.
pub(crate) fn schema(error: &SchemaError) -> Problem {
    let code = match error {
        SchemaError::Datastore { .. } => Code::StoreUnsupported,
        _ => Code::TargetSchema,
    };
    let problem = Problem::new(code, error.to_string()).at("target.datastore");
    match error {
        SchemaError::Datastore { field, .. } => problem.remedy(format!(
            "correct `{field}` in the datastore's entry as the message says, then start again"
        )),
        SchemaError::NoTool { .. } => problem.remedy("install the tool as the message says, then `resume`"),
        _ => problem.remedy(
            "put right what the tool says, or set the schema up with it by hand; then `resume` (or `rollback`)",
        ),
    }
}

/// A store answered with an error.
pub(crate) fn store(error: &ports::Error) -> Problem {
    let code = match error {
        ports::Error::Unreachable { .. } => Code::StoreUnreachable,
        ports::Error::Busy { .. } | ports::Error::Failed { .. } => Code::StoreFailed,
        ports::Error::Denied { .. } | ports::Error::ReadOnly { .. } => Code::StorePermission,
        ports::Error::Schema { .. } => Code::TargetSchema,
        ports::Error::Clogged { .. } | ports::Error::Unreadable { .. } => Code::StoreUnreadable,
        ports::Error::Refused { .. } => Code::RecordRefused,
        // A variant that this table does not know is tried again by nobody.
        _ => Code::StoreUnsupported,
    };
    let problem = Problem::new(code, error.to_string());
    match error {
        ports::Error::ReadOnly { .. } => {
            problem.remedy("make the store writable as the message says, then start again or `resume`")
        }
        ports::Error::SourceOnly { .. } => {
            problem.remedy("name another store as the target; `crossfade routes` prints which can be moved to")
        }
        _ => problem,
    }
}

/// A configuration file cannot be edited safely.
pub(crate) fn refused(refusal: &Refusal) -> Problem {
    let place = match refusal.line {
        Some(line) => format!("{}:{line}", refusal.file.display()),
        None => refusal.file.display().to_string(),
    };
    let problem = Problem::new(Code::ConfigRefused, refusal.reason.to_string()).at(place);
    match &refusal.by_hand {
        Some(lines) => problem.remedy(format!(
            "correct the file, or make the change by hand:\n{}",
            lines.trim_end()
        )),
        None => problem,
    }
}

/// A configuration file cannot be read, replaced or restored; the message names the file.
pub(crate) fn file_problem(error: &FileError) -> Problem {
    let code = match error {
        FileError::ReadOnly { .. }
        | FileError::Owner { .. }
        | FileError::Mounted { .. }
        | FileError::HardLinked { .. } => Code::ConfigUnwritable,
        FileError::Changed { .. } | FileError::Conflict { .. } | FileError::KeptDamaged { .. } => Code::ConfigChanged,
        FileError::Io { source, .. } if has_no_room(source) => {
            return Problem::new(Code::ConfigUnwritable, error.to_string())
                .remedy("make room on the disk that the file is on, then `resume`; the file is as it was");
        }
        _ => Code::ConfigUnreadable,
    };
    Problem::new(code, error.to_string())
}

fn has_no_room(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// A datastore could not be opened.
pub(crate) fn open(error: &OpenError, place: &str) -> Problem {
    let code = match error {
        OpenError::Unreachable { .. } | OpenError::Busy { .. } => Code::StoreUnreachable,
        OpenError::Rejected { .. } => Code::StoreLogin,
        OpenError::NoSchema { .. }
        | OpenError::SchemaTooOld { .. }
        | OpenError::WrongSchema { .. }
        | OpenError::UnknownDatabase { .. }
        | OpenError::UnknownKeyspace { .. }
        | OpenError::MissingFile { .. }
            if place.starts_with("target") =>
        {
            Code::TargetSchema
        }
        OpenError::Denied { .. } => Code::StorePermission,
        OpenError::Failed { .. } => Code::StoreFailed,
        _ => Code::StoreUnsupported,
    };
    let problem = Problem::new(code, error.to_string()).at(place);
    match error {
        // The target's schema can be set up by the migration itself, which the code's own remedy says.
        OpenError::WrongSchema { .. } => problem.remedy(error.remedy()),
        _ if code == Code::TargetSchema => problem,
        _ => problem.remedy(error.remedy()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(problems: Vec<Problem>) -> ApplicationFailure {
        match failure(problems) {
            ActivityError::Application(failure) => *failure,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_activity_is_tried_again_only_when_that_can_help_with_all_its_problems() {
        let problem = |code| Problem::new(code, format!("seen: {code}"));
        for (codes, type_name, again) in [
            (&[Code::StoreUnreachable][..], "store-unreachable", true),
            (&[Code::StoreUnreachable, Code::StoreFailed], "store-unreachable", true),
            (&[Code::StoreUnreachable, Code::StoreLogin], "store-login", false),
            (&[Code::ClusterRefused], "cluster-refused", false),
            (&[], "unexpected", true),
        ] {
            let problems: Vec<Problem> = codes.iter().copied().map(problem).collect();
            let failure = of(problems.clone());
            assert_eq!(failure.type_name(), Some(type_name), "{codes:?}");
            assert_eq!(failure.is_non_retryable(), !again, "{codes:?}");
            for problem in &problems {
                assert!(failure.to_string().contains(&problem.to_string()), "{failure}");
            }
        }
    }

    #[test]
    fn what_the_frontend_refuses_is_told_and_what_passes_is_tried_again() {
        for (code, expected) in [
            (tonic::Code::Unavailable, Code::ClusterUnreachable),
            (tonic::Code::DeadlineExceeded, Code::ClusterUnreachable),
            (tonic::Code::Internal, Code::ClusterUnreachable),
            (tonic::Code::NotFound, Code::Unexpected),
            (tonic::Code::PermissionDenied, Code::ClusterRefused),
            (tonic::Code::Unauthenticated, Code::ClusterRefused),
            (tonic::Code::InvalidArgument, Code::ClusterRefused),
            (tonic::Code::Unimplemented, Code::ClusterRefused),
        ] {
            let error = CallError::Status {
                call: "ListNamespaces",
                address: "127.0.0.1:7233".into(),
                code,
                message: "the answer".into(),
                details: Vec::new(),
            };
            let problem = call(&error);
            assert_eq!(problem.code, expected, "{code:?}");
            assert!(
                problem.message.contains("ListNamespaces") && problem.message.contains("the answer"),
                "{problem}"
            );
        }
    }

    #[test]
    fn what_a_store_reports_is_tried_again_exactly_when_its_driver_says_that_this_can_help() {
        use crossfade_visibility::record::Key;
        let (store, reason) = (|| "the store".to_owned(), || "what it said".to_owned());
        let key = Key {
            namespace_id: "n".to_owned(),
            run_id: "r".to_owned(),
        };
        for (error, expected) in [
            (
                ports::Error::Unreachable {
                    store: store(),
                    reason: reason(),
                },
                Code::StoreUnreachable,
            ),
            (
                ports::Error::Busy {
                    store: store(),
                    reason: reason(),
                },
                Code::StoreFailed,
            ),
            (
                ports::Error::Failed {
                    store: store(),
                    reason: reason(),
                },
                Code::StoreFailed,
            ),
            (
                ports::Error::Denied {
                    store: store(),
                    reason: reason(),
                },
                Code::StorePermission,
            ),
            (
                ports::Error::ReadOnly {
                    store: store(),
                    reason: reason(),
                },
                Code::StorePermission,
            ),
            (
                ports::Error::Schema {
                    store: store(),
                    reason: reason(),
                },
                Code::TargetSchema,
            ),
            (
                ports::Error::Clogged {
                    store: store(),
                    reason: reason(),
                },
                Code::StoreUnreadable,
            ),
            (
                ports::Error::Refused {
                    store: store(),
                    key: key.clone(),
                    reason: reason(),
                },
                Code::RecordRefused,
            ),
            (
                ports::Error::Unreadable {
                    store: store(),
                    key,
                    column: "memo",
                    reason: reason(),
                },
                Code::StoreUnreadable,
            ),
            (ports::Error::SourceOnly { store: store() }, Code::StoreUnsupported),
        ] {
            let problem = super::store(&error);
            assert_eq!(problem.code, expected, "{error:?}");
            assert_eq!(problem.code.retryable(), error.is_retryable(), "{error:?}");
            assert!(problem.message.contains("the store"), "{problem}");
        }
    }

    #[test]
    fn a_store_that_is_not_opened_is_told_with_its_place_and_what_to_do_about_it() {
        let keyspace = OpenError::UnknownKeyspace {
            store: "Cassandra 127.0.0.1:9042".to_owned(),
            keyspace: "no_such_keyspace".to_owned(),
        };
        let version = OpenError::Malformed {
            field: "elasticsearch.version".to_owned(),
            reason: "is none that the server takes".to_owned(),
        };
        let absent = OpenError::UnknownDatabase {
            store: "PostgreSQL".to_owned(),
            database: "nowhere".to_owned(),
        };
        for (error, place, told) in [
            (&keyspace, "source.datastore", "[store-unsupported] source.datastore: "),
            (&keyspace, "source.datastore", "create-keyspace"),
            (&version, "target.datastore", "correct `elasticsearch.version`"),
            (
                &absent,
                "/etc/temporal/production.yaml:12",
                "] /etc/temporal/production.yaml:12: ",
            ),
            (&absent, "/etc/temporal/production.yaml:12", "correct `databaseName`"),
            (&absent, "target.datastore", "target.setup_schema: true"),
        ] {
            let said = open(error, place).to_string();
            assert!(said.contains(told), "{said}");
            assert!(!said.contains("README"), "{said}");
        }
    }
    #[test]
    fn a_full_disk_is_told_as_such_and_can_be_resumed_from() {
        let error = FileError::Io {
            path: "/etc/temporal/production.yaml".into(),
            doing: "writing",
            source: io::Error::from(io::ErrorKind::StorageFull),
        };
        let problem = file_problem(&error);
        assert_eq!(problem.code, Code::ConfigUnwritable);
        assert!(
            problem.remedy.contains("room") && problem.remedy.contains("resume"),
            "{problem}"
        );
    }
}
