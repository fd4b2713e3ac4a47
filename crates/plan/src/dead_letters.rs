//! Dead letters: visibility tasks that the server gave up on, each a record that a store may lack.

use serde::{Deserialize, Serialize};

use crate::{
    problem::{Code, Problem},
    stage::Stage,
};

/// What is known of the cluster's dead-letter queue of visibility tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum DeadLetters {
    /// This server keeps none: it tries a task for ever (before 1.23).
    NotKept,
    /// The frontend does not let this worker ask.
    Unknown {
        /// What it said.
        why: String,
    },
    /// It was counted.
    Counted {
        /// Visibility tasks.
        visibility: u64,
    },
}

impl DeadLetters {
    /// The visibility tasks that are known to lie there.
    pub fn visibility(&self) -> u64 {
        match self {
            Self::Counted { visibility } => *visibility,
            Self::NotKept | Self::Unknown { .. } => 0,
        }
    }

    /// Whether it is asked again before reads move, before the point of no return and at the end: everywhere it can be.
    pub fn can_be_asked(&self) -> bool {
        matches!(self, Self::Counted { .. })
    }

    /// What preflight has to tell of it.
    pub(crate) fn warning(&self, frontend: &str) -> Option<String> {
        match self {
            Self::NotKept | Self::Counted { visibility: 0 } => None,
            Self::Unknown { why } => Some(format!(
                "the dead-letter queue of visibility tasks cannot be looked at ({why}): before cutover and promote, see for \
                 yourself that it is empty: `{}`",
                read_command(frontend)
            )),
            Self::Counted { visibility } => Some(format!(
                "{visibility} visibility tasks from before this migration lie in the dead-letter queue; each may be a record \
                 that the source lacks. Cutover does not open until it is empty. See them: `{}`; have them done: `{}`",
                read_command(frontend),
                merge_command(frontend)
            )),
        }
    }

    /// Why `stage` cannot begin, if it cannot.
    pub fn in_the_way_of(&self, stage: Stage, frontend: &str) -> Option<Problem> {
        self.in_the_way(
            &format!("a store may lack them. {stage} begins when it is empty"),
            frontend,
        )
    }

    /// Why a way back from swapped roles cannot end, if it cannot: the source may lack what was written meanwhile.
    pub fn in_the_way_back(&self, frontend: &str) -> Option<Problem> {
        self.in_the_way("the source may lack them. The way back ends when it is empty", frontend)
    }

    fn in_the_way(&self, so: &str, frontend: &str) -> Option<Problem> {
        let visibility = self.visibility();
        (visibility > 0).then(|| {
            let message = format!(
                "{visibility} visibility tasks lie in the dead-letter queue: the server gave up writing these records, so {so}"
            );
            Problem::new(Code::DeadLetters, message)
                .at("cluster.frontend")
                .remedy(format!(
                    "see them: `{}`; when what made them fail is put right, have them done: `{}`; then `resume`",
                    read_command(frontend),
                    merge_command(frontend)
                ))
        })
    }
}

/// The command that shows the visibility tasks in the dead-letter queue. Before 1.25 `v1` is what the tool takes when it is
/// not told (1.23.1, 1.30.8: tools/tdbg/tdbg_commands.go).
pub fn read_command(frontend: &str) -> String {
    format!("tdbg --address {frontend} dlq --dlq-version v2 read --dlq-type 4")
}

/// The command that gives them back to the history service, which does them again and takes them out of the queue.
pub fn merge_command(frontend: &str) -> String {
    format!("tdbg --address {frontend} dlq --dlq-version v2 merge --dlq-type 4")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_there_is_in_the_way_and_the_commands_are_told() {
        let counted = |visibility| DeadLetters::Counted { visibility };
        for nothing in [DeadLetters::NotKept, counted(0)] {
            assert_eq!(nothing.in_the_way_of(Stage::Cutover, "f:7233"), None);
            assert_eq!(nothing.warning("f:7233"), None);
        }
        let problem = counted(3).in_the_way_of(Stage::Promote, "f:7233").expect("in the way");
        let said = problem.to_string();
        for part in [
            "[dead-letters]",
            "3 visibility tasks",
            "promote begins",
            "`tdbg --address f:7233 dlq --dlq-version v2 read --dlq-type 4`",
            "`tdbg --address f:7233 dlq --dlq-version v2 merge --dlq-type 4`",
            "`resume`",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let back = counted(2).in_the_way_back("f:7233").expect("in the way").to_string();
        assert!(
            back.contains("the source may lack them") && back.contains("merge"),
            "{back}"
        );
        assert_eq!(counted(0).in_the_way_back("f:7233"), None);
        let warning = counted(3).warning("f:7233").expect("told");
        assert!(
            warning.contains("from before") && warning.contains("merge --dlq-type 4"),
            "{warning}"
        );
        let unknown = DeadLetters::Unknown {
            why: "no rights".into(),
        };
        assert!(!unknown.can_be_asked());
        assert_eq!(unknown.in_the_way_of(Stage::Finish, "f:7233"), None);
        let warning = unknown.warning("f:7233").expect("told");
        assert!(
            warning.contains("no rights") && warning.contains("see for yourself"),
            "{warning}"
        );
    }
}
