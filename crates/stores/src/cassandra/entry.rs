//! The `cassandra` section of a datastore entry, as the server reads it
//! (1.23.1: common/config/config.go `Cassandra`, common/persistence/nosql/nosqlplugin/cassandra/gocql/client.go).

use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use jiff::SignedDuration;
use scylla::statement::Consistency;
use serde_json::{Map, Value};

use crate::error::OpenError;
use crate::tls_section::TlsSection;

/// The port when the entry names none: the client library's default.
const PORT: u16 = 9042;

/// How long a connection may take to come about when the entry does not say: the server's default.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The only address translator that the server has (1.23.1: nosqlplugin/cassandra/translator/fixed_address_translator.go).
const FIXED_TRANSLATOR: &str = "fixed-address-translator";

/// A Cassandra keyspace, and how to reach it.
pub(crate) struct CassandraEntry {
    /// Names or addresses, each with its port.
    pub(super) hosts: Vec<(String, u16)>,
    /// User and password; none unless both are given, as at the server.
    pub(super) login: Option<(String, String)>,
    pub(super) keyspace: String,
    pub(super) datacenter: Option<String>,
    pub(super) connections: Option<NonZeroUsize>,
    pub(super) connect_timeout: Duration,
    pub(super) tls: Option<TlsSection>,
    /// What reads ask for: the entry's, and never less than a local quorum. See [`consistency`].
    pub(super) consistency: Consistency,
    /// Connect to the hosts named and to no other node of the cluster.
    pub(super) only_named: bool,
    /// The name under which every node is reached, whatever address it gives.
    pub(super) advertised: Option<String>,
}

impl CassandraEntry {
    /// The store for people.
    pub(crate) fn describe(&self) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(|(host, port)| at(host, *port)).collect();
        format!("Cassandra keyspace '{}' at {}", self.keyspace, hosts.join(", "))
    }

    /// Reads the value of `cassandra`.
    pub(crate) fn parse(section: &Map<String, Value>) -> Result<Self, OpenError> {
        let fields = Fields {
            path: "cassandra",
            fields: section,
        };
        let port = fields.number("port")?.filter(|port| *port > 0);
        let port = match port.map(u16::try_from) {
            None => PORT,
            Some(Ok(port)) => port,
            Some(Err(_)) => return Err(fields.malformed("port", "is no port; expected 1 to 65535")),
        };
        let (user, password) = (fields.text("user")?, fields.text("password")?);
        Ok(Self {
            hosts: hosts(&fields, port)?,
            login: user.zip(password),
            keyspace: keyspace(&fields)?,
            datacenter: fields.text("datacenter")?,
            connections: fields
                .number("maxConns")?
                .and_then(|connections| usize::try_from(connections).ok())
                .and_then(NonZeroUsize::new),
            connect_timeout: fields.duration("connectTimeout")?.unwrap_or(CONNECT_TIMEOUT),
            tls: TlsSection::parse(section.get("tls"), "cassandra.tls")?,
            consistency: consistency(&fields)?,
            only_named: fields.flag("disableInitialHostLookup")?,
            advertised: advertised(&fields)?,
        })
    }
}

impl fmt::Debug for CassandraEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CassandraEntry({})", self.describe())
    }
}

/// `host:port`, with brackets where the host is an IPv6 address.
pub(super) fn at(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// The hosts, one text with commas; each may have a port of its own.
fn hosts(fields: &Fields<'_>, port: u16) -> Result<Vec<(String, u16)>, OpenError> {
    let text = fields.required("hosts")?;
    let one = |host: &str| match host.rsplit_once(':') {
        Some((name, own)) if !own.contains(']') && (!name.contains(':') || name.ends_with(']')) => match own.parse() {
            Ok(own) => Ok((unbracketed(name), own)),
            Err(_) => Err(fields.malformed(
                "hosts",
                &format!("'{host}' has no valid port; expected host or host:port"),
            )),
        },
        _ => Ok((unbracketed(host), port)),
    };
    let hosts: Result<Vec<(String, u16)>, OpenError> = text
        .split(',')
        .map(str::trim)
        .filter(|host| !host.is_empty())
        .map(one)
        .collect();
    let hosts = hosts?;
    if hosts.is_empty() || hosts.iter().any(|(host, _)| host.is_empty()) {
        return Err(fields.malformed("hosts", &format!("'{text}' names no host; expected host,host")));
    }
    Ok(hosts)
}

fn unbracketed(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}

/// The keyspace; it goes into statements, so that it must be nothing but a name.
fn keyspace(fields: &Fields<'_>) -> Result<String, OpenError> {
    let keyspace = fields.required("keyspace")?;
    let is_name = keyspace.len() <= 48
        && keyspace
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_name {
        Ok(keyspace)
    } else {
        let reason =
            format!("'{keyspace}' is no name of a keyspace; expected at most 48 letters, digits and underscores");
        Err(fields.malformed("keyspace", &reason))
    }
}

/// The consistency of reads. The server lists with ONE and writes with what is configured
/// (1.23.1: visibility/store/standard/cassandra/visibility_store.go); we conclude from absence that a record was
/// deleted, which one replica cannot say. So whatever is weaker than a local quorum is raised to it.
fn consistency(fields: &Fields<'_>) -> Result<Consistency, OpenError> {
    let Some(consistency) = fields.section("consistency")? else {
        return Ok(Consistency::LocalQuorum);
    };
    let Some(default) = consistency.section("default")? else {
        return Ok(Consistency::LocalQuorum);
    };
    let name = default.text("consistency")?.unwrap_or_default();
    match name.to_ascii_uppercase().as_str() {
        "" | "ANY" | "ONE" | "TWO" | "LOCAL_ONE" | "LOCAL_QUORUM" => Ok(Consistency::LocalQuorum),
        "THREE" => Ok(Consistency::Three),
        // No read can ask for a quorum in each data centre.
        "QUORUM" | "EACH_QUORUM" => Ok(Consistency::Quorum),
        "ALL" => Ok(Consistency::All),
        _ => Err(default.malformed("consistency", &format!("is '{name}'; expected one like LOCAL_QUORUM"))),
    }
}

fn advertised(fields: &Fields<'_>) -> Result<Option<String>, OpenError> {
    let Some(translator) = fields.section("addressTranslator")? else {
        return Ok(None);
    };
    match translator.text("translator")?.as_deref() {
        None => Ok(None),
        Some(FIXED_TRANSLATOR) => {
            let options = translator.section("options")?;
            let name = options
                .and_then(|options| options.text("advertised-hostname").transpose())
                .transpose()?;
            name.map(Some).ok_or_else(|| {
                translator.malformed(
                    "options.advertised-hostname",
                    "is missing or empty; the server needs it",
                )
            })
        }
        Some(other) => Err(translator.malformed(
            "translator",
            &format!("is '{other}'; the server has {FIXED_TRANSLATOR} only"),
        )),
    }
}

/// A mapping of the entry, with its path for messages. Those say the type that was found and never the value of a field
/// that may hold a secret.
#[derive(Clone, Copy)]
struct Fields<'a> {
    path: &'a str,
    fields: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn malformed(&self, field: &str, reason: &str) -> OpenError {
        OpenError::Malformed {
            field: format!("{}.{field}", self.path),
            reason: reason.to_owned(),
        }
    }

    fn wrong_type(&self, field: &str, expected: &str) -> OpenError {
        self.malformed(field, &format!("is not {expected}"))
    }

    fn section(&self, field: &'a str) -> Result<Option<Fields<'a>>, OpenError> {
        match self.fields.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Fields { path: field, fields })),
            Some(_) => Err(self.wrong_type(field, "a mapping")),
        }
    }

    /// A scalar as text; an empty one counts as absent, as at the server.
    fn text(&self, field: &str) -> Result<Option<String>, OpenError> {
        match self.fields.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            Some(scalar @ (Value::Bool(_) | Value::Number(_))) => Ok(Some(scalar.to_string())),
            Some(_) => Err(self.wrong_type(field, "text")),
        }
    }

    fn required(&self, field: &str) -> Result<String, OpenError> {
        self.text(field)?
            .ok_or_else(|| self.malformed(field, "is missing or empty; the server needs it"))
    }

    fn number(&self, field: &str) -> Result<Option<i64>, OpenError> {
        let text = self.text(field)?;
        let number = text.map(|text| text.trim().parse::<i64>()).transpose();
        number.map_err(|_| self.wrong_type(field, "a whole number"))
    }

    fn flag(&self, field: &str) -> Result<bool, OpenError> {
        match self.text(field)?.as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(self.wrong_type(field, "true or false")),
        }
    }

    /// A duration as Go writes them (`10s`), or a number of nanoseconds; none if it is not positive.
    fn duration(&self, field: &str) -> Result<Option<Duration>, OpenError> {
        let Some(text) = self.text(field)? else { return Ok(None) };
        let nanoseconds = text.parse::<i64>().map(SignedDuration::from_nanos).ok();
        let duration = nanoseconds.or_else(|| text.parse().ok());
        let duration = duration.ok_or_else(|| self.wrong_type(field, "a duration like 10s"))?;
        Ok(Duration::try_from(duration).ok().filter(|duration| !duration.is_zero()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(section: Value) -> Result<CassandraEntry, OpenError> {
        let Value::Object(section) = section else {
            panic!("a mapping")
        };
        CassandraEntry::parse(&section)
    }

    fn parsed(section: Value) -> CassandraEntry {
        parse(section).unwrap_or_else(|error| panic!("{error}"))
    }

    #[track_caller]
    fn check_refused(section: Value, words: &[&str]) {
        let message = match parse(section) {
            Ok(entry) => panic!("accepted: {entry:?}"),
            Err(error) => error.to_string(),
        };
        for word in words {
            assert!(message.contains(word), "'{word}' expected in: {message}");
        }
        assert!(!message.contains("s3cret"), "{message}");
    }

    #[test]
    fn entries_are_read_as_the_server_reads_them() {
        let entry = parsed(json!({
            "hosts": "10.0.0.1, node-b:9043 ,[::1]:9044, ::2", "port": "9142", "user": "temporal", "password": "s3cret",
            "keyspace": "temporal_visibility", "datacenter": "dc1", "maxConns": 20, "connectTimeout": "1m30s",
            "consistency": {"default": {"consistency": "all", "serialConsistency": "local_serial"}},
            "disableInitialHostLookup": true,
            "addressTranslator": {"translator": "fixed-address-translator", "options": {"advertised-hostname": "lb"}},
            "tls": {"enabled": "true", "caFile": "/ca.pem", "certData": "", "keyFile": "", "enableHostVerification": true},
        }));
        let hosts = [("10.0.0.1", 9142), ("node-b", 9043), ("::1", 9044), ("::2", 9142)];
        assert_eq!(entry.hosts, hosts.map(|(host, port)| (host.to_owned(), port)));
        assert_eq!(entry.login, Some(("temporal".to_owned(), "s3cret".to_owned())));
        assert_eq!(entry.connections.map(NonZeroUsize::get), Some(20));
        assert_eq!(entry.connect_timeout, Duration::from_secs(90));
        assert_eq!(entry.consistency, Consistency::All);
        assert_eq!((entry.only_named, entry.advertised.as_deref()), (true, Some("lb")));
        assert!(entry.tls.as_ref().is_some_and(|tls| tls.verify));
        assert!(!format!("{entry:?}").contains("s3cret"));
        assert!(entry.describe().contains("[::1]:9044"), "{entry:?}");
    }

    #[test]
    fn what_is_left_out_is_the_servers_default() {
        let entry = parsed(
            json!({"hosts": "h", "keyspace": "k", "user": "only-a-user", "password": "", "tls": {"caFile": "/x"}}),
        );
        assert_eq!(entry.hosts, [("h".to_owned(), 9042)]);
        assert!(entry.login.is_none() && entry.tls.is_none() && !entry.only_named);
        assert_eq!(
            (entry.connect_timeout, entry.consistency),
            (CONNECT_TIMEOUT, Consistency::LocalQuorum)
        );
    }

    #[test]
    fn one_replica_never_says_that_a_record_is_gone() {
        for weak in ["ONE", "local_one", "TWO", "ANY", ""] {
            let entry =
                parsed(json!({"hosts": "h", "keyspace": "k", "consistency": {"default": {"consistency": weak}}}));
            assert_eq!(entry.consistency, Consistency::LocalQuorum, "{weak}");
        }
    }

    #[test]
    fn what_cannot_be_right_is_refused_with_its_field() {
        let with = |field: &str, value: Value| {
            let mut entry = json!({"hosts": "h", "keyspace": "k", "password": "s3cret"});
            entry[field] = value;
            entry
        };
        check_refused(with("hosts", json!(" , ")), &["cassandra.hosts"]);
        check_refused(with("hosts", json!("h:x")), &["cassandra.hosts", "'h:x'"]);
        check_refused(with("hosts", json!(["h"])), &["cassandra.hosts", "text"]);
        check_refused(with("port", json!(99_999)), &["cassandra.port"]);
        check_refused(with("keyspace", json!("a\"b")), &["cassandra.keyspace"]);
        check_refused(with("keyspace", json!(null)), &["cassandra.keyspace", "missing"]);
        check_refused(with("password", json!(["s3cret"])), &["cassandra.password"]);
        check_refused(
            with("connectTimeout", json!("soon")),
            &["cassandra.connectTimeout", "10s"],
        );
        check_refused(
            with("consistency", json!({"default": {"consistency": "SOME"}})),
            &["'SOME'", "LOCAL_QUORUM"],
        );
        check_refused(
            with("tls", json!({"enabled": true, "caFile": "/x", "caData": "s3cret"})),
            &["caData", "caFile"],
        );
        check_refused(
            with("addressTranslator", json!({"translator": "other"})),
            &["'other'", "fixed-address-translator"],
        );
        check_refused(
            with("addressTranslator", json!({"translator": "fixed-address-translator"})),
            &["advertised-hostname"],
        );
    }
}
