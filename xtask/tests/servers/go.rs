//! What is built with Go.

use std::fs;
use std::path::Path;

use super::{Machine, fails, succeeds};

/// The smallest release: one program.
const TCTL: &str = "tctl-1.18.0";

#[test]
fn what_is_missing_is_built_once_even_when_two_ask_at_once() {
    let machine = Machine::new();
    let children: Vec<_> = (0..3)
        .map(|_| machine.servers(TCTL, &[]).spawn().expect("it runs"))
        .collect();
    for mut child in children {
        assert!(child.wait().expect("it ends").success());
    }
    assert_eq!(machine.made().len(), 1);
    let path = machine.path("cache/servers/tctl-1.18.0/bin/tctl");
    assert_eq!(
        succeeds(&mut machine.servers(TCTL, &[])),
        format!("tctl 1.18.0\t{}\n", path.display())
    );
    assert_eq!(machine.made().len(), 1);
}

#[test]
fn an_interrupted_build_is_begun_anew() {
    let machine = Machine::new();
    let release = machine.path("cache/servers/tctl-1.18.0");
    fs::create_dir_all(release.join("module.partial")).expect("a folder");
    fs::create_dir_all(release.join("bin")).expect("a folder");
    fs::write(release.join("bin/tctl.partial"), "half a program").expect("a file");
    succeeds(&mut machine.servers(TCTL, &[]));
    assert_eq!(machine.made().len(), 1);
    assert!(!release.join("module.partial").exists() && !release.join("bin/tctl.partial").exists());
}

#[test]
fn a_binary_that_is_named_is_used_as_it_is() {
    let machine = Machine::new();
    let mine = machine.path("my-tctl");
    fs::write(&mine, "").expect("a file");
    let named = mine.to_string_lossy().into_owned();
    assert!(succeeds(&mut machine.servers(TCTL, &[("CROSSFADE_TCTL", &named)])).contains(&named));
    assert_eq!(machine.made().len(), 0);
    let said = fails(&mut machine.servers(TCTL, &[("CROSSFADE_TCTL", "/no/such/tctl")]));
    assert!(
        said.contains("CROSSFADE_TCTL is /no/such/tctl, which is not a file"),
        "{said}"
    );
}

#[test]
fn without_a_go_that_builds_it_the_choices_are_named() {
    let machine = Machine::new();
    for (variables, reason) in [
        (
            [("CROSSFADE_GO", "/no/go")],
            "CROSSFADE_GO is /no/go, which is not a Go that runs",
        ),
        ([("FAKE_VERSION", "1.19.8")], "is Go 1.19.8"),
    ] {
        let said = fails(&mut machine.servers(TCTL, &variables));
        for part in [
            reason,
            "install Go 1.21.0 or newer",
            "put tctl 1.18.0 on PATH",
            "set CROSSFADE_TCTL=",
        ] {
            assert!(said.contains(part), "expected `{part}` in: {said}");
        }
    }
    assert_eq!(machine.made().len(), 0);
}

#[test]
fn a_failed_build_says_what_go_said_and_leaves_nothing() {
    let machine = Machine::new();
    let said = fails(&mut machine.servers(TCTL, &[("FAKE_FAILS", "1")]));
    assert!(said.contains("undefined: everything"), "{said}");
    assert!(!Path::new(&machine.path("cache/servers/tctl-1.18.0/bin/tctl")).exists());
}

#[test]
fn an_unknown_release_is_refused_with_the_known_ones() {
    let machine = Machine::new();
    let said = fails(&mut machine.servers("1.99.0", &[]));
    assert!(said.contains("1.30.8, 1.23.1, tctl-1.18.0, 1.21.6"), "{said}");
}

#[test]
fn a_release_that_needs_a_newer_go_gets_one() {
    let machine = Machine::new();
    let said = succeeds(&mut machine.servers("1.32.2", &[]));
    assert!(said.contains("temporal-server 1.32.2"), "{said}");
    assert!(machine.path("cache/servers/go-1.27.3/go/bin/go").is_file());
    let made = machine.made();
    assert_eq!(made.iter().filter(|line| *line == "pip").count(), 1, "{made:?}");
    assert_eq!(made.len(), 4, "{made:?}");
    // A machine whose own Go is new enough is left alone.
    let machine = Machine::new();
    succeeds(&mut machine.servers("1.32.2", &[("FAKE_VERSION", "1.26.10")]));
    assert!(!machine.made().contains(&"pip".to_owned()));
}
