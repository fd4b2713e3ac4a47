//! What is fetched with Maven.

use std::fs;

use super::{Machine, fails, succeeds};

const OPENSEARCH: &str = "opensearch-2.19.1";

#[test]
fn what_is_missing_is_fetched_once_even_when_two_ask_at_once() {
    let machine = Machine::new();
    let children: Vec<_> = (0..3)
        .map(|_| machine.servers(OPENSEARCH, &[]).spawn().expect("it runs"))
        .collect();
    for mut child in children {
        assert!(child.wait().expect("it ends").success());
    }
    assert_eq!(machine.made(), ["mvn", "javac OpenSearchNode.java"]);
    let folder = machine.path("cache/servers/opensearch-2.19.1");
    assert!(folder.join("lib/server.jar").is_file());
    assert_eq!(
        succeeds(&mut machine.servers(OPENSEARCH, &[])),
        format!("OpenSearch 2.19.1\t{}\n", folder.display())
    );
    assert_eq!(machine.made().len(), 2);
}

#[test]
fn a_server_with_a_main_class_of_its_own_needs_no_compiler() {
    let machine = Machine::new();
    succeeds(&mut machine.servers("cassandra-5.0.9", &[]));
    assert_eq!(machine.made(), ["mvn"]);
}

#[test]
fn an_interrupted_fetch_is_begun_anew_and_an_old_class_compiled_anew() {
    let machine = Machine::new();
    let folder = machine.path("cache/servers/opensearch-2.19.1");
    fs::create_dir_all(folder.join("lib.partial")).expect("a folder");
    fs::write(folder.join("lib.partial/half.jar"), "half").expect("a file");
    succeeds(&mut machine.servers(OPENSEARCH, &[]));
    assert!(!folder.join("lib/half.jar").exists());
    fs::write(folder.join("classes/OpenSearchNode.java"), "another").expect("a file");
    succeeds(&mut machine.servers(OPENSEARCH, &[]));
    assert_eq!(
        machine.made(),
        ["mvn", "javac OpenSearchNode.java", "javac OpenSearchNode.java"]
    );
}

#[test]
fn what_is_lacking_is_named_with_what_to_install() {
    let machine = Machine::new();
    for (variables, reason) in [
        (
            [("CROSSFADE_JAVA_HOME", "/no/java")],
            "/no/java/bin/java is no Java that runs",
        ),
        ([("FAKE_JAVA", "21.0.2")], "has Java 21 in it, Java 17 is needed"),
        ([("CROSSFADE_MVN", "/no/mvn")], "cannot run /no/mvn"),
    ] {
        let said = fails(&mut machine.servers(OPENSEARCH, &variables));
        for part in [reason, "`apt-get install openjdk-17-jdk-headless maven`"] {
            assert!(said.contains(part), "expected `{part}` in: {said}");
        }
    }
    assert!(machine.made().is_empty());
}

#[test]
fn a_failed_fetch_says_what_maven_said_and_leaves_nothing() {
    let machine = Machine::new();
    let said = fails(&mut machine.servers(OPENSEARCH, &[("FAKE_FAILS", "1")]));
    assert!(said.contains("Could not find artifact"), "{said}");
    assert!(!machine.path("cache/servers/opensearch-2.19.1/lib").exists());
}

#[test]
fn a_folder_that_is_named_is_used_as_it_is() {
    let machine = Machine::new();
    succeeds(&mut machine.servers(OPENSEARCH, &[]));
    let mine = machine.path("mine");
    fs::rename(machine.path("cache/servers/opensearch-2.19.1"), &mine).expect("the folder moves");
    let named = mine.to_string_lossy().into_owned();
    assert!(succeeds(&mut machine.servers(OPENSEARCH, &[("CROSSFADE_OPENSEARCH", &named)])).contains(&named));
    assert_eq!(machine.made().len(), 2);
    let said = fails(&mut machine.servers(OPENSEARCH, &[("CROSSFADE_OPENSEARCH", "/no/such")]));
    assert!(
        said.contains("CROSSFADE_OPENSEARCH is /no/such, which is no OpenSearch 2.19.1"),
        "{said}"
    );
}
