//! Which way is open for which pair on which server, as one table.

use crossfade_plan::{
    problem::Code,
    route::{
        Answer, Form, Kind, Pair, Place, Route, Server, Version, cell, listing, markdown, open, pairs, spans,
        whole_listing,
    },
};
use serde_json::{Value, json};

/// A release of each minor version, and those between which something changes.
const VERSIONS: [&str; 19] = [
    "1.21.0", "1.21.6", "1.22.1", "1.22.2", "1.23.1", "1.24.0", "1.24.3", "1.25.1", "1.26.0", "1.26.2", "1.27.3",
    "1.28.0", "1.29.3", "1.29.4", "1.30.0", "1.30.1", "1.30.8", "1.31.2", "1.32.2",
];

fn version(text: &str) -> Version {
    Version::parse(text).expect("a version")
}

fn every_pair() -> Vec<Pair> {
    let two = |source| Kind::ALL.map(|target| Pair::new(source, target));
    let mut pairs: Vec<Pair> = Kind::ALL.into_iter().flat_map(two).collect();
    pairs.push(Pair::indices());
    pairs
}

#[test]
fn every_pair_on_every_server() {
    let mut table = Vec::new();
    for pair in pairs() {
        for text in VERSIONS {
            let server = cell(pair, version(text)).server.words();
            let crossfade = match open(pair, version(text)) {
                Ok(way) => {
                    let carries: Vec<&str> = way.carries().iter().map(|carry| carry.words()).collect();
                    let warm = if way.can_keep_warm() { ", and back" } else { "" };
                    format!("{} by {}{warm}; {}", way.route, way.form, carries.join(", "))
                }
                Err(problem) => {
                    assert_eq!(problem.code, Code::PairUnsupported);
                    assert_eq!(problem.place.as_deref(), Some("target.datastore"));
                    assert!(problem.message.contains(text), "{problem}");
                    "refused".to_owned()
                }
            };
            table.push(format!("{pair}, {text}: {server}: {crossfade}"));
        }
    }
    insta::assert_snapshot!(table.join("\n"));
}

#[test]
fn the_table_has_each_pair_once_and_its_spans_in_order() {
    let listed: Vec<Pair> = pairs().collect();
    assert_eq!(listed.len(), every_pair().len());
    for pair in every_pair() {
        assert_eq!(listed.iter().filter(|known| **known == pair).count(), 1, "{pair}");
        let spans = spans(pair);
        assert_eq!(spans[0].from, 21, "{pair}");
        assert!(
            spans
                .windows(2)
                .all(|two| two[0].from < two[1].from && two[0] != two[1]),
            "{pair}"
        );
        // What Crossfade opens, the server must accept.
        for span in spans {
            assert!(
                matches!(span.answer, Answer::Refused(_)) || span.server == Server::Accepts,
                "{pair}"
            );
        }
    }
}

/// What must be known, by pair and version.
#[test]
fn traps_by_version() {
    let mut lines = Vec::new();
    for pair in pairs() {
        for text in VERSIONS {
            let Ok(way) = open(pair, version(text)) else { continue };
            let names: Vec<&str> = way.traps().map(|trap| trap.name).collect();
            lines.push(format!("{pair}, {text}: {}", names.join(" ")));
        }
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_server_without_dual_visibility_is_too_old_for_every_pair() {
    for text in ["1.20.9", "1.20.99", "0.30.0", "1.4.4"] {
        for pair in every_pair() {
            let problem = open(pair, version(text)).unwrap_err();
            assert_eq!(problem.code, Code::ServerTooOld);
            assert!(
                problem.message.contains(text) && problem.message.contains("1.21.0"),
                "{problem}"
            );
        }
    }
    let way = open(Pair::new(Kind::Sql, Kind::Sql), Version::OLDEST).expect("open");
    assert_eq!((way.route, way.form), (Route::Dual, Form::SecondaryStore));
}

#[test]
fn a_refusal_says_which_version_would_allow_the_pair() {
    let refused = |pair, text| open(pair, version(text)).unwrap_err();
    let cassandra = refused(Pair::new(Kind::Cassandra, Kind::Elasticsearch), "1.25.1");
    assert!(cassandra.remedy.contains("1.21, 1.22 or 1.23"), "{cassandra}");
    let elsewhere = refused(Pair::new(Kind::Elasticsearch, Kind::Elasticsearch), "1.27.3");
    assert!(elsewhere.remedy.contains("1.28"), "{elsewhere}");
}

#[test]
fn two_elasticsearch_entries_are_in_one_cluster_when_only_their_indices_differ() {
    let entry = |change: fn(&mut Value)| {
        let mut entry = json!({"elasticsearch": {
            "version": "v7", "url": {"scheme": "http", "host": "127.0.0.1:9200"}, "username": "temporal",
            "password": "s3cret", "indices": {"visibility": "one"}, "closeIdleConnectionsInterval": "15s",
        }});
        change(&mut entry["elasticsearch"]);
        entry
    };
    let source = entry(|_| ());
    let place = |change: fn(&mut Value)| Place::of(&source, &entry(change));
    for same in [
        |entry: &mut Value| entry["indices"] = json!({"visibility": "two"}),
        |entry: &mut Value| entry["enableSniff"] = json!(false),
        |entry: &mut Value| entry["logLevel"] = json!(""),
        |entry: &mut Value| entry["tls"] = json!(null),
        |entry: &mut Value| entry["aws-request-signing"] = json!({"enabled": false}),
    ] {
        assert_eq!(place(same), Place::SameCluster);
    }
    for other in [
        |entry: &mut Value| entry["url"]["host"] = json!("127.0.0.1:9201"),
        |entry: &mut Value| entry["password"] = json!("another"),
        |entry: &mut Value| entry["enableSniff"] = json!(true),
        |entry: &mut Value| entry["tls"] = json!({"enabled": true}),
    ] {
        assert_eq!(place(other), Place::Elsewhere);
    }
    let sql = json!({"sql": {"pluginName": "postgres12"}});
    assert_eq!(Place::of(&sql, &sql), Place::Elsewhere);
    assert_eq!(Pair::of(&source, &source), Some(Pair::indices()));
    assert_eq!(Pair::of(&sql, &source), Some(Pair::new(Kind::Sql, Kind::Elasticsearch)));
    assert_eq!(Pair::of(&sql, &json!({"customDatastore": {}})), None);
}

/// What real servers did, as `tests/routes` wrote it down.
const CHECKED: &str = include_str!("../../../tests/routes/checked.tsv");

#[test]
fn the_page_of_the_documentation_is_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/routes.md");
    let wanted = markdown(CHECKED);
    if std::fs::read_to_string(path).is_ok_and(|page| page == wanted) {
        return;
    }
    std::fs::write(path, wanted).expect("docs/routes.md can be written");
    panic!("docs/routes.md was not what the code says; it has been written anew: look at the change and keep it");
}

#[test]
fn the_table_for_programs_has_every_pair() {
    let one = listing(version("1.23.1"));
    let of_one = one["pairs"].as_array().expect("a list");
    assert_eq!(of_one.len(), every_pair().len());
    let reference = &of_one[0];
    assert_eq!(
        (
            &reference["pair"],
            &reference["route"],
            &reference["form"],
            &reference["keep_warm"]
        ),
        (
            &json!("Cassandra to Elasticsearch"),
            &json!("dual"),
            &json!("secondary-store"),
            &json!(false)
        )
    );
    assert_eq!(
        reference["existing_records"],
        json!(["refresh", "insert-if-absent", "wait"])
    );
    assert!(reference["traps"].as_array().is_some_and(|traps| traps.len() > 3));
    let whole = whole_listing();
    let spans = &whole["pairs"][0];
    assert_eq!(
        (&spans[0]["from"], &spans[0]["before"]),
        (&json!("1.21"), &json!("1.24"))
    );
    assert_eq!(spans[2]["before"], json!(null));
}

#[test]
fn versions_as_servers_write_them() {
    for (text, expected) in [
        ("1.30.8", "1.30.8"),
        ("v1.30.8", "1.30.8"),
        (" 1.30.8\n", "1.30.8"),
        ("1.31.0-rc1", "1.31.0"),
        ("1.31.0+build.5", "1.31.0"),
        ("1.31", "1.31.0"),
    ] {
        assert_eq!(version(text).to_string(), expected);
    }
    for text in ["", "1", "one.two", "1.x.3", "1.30.eight", "-1.30", "1.99999999999"] {
        assert_eq!(Version::parse(text), None, "{text}");
    }
    assert!(version("1.9.0") < version("1.21.0"));
}

#[test]
fn kinds_by_section_and_plugin() {
    for (section, plugin, kind) in [
        ("sql", Some("postgres12"), Some(Kind::Sql)),
        ("sql", Some("postgres12_pgx"), Some(Kind::Sql)),
        ("sql", Some("mysql8"), Some(Kind::Sql)),
        ("sql", Some("sqlite"), Some(Kind::Sql)),
        ("sql", Some("postgres"), Some(Kind::StandardSql)),
        ("sql", Some("mysql"), Some(Kind::StandardSql)),
        ("sql", Some("oracle"), None),
        ("sql", None, None),
        ("elasticsearch", None, Some(Kind::Elasticsearch)),
        ("cassandra", None, Some(Kind::Cassandra)),
        ("customDatastore", None, None),
    ] {
        assert_eq!(Kind::of(section, plugin), kind, "{section} {plugin:?}");
    }
}
