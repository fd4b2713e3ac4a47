//! Where a migration turns back, and what goes wrong meanwhile: the rows and columns of the matrix.

use e2e::migration::{awaits, is, stage};
use e2e::scene::ORDERS;
use serde_json::{Value, json};

/// What the way back begins with, or goes wrong on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// Nothing: `rollback`.
    None,
    /// `abort` instead.
    Abort,
    /// The workflow is cancelled instead.
    Cancel,
    /// The worker is killed on the way back.
    WorkerKilled,
    /// The target's server is killed before, and what the stage is at fails.
    TargetDown,
    /// The target lets nobody in.
    TargetLocked,
    /// The host is not restarted with its former config until somebody mends it.
    HostFails,
}

impl Fault {
    pub(super) const ALL: [Self; 7] = [
        Self::None,
        Self::Abort,
        Self::Cancel,
        Self::WorkerKilled,
        Self::TargetDown,
        Self::TargetLocked,
        Self::HostFails,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "rollback",
            Self::Abort => "abort",
            Self::Cancel => "cancel",
            Self::WorkerKilled => "worker killed",
            Self::TargetDown => "target down",
            Self::TargetLocked => "target locked",
            Self::HostFails => "host fails",
        }
    }

    /// Whether the target cannot be used.
    pub(super) fn is_of_the_target(self) -> bool {
        matches!(self, Self::TargetDown | Self::TargetLocked)
    }
}

/// What keeps a migration where it is to turn back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// It waits there by itself: at a gate, in a soak, copying slowly.
    Itself,
    /// It is paused before its worker begins.
    Paused,
    /// The schema tool does not end.
    Tool,
    /// The command that restarts the host does not end.
    Restart,
    /// The target's table is locked, so that reading it does not end; taken at this stage's gate.
    Table,
    /// The host is not restarted with swapped roles, and has its former config back.
    Swap,
}

/// A place to turn back from.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) stage: &'static str,
    pub(super) place: &'static str,
    /// What the spec says besides the usual.
    pub(super) spec: fn() -> Value,
    pub(super) hold: Hold,
    /// Whether a status is of that place.
    pub(super) here: fn(&Value) -> bool,
    /// Whether the host was restarted until then.
    pub(super) restarted: bool,
    /// The activity that fails there while the target cannot be used, if one is under way.
    pub(super) uses_target: Option<&'static str>,
    /// Whether the target's indexes are set aside there.
    pub(super) without_indexes: bool,
}

impl Row {
    pub(super) fn name(&self) -> String {
        format!("{}: {}", self.stage, self.place)
    }

    /// Why a fault has no meaning there.
    pub(super) fn is_senseless(&self, fault: Fault) -> Option<&'static str> {
        (fault == Fault::HostFails && !self.restarted).then_some("no host is restarted on this way back")
    }
}

/// Every place, in the order of the way.
pub(super) fn rows() -> Vec<Row> {
    let usual = Row {
        stage: "",
        place: "at its gate",
        spec: || json!({"gates": []}),
        hold: Hold::Itself,
        here: |_| false,
        restarted: true,
        uses_target: None,
        without_indexes: false,
    };
    vec![
        Row {
            stage: "preflight",
            place: "having asked",
            hold: Hold::Paused,
            here: |status| is(status, "paused") && stage(status) == "preflight",
            restarted: false,
            ..usual
        },
        Row {
            stage: "prepare-target",
            spec: || json!({"gates": ["prepare-target"]}),
            here: |status| awaits(status, "prepare-target"),
            restarted: false,
            ..usual
        },
        Row {
            stage: "prepare-target",
            place: "in the schema tool",
            hold: Hold::Tool,
            here: |status| is(status, "running") && stage(status) == "prepare-target",
            restarted: false,
            uses_target: Some("prepare-target"),
            ..usual
        },
        Row {
            stage: "dual-write",
            spec: || json!({"gates": ["dual-write"]}),
            here: |status| awaits(status, "dual-write"),
            restarted: false,
            ..usual
        },
        Row {
            stage: "dual-write",
            place: "in the first restart",
            hold: Hold::Restart,
            here: |status| is(status, "running") && stage(status) == "dual-write",
            ..usual
        },
        Row {
            stage: "dual-write",
            place: "proving the writes",
            spec: || json!({"gates": ["dual-write"]}),
            hold: Hold::Table,
            here: |status| stage(status) == "dual-write" && does(status, "canaries on every history shard"),
            uses_target: Some("prove-writes"),
            ..usual
        },
        Row {
            stage: "existing-records",
            place: "copying, indexes set aside",
            spec: || json!({"gates": [], "records_per_second": 1, "copy": {"defer_indexes": "always"}}),
            here: |status| {
                stage(status) == "existing-records"
                    && status["copy"]["expected"] != 0
                    && status["indexes"]["set_aside"].as_u64() > Some(60)
            },
            uses_target: Some("copy-records"),
            without_indexes: true,
            ..usual
        },
        Row {
            stage: "verify",
            place: "comparing",
            spec: || json!({"gates": ["verify"]}),
            hold: Hold::Table,
            here: |status| is(status, "running") && stage(status) == "verify",
            uses_target: Some("compare-records"),
            ..usual
        },
        Row {
            stage: "cutover",
            spec: || json!({"gates": ["cutover"]}),
            here: |status| awaits(status, "cutover") && !status["verify"]["clean_at"].is_null(),
            ..usual
        },
        Row {
            stage: "cutover",
            place: "proving the reads",
            spec: || json!({"gates": ["cutover"]}),
            hold: Hold::Table,
            here: |status| stage(status) == "cutover" && does(status, "through the frontend"),
            uses_target: Some("prove-reads"),
            ..usual
        },
        Row {
            stage: "cutover",
            place: "the first Namespaces soak",
            spec: || json!({"gates": [], "cutover": {"namespaces_first": [ORDERS], "soak": "10m"}}),
            here: |status| is(status, "waiting") && status["cutover"] == "first-namespaces",
            ..usual
        },
        Row {
            stage: "promote",
            spec: || json!({"gates": ["promote"]}),
            here: |status| awaits(status, "promote") && status["cutover"] == "soaked",
            ..usual
        },
        Row {
            stage: "promote",
            place: "a host was put back",
            spec: || json!({"gates": [], "promote": {"keep_warm": "7d"}}),
            hold: Hold::Swap,
            here: |status| is(status, "needs-operator") && stage(status) == "promote",
            ..usual
        },
        Row {
            stage: "promote",
            place: "roles swapped",
            spec: || json!({"gates": [], "promote": {"keep_warm": "7d"}}),
            here: |status| !status["warm"]["since"].is_null(),
            ..usual
        },
    ]
}

/// Whether a status says that the migration does this now.
fn does(status: &Value, what: &str) -> bool {
    is(status, "running") && status["condition"]["doing"].to_string().contains(what)
}

/// What came of every cell, to be printed as a table.
#[derive(Debug, Default)]
pub(super) struct Table(Vec<(String, Vec<&'static str>)>);

impl Table {
    /// With every place, and nothing known of it.
    pub(super) fn of(rows: &[Row]) -> Self {
        let cells = |row: &Row| {
            let word = |fault| row.is_senseless(fault).map_or(".", |_| "-");
            Fault::ALL.map(word).to_vec()
        };
        Self(rows.iter().map(|row| (row.name(), cells(row))).collect())
    }

    pub(super) fn is_well(&mut self, row: &Row, fault: Fault) {
        let column = Fault::ALL.iter().position(|one| *one == fault);
        let cells = self.0.iter_mut().find(|(name, _)| *name == row.name());
        if let (Some((_, cells)), Some(column)) = (cells, column) {
            cells[column] = "ok";
        }
    }

    /// As Markdown.
    pub(super) fn text(&self) -> String {
        let mut text = format!("| turned back from | {} |\n", Fault::ALL.map(Fault::name).join(" | "));
        text.push_str(&format!("|---|{}\n", "---|".repeat(Fault::ALL.len())));
        for (name, cells) in &self.0 {
            text.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
        }
        text
    }
}
