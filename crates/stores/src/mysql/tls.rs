//! TLS to MySQL, as the server's own driver understands the attribute `tls` and the `tls` section
//! (1.30.8: sqlplugin/mysql/session/session.go, `registerTLSConfig`; go-sql-driver/mysql: dsn.go, `normalize`).

use std::path::{Path, PathBuf};

use mysql_async::{ClientIdentity, SslOpts};
use rustls::crypto::{CryptoProvider, ring};

use super::entry::{MysqlEntry, Place};
use crate::entry::Tls;
use crate::error::OpenError;

/// Whether a connection is encrypted.
#[derive(Debug, PartialEq)]
pub(super) enum Mode {
    /// It is not.
    Disabled,
    /// It is, in this way.
    Required(SslOpts),
    /// It is, if the server can; nothing is verified.
    Preferred(SslOpts),
}

/// The mode that an entry asks for: the attribute `tls` first, else the `tls` section, else none.
pub(super) fn mode(entry: &MysqlEntry) -> Result<Mode, OpenError> {
    // A socket is on this machine, and the driver leaves it as it is.
    if matches!(entry.place, Place::Unix { .. }) {
        return Ok(Mode::Disabled);
    }
    let mode = match (entry.attributes.get("tls").map(String::as_str), &entry.tls) {
        (None | Some(""), None) | (Some("false"), _) => return Ok(Mode::Disabled),
        // "tls-custom" is the name under which the server registers its own section.
        (None | Some("" | "tls-custom"), Some(tls)) => Mode::Required(of_section(entry, tls)?),
        (Some("true"), _) => Mode::Required(verified(entry, None)?),
        (Some("skip-verify"), _) => Mode::Required(SslOpts::default().with_danger_accept_invalid_certs(true)),
        (Some("preferred"), _) => Mode::Preferred(SslOpts::default().with_danger_accept_invalid_certs(true)),
        (Some(other), _) => {
            return Err(OpenError::Malformed {
                field: "sql.connectAttributes.tls".to_owned(),
                reason: format!(
                    "is '{other}'; expected true, false, skip-verify or preferred, or nothing where there is a tls section"
                ),
            });
        }
    };
    provide();
    Ok(mode)
}

/// The client takes the process's provider, without which it panics when two are compiled in, and cannot be given one.
fn provide() {
    if CryptoProvider::get_default().is_none() {
        // Lost to another thread, this one's is as good.
        let _ = ring::default_provider().install_default();
    }
}

fn of_section(entry: &MysqlEntry, tls: &Tls) -> Result<SslOpts, OpenError> {
    // As the server reads it: with host verification everything is verified, without it nothing.
    let mut options = match tls.verify_host {
        true => verified(entry, tls.ca_file.as_deref())?,
        false => SslOpts::default().with_danger_accept_invalid_certs(true),
    };
    if let Some(name) = &tls.server_name {
        options = options.with_danger_tls_hostname_override(Some(name.clone()));
    }
    if let (Some(certificate), Some(key)) = (&tls.cert_file, &tls.key_file) {
        read(entry, certificate)?;
        read(entry, key)?;
        // By path: the options can be shown for debugging, and a key must not.
        let identity = ClientIdentity::new(PathBuf::from(certificate).into(), PathBuf::from(key).into());
        options = options.with_client_identity(Some(identity));
    }
    Ok(options)
}

/// Verifies by a file of authorities, or by those that this machine trusts.
fn verified(entry: &MysqlEntry, ca_file: Option<&str>) -> Result<SslOpts, OpenError> {
    let roots: Vec<Vec<u8>> = match ca_file {
        Some(path) => vec![read(entry, path)?],
        None => rustls_native_certs::load_native_certs()
            .certs
            .into_iter()
            .map(|certificate| certificate.to_vec())
            .collect(),
    };
    if roots.is_empty() {
        return Err(failed(
            entry,
            "no root certificates to verify with; set caFile".to_owned(),
        ));
    }
    Ok(SslOpts::default()
        .with_disable_built_in_roots(true)
        .with_root_certs(roots.into_iter().map(Into::into).collect()))
}

/// Read here, so that what is wrong names the file.
fn read(entry: &MysqlEntry, path: &str) -> Result<Vec<u8>, OpenError> {
    std::fs::read(Path::new(path)).map_err(|error| failed(entry, format!("{path} cannot be read: {error}")))
}

fn failed(entry: &MysqlEntry, reason: String) -> OpenError {
    OpenError::Tls {
        store: entry.describe(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::entry::Entry;

    fn mode_of(attributes: Value, tls: Value) -> Result<Mode, OpenError> {
        let entry = json!({"sql": {
            "pluginName": "mysql8", "databaseName": "v", "connectAddr": "h:1", "user": "u",
            "connectAttributes": attributes, "tls": tls,
        }});
        match Entry::parse(&entry)? {
            Entry::Mysql(entry) => mode(&entry),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn modes_are_the_servers() {
        let anything = || SslOpts::default().with_danger_accept_invalid_certs(true);
        let check = |attributes: Value, tls: Value, expected: Mode| {
            assert_eq!(mode_of(attributes, tls).expect("a mode"), expected);
        };
        check(json!({}), json!(null), Mode::Disabled);
        check(json!({}), json!({"enabled": false, "caFile": "/ca"}), Mode::Disabled);
        check(json!({"tls": "false"}), json!({"enabled": true}), Mode::Disabled);
        check(json!({"tls": "skip-verify"}), json!(null), Mode::Required(anything()));
        check(json!({"tls": "preferred"}), json!(null), Mode::Preferred(anything()));
        // The server verifies nothing without enableHostVerification, whatever caFile says.
        check(
            json!({}),
            json!({"enabled": true, "caFile": "/ca"}),
            Mode::Required(anything()),
        );
        let named = anything().with_danger_tls_hostname_override(Some("db"));
        check(
            json!({}),
            json!({"enabled": true, "serverName": "db"}),
            Mode::Required(named),
        );
        let maybe = mode_of(json!({"tls": "maybe"}), json!(null));
        assert!(matches!(maybe, Err(OpenError::Malformed { .. })), "{maybe:?}");
        let no_file = mode_of(
            json!({}),
            json!({"enabled": true, "enableHostVerification": true, "caFile": "/no/ca.pem"}),
        );
        assert!(
            matches!(&no_file, Err(OpenError::Tls { reason, .. }) if reason.contains("/no/ca.pem")),
            "{no_file:?}"
        );
    }
}
