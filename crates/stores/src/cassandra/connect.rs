//! Sessions: from a datastore entry to a connected client, and why there is none.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use scylla::client::PoolSize;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::cluster::metadata::Peer;
use scylla::errors::{
    ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError, MetadataError, NewSessionError,
    TranslationError,
};
use scylla::policies::address_translator::{AddressTranslator, UntranslatedPeer};
use scylla::policies::host_filter::HostFilter;

use super::entry::{CassandraEntry, at};
use super::tls;
use crate::error::OpenError;

/// How long one request may take before it counts as unanswered; longer than any of the server's own timeouts by
/// default, so that it is the server that says what is wrong.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Connects; the client keeps and renews its connections by itself from then on.
pub(super) async fn connect(entry: &CassandraEntry) -> Result<Session, OpenError> {
    let profile = ExecutionProfile::builder()
        .consistency(entry.consistency)
        .request_timeout(Some(REQUEST_TIMEOUT))
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(entry.hosts.iter().map(|(host, port)| at(host, *port)))
        .connection_timeout(entry.connect_timeout)
        .default_execution_profile_handle(profile.into_handle())
        .keyspaces_to_fetch([entry.keyspace.clone()])
        .tls_context(tls::config(entry)?);
    if let Some((user, password)) = &entry.login {
        builder = builder.user(user, password);
    }
    if let Some(connections) = entry.connections {
        builder = builder.pool_size(PoolSize::PerHost(connections));
    }
    if let Some(name) = &entry.advertised {
        builder = builder.address_translator(Arc::new(Advertised(resolve(entry, name).await?)));
    }
    if entry.datacenter.is_some() || entry.only_named {
        builder = builder.host_filter(Arc::new(Nodes {
            datacenter: entry.datacenter.clone(),
            named: if entry.only_named {
                Some(named(entry).await)
            } else {
                None
            },
        }));
    }
    builder.build().await.map_err(|error| refused(entry, &error))
}

/// Which nodes are connected to.
struct Nodes {
    datacenter: Option<String>,
    named: Option<HashSet<IpAddr>>,
}

impl Nodes {
    fn accepts(&self, datacenter: Option<&str>, address: IpAddr) -> bool {
        let near = self.datacenter.is_none() || self.datacenter.as_deref() == datacenter;
        near && self.named.as_ref().is_none_or(|named| named.contains(&address))
    }
}

impl HostFilter for Nodes {
    fn accept(&self, peer: &Peer) -> bool {
        self.accepts(peer.datacenter.as_deref(), peer.address.ip())
    }
}

/// Every node by the same address, each with its own port.
struct Advertised(IpAddr);

#[async_trait]
impl AddressTranslator for Advertised {
    async fn translate_address(&self, node: &UntranslatedPeer) -> Result<SocketAddr, TranslationError> {
        Ok(SocketAddr::new(self.0, node.untranslated_address().port()))
    }
}

/// The first IPv4 address of the advertised name, as the server takes it.
async fn resolve(entry: &CassandraEntry, name: &str) -> Result<IpAddr, OpenError> {
    let unreachable = |reason: String| OpenError::Unreachable {
        store: entry.describe(),
        reason: format!("advertised-hostname '{name}': {reason}"),
    };
    let addresses = tokio::net::lookup_host((name, 0))
        .await
        .map_err(|error| unreachable(error.to_string()))?;
    let mut addresses = addresses.map(|address| address.ip());
    addresses
        .find(IpAddr::is_ipv4)
        .ok_or_else(|| unreachable("the name has no IPv4 address".to_owned()))
}

/// The addresses of the hosts that the entry names; one that has none now is left out.
async fn named(entry: &CassandraEntry) -> HashSet<IpAddr> {
    let mut named = HashSet::new();
    for (host, port) in &entry.hosts {
        if let Ok(addresses) = tokio::net::lookup_host((host.as_str(), *port)).await {
            named.extend(addresses.map(|address| address.ip()));
        }
    }
    named
}

/// Why there is no session, by its remedy.
fn refused(entry: &CassandraEntry, error: &NewSessionError) -> OpenError {
    let (store, reason) = (entry.describe(), error.to_string());
    let NewSessionError::MetadataError(MetadataError::ConnectionPoolError(ConnectionPoolError::Broken {
        last_connection_error: connection,
        ..
    })) = error
    else {
        return OpenError::Unreachable { store, reason };
    };
    match connection {
        ConnectionError::IoError(error) if is_tls(error) => OpenError::Tls {
            store,
            reason: error.to_string(),
        },
        ConnectionError::ConnectionSetupRequestError(error) => match error.get_error() {
            ConnectionSetupRequestErrorKind::DbError(DbError::AuthenticationError, said) => OpenError::Rejected {
                store,
                user: user(entry),
                reason: said.clone(),
            },
            ConnectionSetupRequestErrorKind::MissingAuthentication => OpenError::Rejected {
                store,
                user: user(entry),
                reason: "it asks for a user and a password".to_owned(),
            },
            ConnectionSetupRequestErrorKind::DbError(DbError::IsBootstrapping | DbError::Overloaded, said) => {
                OpenError::Busy {
                    store,
                    reason: said.clone(),
                }
            }
            _ => OpenError::Unreachable { store, reason },
        },
        other => OpenError::Unreachable {
            store,
            reason: other.to_string(),
        },
    }
}

fn user(entry: &CassandraEntry) -> String {
    entry.login.as_ref().map_or_else(String::new, |(user, _)| user.clone())
}

fn is_tls(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn only_named_nodes_and_those_of_the_datacenter_are_connected_to() {
        let address = |last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
        let nodes = |datacenter: Option<&str>, named: Option<u8>| Nodes {
            datacenter: datacenter.map(ToOwned::to_owned),
            named: named.map(|last| HashSet::from([address(last)])),
        };
        assert!(nodes(None, None).accepts(Some("dc1"), address(1)));
        assert!(nodes(None, Some(1)).accepts(Some("dc1"), address(1)));
        assert!(!nodes(None, Some(1)).accepts(Some("dc1"), address(2)));
        assert!(nodes(Some("dc1"), None).accepts(Some("dc1"), address(2)));
        assert!(!nodes(Some("dc1"), None).accepts(Some("dc2"), address(2)));
        assert!(!nodes(Some("dc1"), None).accepts(None, address(2)));
        assert!(!nodes(Some("dc1"), Some(1)).accepts(Some("dc1"), address(2)));
    }
}
