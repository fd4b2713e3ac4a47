//! TLS to PostgreSQL, as the server's own drivers understand `sslmode` and the `tls` section
//! (1.30.8: sqlplugin/postgresql/session/session.go).

use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::entry::PostgresEntry;
use crate::error::OpenError;
use crate::tls_section::TlsSection;
use crate::verifier::Names;

/// Whether a connection is encrypted, and what is verified.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Disabled,
    Enabled { required: bool, verify: Verify },
}

/// What of the server's certificate is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verify {
    Nothing,
    Chain,
    ChainAndHost,
}

impl Mode {
    pub(super) fn negotiation(&self) -> SslMode {
        match self {
            Self::Disabled => SslMode::Disable,
            Self::Enabled { required: false, .. } => SslMode::Prefer,
            Self::Enabled { required: true, .. } => SslMode::Require,
        }
    }
}

/// The mode that an entry asks for: `sslmode` first, else the `tls` section, else none.
pub(super) fn mode(entry: &PostgresEntry) -> Result<Mode, OpenError> {
    let enabled = |required, verify| Ok(Mode::Enabled { required, verify });
    let has_ca = ca_file(entry).is_some();
    match (entry.attributes.get("sslmode").map(String::as_str), &entry.tls) {
        (None | Some(""), None) | (Some("disable"), _) => Ok(Mode::Disabled),
        (None | Some(""), Some(tls)) if tls.verify_host => enabled(true, Verify::ChainAndHost),
        // With a root certificate, "require" verifies the chain, as libpq and both of the server's drivers do.
        (None | Some("" | "require"), _) => enabled(true, if has_ca { Verify::Chain } else { Verify::Nothing }),
        (Some("allow" | "prefer"), _) => enabled(false, Verify::Nothing),
        (Some("verify-ca"), _) => enabled(true, Verify::Chain),
        (Some("verify-full"), _) => enabled(true, Verify::ChainAndHost),
        (Some(other), _) => Err(OpenError::Malformed {
            field: "sql.connectAttributes.sslmode".to_owned(),
            reason: format!("is '{other}'; expected disable, allow, prefer, require, verify-ca or verify-full"),
        }),
    }
}

fn ca_file(entry: &PostgresEntry) -> Option<&str> {
    file(entry, "sslrootcert", |tls| tls.ca_file.as_deref())
}

fn file<'a>(
    entry: &'a PostgresEntry,
    attribute: &str,
    from_tls: impl Fn(&'a crate::entry::Tls) -> Option<&'a str>,
) -> Option<&'a str> {
    let attribute = entry
        .attributes
        .get(attribute)
        .map(String::as_str)
        .filter(|path| !path.is_empty());
    attribute.or_else(|| entry.tls.as_ref().and_then(from_tls))
}

/// What makes TLS connections of this mode.
pub(super) fn connector(entry: &PostgresEntry, mode: &Mode) -> Result<MakeRustlsConnect, OpenError> {
    let failed = |reason: String| OpenError::Tls {
        store: entry.describe(),
        reason,
    };
    let (verify, names) = match mode {
        Mode::Enabled {
            verify: Verify::Chain, ..
        } => (true, Names::Any),
        Mode::Enabled {
            verify: Verify::ChainAndHost,
            ..
        } => (true, Names::Host),
        Mode::Enabled {
            verify: Verify::Nothing,
            ..
        }
        | Mode::Disabled => (false, Names::Any),
    };
    let certificate = file(entry, "sslcert", |tls| tls.cert_file.as_deref());
    let key = file(entry, "sslkey", |tls| tls.key_file.as_deref());
    let section = TlsSection::of_files(ca_file(entry), certificate, key, verify);
    section.client_config(names).map(MakeRustlsConnect::new).map_err(failed)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::entry::Entry;

    fn check(attributes: Value, tls: Value, expected: Mode) {
        let entry = json!({"sql": {
            "pluginName": "postgres12", "databaseName": "v", "connectAddr": "h:1", "user": "u",
            "connectAttributes": attributes, "tls": tls,
        }});
        let Ok(Entry::Postgres(entry)) = Entry::parse(&entry) else {
            panic!("{entry}")
        };
        assert_eq!(mode(&entry).ok(), Some(expected));
    }

    #[test]
    fn modes_are_the_servers() {
        let on = |required, verify| Mode::Enabled { required, verify };
        check(json!({}), json!(null), Mode::Disabled);
        check(
            json!({}),
            json!({"enabled": false, "enableHostVerification": true}),
            Mode::Disabled,
        );
        check(json!({"sslmode": "disable"}), json!({"enabled": true}), Mode::Disabled);
        check(json!({}), json!({"enabled": true}), on(true, Verify::Nothing));
        check(
            json!({}),
            json!({"enabled": true, "caFile": "/ca"}),
            on(true, Verify::Chain),
        );
        check(
            json!({}),
            json!({"enabled": true, "enableHostVerification": true}),
            on(true, Verify::ChainAndHost),
        );
        check(
            json!({"sslmode": "require", "sslrootcert": "/ca"}),
            json!(null),
            on(true, Verify::Chain),
        );
        check(
            json!({"sslmode": "verify-full"}),
            json!(null),
            on(true, Verify::ChainAndHost),
        );
        check(json!({"sslmode": "prefer"}), json!(null), on(false, Verify::Nothing));
    }
}
