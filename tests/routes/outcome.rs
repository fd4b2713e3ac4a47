//! What a server made of a pair, by what it logged.

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Both stores were made and the service started.
    Accepts,
    /// The config was accepted, and the server stopped where it looked for a store that is not there.
    TookConfig,
    /// The config was refused.
    RefusesConfig,
    /// The server stopped because of the pair after it had accepted the config.
    StopsAtStart,
    /// The service started with one store.
    LeavesOut,
}

/// Refusals of `common/config/persistence.go`, 1.21.6 to 1.32.2.
const REFUSED: [&str; 4] = [
    "persistence config: cannot set secondaryVisibilityStore or advancedVisibilityStore",
    "persistence config: cannot specify both secondaryVisibilityStore and advancedVisibilityStore",
    "cannot set visibilityStore and secondaryVisibilityStore with different datastore types",
    "config mismatch for visibilityStore and secondaryVisibilityStore",
];

/// Ends of `common/persistence/visibility/factory.go`, and of a plugin that is gone.
const STOPPED: [&str; 4] = [
    "invalid config: dual visibility combination not supported",
    "invalid config: visibility store must be configured",
    "unknown plugin",
    "not supported plugin",
];

impl Outcome {
    /// What the log shows so far, where nobody listens on the ports `nobody`; `None` when it does not tell yet.
    pub(crate) fn of(log: &str, ended: bool, minor: u32, nobody: [u16; 2]) -> Option<Self> {
        let has = |words: &[&str]| words.iter().any(|words| log.contains(words));
        if has(&REFUSED) {
            return Some(Self::RefusesConfig);
        }
        if has(&STOPPED) {
            return Some(Self::StopsAtStart);
        }
        let stores = ["primary", "secondary"]
            .iter()
            .filter(|name| {
                log.lines()
                    .filter(|line| line.contains("creating new visibility manager"))
                    .any(|line| line.contains(**name))
            })
            .count();
        // 1.23 was the first to say which stores it makes.
        if stores == 2 {
            return Some(Self::Accepts);
        }
        if log.contains("\"msg\":\"history starting\"") || log.contains("\"msg\":\"history started\"") {
            return Some(if minor < 23 { Self::Accepts } else { Self::LeavesOut });
        }
        let looked_for_a_store = log.lines().any(|line| {
            // 1.25 to 1.29 do not say which SQL address it was; the main store is a file.
            line.contains("no usable database connection found")
                || line.contains("connection refused")
                    && nobody.iter().any(|port| line.contains(&format!("127.0.0.1:{port}")))
        });
        (ended && looked_for_a_store).then_some(Self::TookConfig)
    }

    /// Whether this is what the table says; `None` when it does not answer the question.
    pub(crate) fn agrees_with(self, table: &str) -> Option<bool> {
        match (self, table) {
            (Self::TookConfig, "stops-at-start" | "leaves-out") => None,
            (Self::Accepts | Self::TookConfig, _) => Some(table == "accepts"),
            (Self::RefusesConfig, _) => Some(table == "refuses-config"),
            (Self::StopsAtStart, _) => Some(table == "stops-at-start"),
            (Self::LeavesOut, _) => Some(table == "leaves-out"),
        }
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Accepts => "accepts",
            Self::TookConfig => "took the config",
            Self::RefusesConfig => "refuses the config",
            Self::StopsAtStart => "stops at start",
            Self::LeavesOut => "leaves the secondary out",
        }
    }
}
