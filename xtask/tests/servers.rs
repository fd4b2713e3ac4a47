//! `cargo xtask servers` with a Go of our own making: what it builds, what it leaves alone, and what it says.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// Answers as Go does, notes each build, and takes long enough that two builds would overlap if they could.
const GO: &str = r#"#!/bin/sh
case "$1" in
    env) echo "go$FAKE_VERSION" ;;
    get) echo "downloading" >&2 ;;
    list) pwd ;;
    build)
        echo "$6" >>"$FAKE_LOG"
        if [ -n "$FAKE_FAILS" ]; then echo "undefined: everything" >&2; exit 1; fi
        sleep 0.2
        echo '#!/bin/sh' >"$5"
        chmod +x "$5" ;;
esac
"#;

struct Machine {
    folder: TempDir,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let go = folder.path().join("go");
        fs::write(&go, GO).expect("the fake Go is written");
        fs::set_permissions(&go, fs::Permissions::from_mode(0o755)).expect("and can be run");
        Self { folder }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn servers(&self, variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command
            .args(["servers", "--only", "tctl-1.18.0"])
            .env_clear()
            .env("PATH", "/usr/bin:/bin");
        command
            .env("CROSSFADE_CACHE", self.path("cache"))
            .env("CROSSFADE_GO", self.path("go"));
        command
            .env("FAKE_VERSION", "1.26.8")
            .env("FAKE_LOG", self.path("log"))
            .envs(variables.iter().copied());
        command
    }

    fn builds(&self) -> usize {
        fs::read_to_string(self.path("log")).unwrap_or_default().lines().count()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn succeeds(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("it runs");
    assert!(status.success(), "{}", text(&stderr));
    text(&stdout)
}

fn fails(command: &mut Command) -> String {
    let Output { status, stderr, .. } = command.output().expect("it runs");
    assert!(!status.success());
    text(&stderr)
}

#[test]
fn what_is_missing_is_built_once_even_when_two_ask_at_once() {
    let machine = Machine::new();
    let children: Vec<_> = (0..3).map(|_| machine.servers(&[]).spawn().expect("it runs")).collect();
    for mut child in children {
        assert!(child.wait().expect("it ends").success());
    }
    assert_eq!(machine.builds(), 1);
    let path = machine.path("cache/servers/tctl-1.18.0/bin/tctl");
    assert_eq!(
        succeeds(&mut machine.servers(&[])),
        format!("tctl 1.18.0\t{}\n", path.display())
    );
    assert_eq!(machine.builds(), 1);
}

#[test]
fn an_interrupted_build_is_begun_anew() {
    let machine = Machine::new();
    let release = machine.path("cache/servers/tctl-1.18.0");
    fs::create_dir_all(release.join("module.partial")).expect("a folder");
    fs::create_dir_all(release.join("bin")).expect("a folder");
    fs::write(release.join("bin/tctl.partial"), "half a program").expect("a file");
    succeeds(&mut machine.servers(&[]));
    assert_eq!(machine.builds(), 1);
    assert!(!release.join("module.partial").exists() && !release.join("bin/tctl.partial").exists());
}

#[test]
fn a_binary_that_is_named_is_used_as_it_is() {
    let machine = Machine::new();
    let mine = machine.path("my-tctl");
    fs::write(&mine, "").expect("a file");
    let named = mine.to_string_lossy().into_owned();
    assert!(succeeds(&mut machine.servers(&[("CROSSFADE_TCTL", &named)])).contains(&named));
    assert_eq!(machine.builds(), 0);
    let said = fails(&mut machine.servers(&[("CROSSFADE_TCTL", "/no/such/tctl")]));
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
        let said = fails(&mut machine.servers(&variables));
        for part in [
            reason,
            "install Go 1.21.0 or newer",
            "put tctl 1.18.0 on PATH",
            "set CROSSFADE_TCTL=",
        ] {
            assert!(said.contains(part), "expected `{part}` in: {said}");
        }
    }
    assert_eq!(machine.builds(), 0);
}

#[test]
fn a_failed_build_says_what_go_said_and_leaves_nothing() {
    let machine = Machine::new();
    let said = fails(&mut machine.servers(&[("FAKE_FAILS", "1")]));
    assert!(said.contains("undefined: everything"), "{said}");
    assert!(!Path::new(&machine.path("cache/servers/tctl-1.18.0/bin/tctl")).exists());
}

#[test]
fn an_unknown_release_is_refused_with_the_known_ones() {
    let machine = Machine::new();
    let said = fails(machine.servers(&[]).args(["--only", "1.99.0"]));
    assert!(said.contains("1.30.8, 1.23.1, tctl-1.18.0"), "{said}");
}
