//! `cargo xtask servers` with a Go, a Java, a Maven and a pip of our own making: what it makes, what it leaves alone, and
//! what it says.

mod go;
mod jvm;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
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

/// Unpacks "the package" as pip does, with a newer Go in it, and notes that it was asked.
const PIP: &str = r#"#!/bin/sh
while [ "$1" != --target ]; do shift; done
echo pip >>"$FAKE_LOG"
mkdir -p "$2/go/bin"
printf '#!/bin/sh\nFAKE_VERSION=1.27.3 exec "$CROSSFADE_GO" "$@"\n' >"$2/go/bin/go"
chmod +x "$2/go/bin/go"
"#;

/// Answers as Java 17 does.
const JAVA: &str = r#"#!/bin/sh
echo "openjdk version \"$FAKE_JAVA\" 2025-04-15" >&2
"#;

/// Notes what it compiles.
const JAVAC: &str = r#"#!/bin/sh
for source in "$@"; do :; done
echo "javac $(basename "$source")" >>"$FAKE_LOG"
"#;

/// Copies "the jars", notes that it did, and takes long enough that two would overlap if they could.
const MVN: &str = r#"#!/bin/sh
echo mvn >>"$FAKE_LOG"
if [ -n "$FAKE_FAILS" ]; then echo "[ERROR] Could not find artifact"; exit 1; fi
sleep 0.2
grep -q "<artifactId>" pom.xml && touch lib.partial/server.jar
"#;

/// A machine on which nothing is real.
struct Machine {
    folder: TempDir,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir_all(folder.path().join("java/bin")).expect("a folder");
        let machine = Self { folder };
        for (name, script) in [
            ("go", GO),
            ("pip", PIP),
            ("java/bin/java", JAVA),
            ("java/bin/javac", JAVAC),
            ("mvn", MVN),
        ] {
            let path = machine.path(name);
            fs::write(&path, script).expect("the program is written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("and can be run");
        }
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn servers(&self, release: &str, variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        let path = format!("{}:/usr/bin:/bin", self.folder.path().display());
        command
            .args(["servers", "--only", release])
            .env_clear()
            .env("PATH", path);
        command
            .env("CROSSFADE_CACHE", self.path("cache"))
            .env("CROSSFADE_GO", self.path("go"))
            .env("CROSSFADE_JAVA_HOME", self.path("java"))
            .env("CROSSFADE_MVN", self.path("mvn"));
        command
            .env("FAKE_VERSION", "1.26.8")
            .env("FAKE_JAVA", "17.0.15")
            .env("FAKE_LOG", self.path("log"))
            .envs(variables.iter().copied());
        command
    }

    /// What was made, one line each.
    fn made(&self) -> Vec<String> {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
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
