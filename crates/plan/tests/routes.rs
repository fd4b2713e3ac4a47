//! Which way is open for which pair on which server, as one table.

use crossfade_plan::{
    problem::Code,
    route::{Kind, Route, Version, open},
};

const KINDS: [Kind; 4] = [Kind::Sql, Kind::StandardSql, Kind::Elasticsearch, Kind::Cassandra];

fn version(text: &str) -> Version {
    Version::parse(text).expect("a version")
}

#[test]
fn every_pair_on_every_server() {
    let mut table = Vec::new();
    for source in KINDS {
        for target in KINDS {
            // The answer to a pair is the same on every server that has Dual Visibility at all.
            let answers: Vec<String> = ["1.21.0", "1.23.1", "1.24.0", "1.27.3", "1.28.0", "1.30.8", "1.32.2"]
                .into_iter()
                .map(|text| match open(source, target, version(text)) {
                    Ok(route) => route.to_string(),
                    Err(problem) => {
                        assert_eq!(problem.code, Code::PairUnsupported);
                        assert_eq!(problem.place.as_deref(), Some("target.datastore"));
                        assert!(problem.message.contains(text), "{problem}");
                        problem.message.replace(text, "V")
                    }
                })
                .collect();
            assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:#?}");
            table.push(format!("{source:?} -> {target:?}: {}", answers[0]));
        }
    }
    insta::assert_snapshot!(table.join("\n"));
}

#[test]
fn a_server_without_dual_visibility_is_too_old_for_every_pair() {
    for text in ["1.20.9", "1.20.99", "0.30.0", "1.4.4"] {
        for source in KINDS {
            for target in KINDS {
                let problem = open(source, target, version(text)).unwrap_err();
                assert_eq!(problem.code, Code::ServerTooOld);
                assert!(
                    problem.message.contains(text) && problem.message.contains("1.21.0"),
                    "{problem}"
                );
            }
        }
    }
    assert_eq!(open(Kind::Sql, Kind::Sql, Version::OLDEST), Ok(Route::Dual));
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
