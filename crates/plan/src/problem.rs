//! What can go wrong: one table of codes, each with its remedy and whether trying again can help.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Declares [`Code`] with, for each code, its wire name, whether a retry can help, and its remedy.
macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident, $name:literal, $retryable:literal, $remedy:literal;)*) => {
        /// The kind of a [`Problem`]; the wire name is pinned and is also the Temporal failure type.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name used on the wire and in messages.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Whether the same activity may succeed when it is tried again without anyone acting.
            pub const fn retryable(self) -> bool {
                match self { $(Self::$variant => $retryable,)* }
            }

            /// What the operator does about it, when nothing more exact is known at the place where it happened.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy,)* }
            }
        }
    };
}

codes! {
    /// The input is not one JSON object of the published schema.
    SpecInvalid, "spec-invalid", false, "correct the spec; `crossfade spec check FILE` lists every mistake and `crossfade spec example` prints one that works";
    /// A secret stands in the spec as plain text.
    SecretInSpec, "secret-in-spec", false, "replace it by {\"env\": \"NAME\"} or {\"file\": \"/path\"}, and change that password: the workflow's history has it now";
    /// A secret's reference points nowhere.
    SecretMissing, "secret-missing", false, "set the environment variable or create the file on the machine where this worker runs, then try again";
    /// No worker polls the task queue of a host.
    HostWorkerMissing, "host-worker-missing", false, "start a worker on that host: `crossfade worker --host NAME`";
    /// Another worker is changing the files of this host, or restarting its services.
    HostBusy, "host-busy", true, "let one worker alone poll for each host; when the process that is named hangs, stop it: its lock ends with it, and this is tried again by itself";
    /// The frontend cannot be reached or does not serve.
    ClusterUnreachable, "cluster-unreachable", true, "check the address, TLS settings and that the frontend runs";
    /// The frontend answers and refuses the call.
    ClusterRefused, "cluster-refused", false, "read the frontend's answer: the migration needs an operator's rights in every Namespace; correct it, then `resume` (or `rollback`)";
    /// The server's version is below what its Dual Visibility needs.
    ServerTooOld, "server-too-old", false, "upgrade the cluster to Temporal Server 1.21 or later first";
    /// The server refuses this pair of stores.
    PairUnsupported, "pair-unsupported", false, "choose a target that this server version accepts; the README lists them by version";
    /// Another migration of the same cluster is under way.
    MigrationRunning, "migration-running", false, "wait for it, or end it with `crossfade abort`, before another is started";
    /// A configuration file cannot be read.
    ConfigUnreadable, "config-unreadable", false, "check the path in the spec and that the worker on that host may read it";
    /// A configuration file cannot be edited safely.
    ConfigRefused, "config-refused", false, "edit the file by hand as described, or change its form, and start again";
    /// A configuration file changed between two of our steps.
    ConfigChanged, "config-changed", false, "see who changed the file; put it back or accept the change, then `resume`";
    /// A configuration file could not be written.
    ConfigUnwritable, "config-unwritable", false, "give the worker's user write access to the file and its folder, then `resume`";
    /// Hosts of one cluster do not agree about their visibility configuration.
    HostsDisagree, "hosts-disagree", false, "bring the hosts' files in line with each other, then start again";
    /// A store's entry is incomplete or of a kind that cannot be read.
    StoreUnsupported, "store-unsupported", false, "name a datastore of a kind that can be moved; `crossfade routes` prints the pairs by server version";
    /// A store cannot be reached.
    StoreUnreachable, "store-unreachable", true, "check the store's address, that it runs, and the network from this worker";
    /// A store refuses the user or the password.
    StoreLogin, "store-login", false, "check user and password of the datastore entry";
    /// A store lacks a permission that the migration needs.
    StorePermission, "store-permission", false, "grant the user SELECT, INSERT, UPDATE and DELETE on the visibility tables";
    /// The target's schema is missing or older than the server needs.
    TargetSchema, "target-schema", false, "set `target.setup_schema: true`, or set the schema up with Temporal's own tool, then start again";
    /// Source and target are one and the same store.
    SameStore, "same-store", false, "give the target a database of its own";
    /// The target already holds records that no migration of this cluster put there.
    TargetNotEmpty, "target-not-empty", false, "use an empty store for the target";
    /// A Namespace keeps its records for ever, so waiting for its Retention Period never ends.
    RetentionUnlimited, "retention-unlimited", false, "use `existing_records: backfill`";
    /// Refreshing closed executions would empty what they hold.
    RefreshDestructive, "refresh-destructive", false, "use `existing_records: backfill`, which copies closed executions; or `both`, which also waits until they are gone";
    /// A store answered with an error while records were read or written.
    StoreFailed, "store-failed", true, "read the store's message; the step is tried again by itself";
    /// A store holds what cannot be read: a record that makes no sense, or more deleted rows in one place than it reads over.
    StoreUnreadable, "store-unreadable", false, "put right what the message names at the store (its log says more), then `resume`, or start again";
    /// The target refuses a record for what it holds, and would again.
    RecordRefused, "record-refused", false, "see what the target refuses in that record and remove the cause, or delete its execution if nobody needs it; then `resume`";
    /// A host did not come up with the new file; the old one is back in place.
    HostDown, "host-down", false, "read the server's log on that host, correct the cause, then `resume` (or `rollback`)";
    /// Another host has to serve before this one may be restarted, and does not.
    OthersDown, "others-down", false, "bring the other hosts up first: clients need them while this one restarts; then `resume` (or `rollback`)";
    /// A command or unit that restarts a service failed.
    RestartFailed, "restart-failed", false, "run the restart command by hand on that host and correct it, then `resume` (or `rollback`)";
    /// Two machines' clocks differ by more than can be reasoned with.
    ClockSkew, "clock-skew", false, "set the clocks of the hosts, of this worker's machine and of the stores right (NTP), then start again or `resume`";
    /// Canaries did not reach a store.
    CanaryLost, "canary-lost", false, "read the history service's log for visibility errors, then `resume` (or `rollback`)";
    /// The server does not know the custom search attributes for the target.
    SearchAttributes, "search-attributes", false, "restart the hosts, which registers them, or register them with `temporal operator search-attribute create`; then `resume`";
    /// The frontend answers from the wrong store, or its answers differ from the store's.
    ReadsWrong, "reads-wrong", false, "check that every frontend has read the dynamic config (its log says so), then `resume` (or `rollback`)";
    /// Drift remains that repeated repairs do not remove.
    DriftRemains, "drift-remains", false, "look at the sample keys; `resume` compares again, or accept a class with approve {\"gate\":\"cutover\",\"accept_drift\":[\"extra\"]}";
    /// Visibility tasks lie in the dead-letter queue.
    DeadLetters, "dead-letters", false, "see what made them fail, put it right, and merge them back with `tdbg dlq --dlq-version v2 merge --dlq-type 4`; then `resume`";
    /// The source, kept written after promote, misses writes.
    SourceFails, "source-fails", false, "put the source right, then `resume`; or leave it now, for good: `finish`";
    /// The target, the primary since its promotion, misses writes while the source is kept written.
    TargetFails, "target-fails", false, "`rollback`, which needs no copy; or put the target right, then `resume`";
    /// Anything else inside an activity; tried again.
    Unexpected, "unexpected", true, "read the message; the step is tried again by itself";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One thing that is wrong, in words an operator can act on at 3 a.m.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Problem {
    /// The kind; decides whether it is tried again.
    pub code: Code,
    /// Where: a spec field (`cluster.hosts[0].config`), or a file and line (`/etc/x.yaml:12`), or a host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// What was seen and what was expected.
    pub message: String,
    /// What to do next.
    pub remedy: String,
}

impl Problem {
    /// A problem of `code` with the code's own remedy.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            place: None,
            message: message.into(),
            remedy: code.remedy().to_owned(),
        }
    }

    /// Says where it is.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }

    /// Replaces the remedy by a more exact one.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] ", self.code)?;
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}. Next step: {}", self.message.trim_end_matches('.'), self.remedy)
    }
}

/// Several problems as one message, a line each.
pub fn listing(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
