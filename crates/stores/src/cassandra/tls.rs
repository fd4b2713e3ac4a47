//! TLS to Cassandra, as the server's client understands the `tls` section
//! (1.23.1: nosqlplugin/cassandra/gocql/client.go, common/auth/tls_config_helper.go): nothing of the certificate is
//! verified unless `enableHostVerification` is set, and then chain and name are.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::entry::CassandraEntry;
use crate::error::OpenError;
use crate::tls_section::TlsSection;
use crate::verifier::Names;

/// What makes TLS connections to the nodes of an entry; none if the entry does not ask for TLS.
pub(super) fn config(entry: &CassandraEntry) -> Result<Option<Arc<ClientConfig>>, OpenError> {
    let Some(tls) = &entry.tls else { return Ok(None) };
    let config = names(entry, tls).and_then(|names| tls.client_config(names));
    config
        .map(|config| Some(Arc::new(config)))
        .map_err(|reason| OpenError::Tls {
            store: entry.describe(),
            reason,
        })
}

/// The client names each node by its address. A certificate is good if it is for `serverName`; where that is not set,
/// if it is for the address or for one of the hosts that the entry names, by which the server's client knows them.
fn names(entry: &CassandraEntry, tls: &TlsSection) -> Result<Names, String> {
    if !tls.verify {
        return Ok(Names::Any);
    }
    let names: Vec<&String> = match &tls.server_name {
        Some(name) => vec![name],
        None => entry.hosts.iter().map(|(host, _)| host).collect(),
    };
    let names: Result<Vec<_>, String> = names
        .into_iter()
        .map(|name| {
            ServerName::try_from(name.clone()).map_err(|_| format!("'{name}' is no name to verify; set serverName"))
        })
        .collect();
    Ok(Names::OneOf {
        names: names?,
        or_host: tls.server_name.is_none(),
    })
}
