//! The file layer on a real file system: replaced in one step, kept, restored, and none of it twice or half.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crossfade_config::{
    FileError, Restored, Written, check_writable, forget, kept_copy, read, rendered_from, restore, sha256,
    write_if_unchanged,
};

const ID: &str = "visibility-migration-1";
const BEFORE: &[u8] = b"a: 1\r\n# caf\xc3\xa9";
const AFTER: &[u8] = b"a: 2\n";

struct Folder {
    _dir: tempfile::TempDir,
    file: PathBuf,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("production.yaml");
        fs::write(&file, BEFORE).expect("written");
        fs::set_permissions(&file, Permissions::from_mode(0o640)).expect("mode");
        Self {
            file: fs::canonicalize(&file).expect("a path"),
            _dir: dir,
        }
    }

    fn kept(&self, name: &str) -> PathBuf {
        self.file.with_file_name(".crossfade").join(ID).join(name)
    }

    fn temp(&self) -> PathBuf {
        self.file.with_file_name(".production.yaml.crossfade.tmp")
    }

    fn write(&self, expected: &[u8], new: &[u8]) -> Result<Written, FileError> {
        write_if_unchanged(&self.file, &sha256(expected), new, ID)
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.file).expect("read")
    }

    /// Nothing stands beside the file but what is kept.
    fn assert_tidy(&self) {
        let folder = self.file.parent().expect("a folder");
        for entry in fs::read_dir(folder).expect("read") {
            let name = entry.expect("an entry").file_name();
            assert!(
                name == "production.yaml" || name == ".crossfade",
                "{name:?} is left behind"
            );
        }
    }
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).expect("metadata").modified().expect("a time")
}

fn set_modified(path: &Path, time: SystemTime) {
    fs::File::options()
        .write(true)
        .open(path)
        .expect("open")
        .set_modified(time)
        .expect("dated");
}

#[test]
fn replaces_and_restores_byte_for_byte() {
    let folder = Folder::new();
    let before = read(&folder.file).expect("read");
    assert_eq!(
        (before.bytes.as_slice(), before.sha256.as_str(), before.mode),
        (BEFORE, sha256(BEFORE).as_str(), 0o640)
    );
    assert!(!format!("{before:?}").contains("caf"));

    assert_eq!(folder.write(BEFORE, AFTER).expect("written"), Written::Written);
    let after = read(&folder.file).expect("read");
    assert_eq!(
        (after.bytes.as_slice(), after.mode, after.uid, after.gid),
        (AFTER, 0o640, before.uid, before.gid)
    );
    assert!(after.modified > before.modified);
    assert_eq!(fs::read(folder.kept("production.yaml.original")).expect("kept"), BEFORE);
    let kept = fs::metadata(folder.kept("production.yaml.original")).expect("kept");
    assert_eq!(kept.mode() & 0o7777, 0o640);
    assert_eq!(fs::metadata(folder.kept("")).expect("folder").mode() & 0o7777, 0o700);
    let journal = fs::read_to_string(folder.kept("production.yaml.journal.json")).expect("journal");
    assert!(journal.contains(&sha256(BEFORE)) && journal.contains(&sha256(AFTER)));
    folder.assert_tidy();

    fs::set_permissions(&folder.file, Permissions::from_mode(0o600)).expect("mode");
    assert_eq!(restore(&folder.file, ID).expect("restored"), Restored::Restored);
    let restored = read(&folder.file).expect("read");
    assert_eq!((restored.bytes.as_slice(), restored.mode), (BEFORE, 0o640));
    assert!(restored.modified > after.modified);
    folder.assert_tidy();
}

#[test]
fn each_step_may_be_repeated() {
    let folder = Folder::new();
    assert_eq!(folder.write(BEFORE, AFTER).expect("written"), Written::Written);
    let first = modified(&folder.file);
    assert_eq!(folder.write(BEFORE, AFTER).expect("again"), Written::AlreadyThere);
    assert_eq!(modified(&folder.file), first, "the server would reload for nothing");
    assert_eq!(folder.write(AFTER, b"a: 3\n").expect("written"), Written::Written);
    assert_eq!(restore(&folder.file, ID).expect("restored"), Restored::Restored);
    assert_eq!(restore(&folder.file, ID).expect("again"), Restored::AlreadyOriginal);
    // Forward, back and forward again with one migration.
    assert_eq!(folder.write(BEFORE, AFTER).expect("written"), Written::Written);
    assert_eq!(restore(&folder.file, ID).expect("restored"), Restored::Restored);
    assert_eq!(folder.bytes(), BEFORE);
}

#[test]
fn what_was_never_written_is_left_alone() {
    let folder = Folder::new();
    assert_eq!(restore(&folder.file, ID).expect("fine"), Restored::NeverWritten);
    assert_eq!(folder.write(BEFORE, BEFORE).expect("fine"), Written::AlreadyThere);
    assert_eq!(restore(&folder.file, ID).expect("fine"), Restored::NeverWritten);
    assert!(!folder.kept("").exists());
}

#[test]
fn a_write_from_another_content_is_refused() {
    let folder = Folder::new();
    let error = folder.write(b"something else", AFTER).expect_err("a refusal");
    assert!(matches!(error, FileError::Changed { .. }), "{error}");
    assert_eq!(folder.bytes(), BEFORE);
    assert!(!folder.kept("").exists());
}

#[test]
fn a_change_by_someone_else_is_never_thrown_away() {
    let folder = Folder::new();
    folder.write(BEFORE, AFTER).expect("written");
    fs::write(&folder.file, "a: 2 # by hand\n").expect("edited");
    let error = restore(&folder.file, ID).expect_err("a refusal");
    assert!(matches!(error, FileError::Conflict { .. }), "{error}");
    // The migration goes on from there, but the way back stays closed: it would lose the edit.
    folder.write(b"a: 2 # by hand\n", b"a: 3 # by hand\n").expect("written");
    assert!(matches!(restore(&folder.file, ID), Err(FileError::Conflict { .. })));
    assert_eq!(folder.bytes(), b"a: 3 # by hand\n");
    // Taken back by hand to something of ours, it opens again.
    fs::write(&folder.file, AFTER).expect("edited");
    assert_eq!(restore(&folder.file, ID).expect("restored"), Restored::Restored);
}

#[test]
fn the_modification_time_is_later_even_than_one_in_the_future() {
    let folder = Folder::new();
    let future = SystemTime::now() + Duration::from_secs(7 * 24 * 3600);
    set_modified(&folder.file, future);
    folder.write(BEFORE, AFTER).expect("written");
    let written = modified(&folder.file);
    assert!(written > future);
    restore(&folder.file, ID).expect("restored");
    assert!(modified(&folder.file) > written);
}

#[test]
fn symbolic_links_stay_links() {
    let folder = Folder::new();
    let other = tempfile::tempdir().expect("a folder");
    let (near, far) = (other.path().join("near.yaml"), other.path().join("far.yaml"));
    symlink(&folder.file, &near).expect("a link");
    symlink("near.yaml", &far).expect("a link");
    write_if_unchanged(&far, &sha256(BEFORE), AFTER, ID).expect("written");
    assert_eq!(read(&far).expect("read").real_path, folder.file);
    assert_eq!(fs::read_link(&far).expect("a link"), Path::new("near.yaml"));
    assert_eq!(fs::read_link(&near).expect("a link"), folder.file);
    assert_eq!(folder.bytes(), AFTER);
    assert!(folder.kept("production.yaml.original").exists());
    assert_eq!(restore(&near, ID).expect("restored"), Restored::Restored);
    assert_eq!(folder.bytes(), BEFORE);
}

#[test]
fn what_cannot_be_replaced_is_refused_before_anything_is_written() {
    let refused = |folder: &Folder| {
        let error = folder.write(BEFORE, AFTER).expect_err("a refusal");
        assert_eq!(
            check_writable(&folder.file).expect_err("a refusal").to_string(),
            error.to_string()
        );
        assert_eq!(folder.bytes(), BEFORE);
        assert!(!folder.kept("").exists());
        error
    };
    let read_only = Folder::new();
    fs::set_permissions(&read_only.file, Permissions::from_mode(0o440)).expect("mode");
    assert!(matches!(
        refused(&read_only),
        FileError::ReadOnly { what: "the file", .. }
    ));

    let read_only = Folder::new();
    let parent = read_only.file.parent().expect("a folder").to_path_buf();
    fs::set_permissions(&parent, Permissions::from_mode(0o555)).expect("mode");
    let error = refused(&read_only);
    fs::set_permissions(&parent, Permissions::from_mode(0o755)).expect("mode");
    assert!(matches!(error, FileError::ReadOnly { what: "its folder", .. }));

    let linked = Folder::new();
    fs::hard_link(&linked.file, linked.file.with_file_name("other-name")).expect("a link");
    assert!(matches!(refused(&linked), FileError::HardLinked { links: 2, .. }));

    let writable = Folder::new();
    check_writable(&writable.file).expect("fine");
    writable.assert_tidy();

    let folder = Folder::new();
    for id in ["", "..", ".hidden", "a/b", "a b", &"x".repeat(129)] {
        let error = write_if_unchanged(&folder.file, &sha256(BEFORE), AFTER, id).expect_err("a refusal");
        assert!(matches!(error, FileError::MigrationId { .. }), "{error}");
    }
    let missing = folder.file.with_file_name("missing.yaml");
    assert!(matches!(read(&missing), Err(FileError::NotFound { .. })));
    assert!(matches!(restore(&missing, ID), Err(FileError::NotFound { .. })));
    assert!(matches!(
        read(folder.file.parent().expect("a folder")),
        Err(FileError::NotAFile { .. })
    ));
    assert!(matches!(read("/dev/zero"), Err(FileError::NotAFile { .. })));
    fs::File::create(&missing)
        .expect("a file")
        .set_len(32 << 20)
        .expect("a size");
    assert!(matches!(read(&missing), Err(FileError::TooLarge { .. })));
}

/// Only root can make these cases, and they are about another user: the test starts itself again as nobody.
#[test]
fn another_users_files_are_refused_before_anything_is_written() {
    const FILE: &str = "CROSSFADE_TEST_FILE_OF_ANOTHER_USER";
    if let Some(file) = std::env::var_os(FILE) {
        let error = write_if_unchanged(&file, &sha256(BEFORE), AFTER, ID).expect_err("a refusal");
        fs::write(Path::new(&file).with_extension("said"), error.to_string()).expect("told");
        return;
    }
    let folder = Folder::new();
    if fs::metadata(&folder.file).expect("metadata").uid() != 0 {
        return;
    }
    let parent = folder.file.parent().expect("a folder");
    fs::set_permissions(parent, Permissions::from_mode(0o777)).expect("mode");
    let program = parent.join("again");
    fs::copy(std::env::current_exe().expect("a path"), &program).expect("copied");
    fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("mode");
    for (mode, expected) in [
        (0o666, "belongs to user 0, group 0"),
        (0o644, "the file is read-only for this process"),
    ] {
        fs::set_permissions(&folder.file, Permissions::from_mode(mode)).expect("mode");
        let mut again = std::process::Command::new(&program);
        again.args(["--exact", "another_users_files_are_refused_before_anything_is_written"]);
        let output = again
            .env(FILE, &folder.file)
            .current_dir(parent)
            .uid(65534)
            .gid(65534)
            .output()
            .expect("started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let said = folder.file.with_extension("said");
        let error = fs::read_to_string(&said).expect("told");
        fs::remove_file(&said).expect("removed");
        assert!(error.contains(expected), "{error}");
        assert_eq!(folder.bytes(), BEFORE);
        assert!(!folder.kept("").exists());
    }
    fs::remove_file(program).expect("removed");
    folder.assert_tidy();
}

#[test]
fn a_damaged_copy_is_never_restored() {
    let folder = Folder::new();
    assert_eq!(kept_copy(&folder.file, ID).expect("fine"), None);
    folder.write(BEFORE, AFTER).expect("written");
    assert_eq!(kept_copy(&folder.file, ID).expect("kept").as_deref(), Some(BEFORE));
    fs::write(folder.kept("production.yaml.original"), "damaged").expect("written");
    assert!(matches!(restore(&folder.file, ID), Err(FileError::KeptDamaged { .. })));
    assert!(matches!(
        folder.write(AFTER, b"a: 3\n"),
        Err(FileError::KeptDamaged { .. })
    ));
    fs::write(folder.kept("production.yaml.journal.json"), "{").expect("written");
    assert!(matches!(restore(&folder.file, ID), Err(FileError::KeptDamaged { .. })));
    assert_eq!(folder.bytes(), AFTER);
}

/// What a killed process can leave behind, in the order of its steps. Each is followed by the same write or by a
/// restore, as the retried activity would.
#[test]
fn a_crash_at_any_step_is_survived() {
    type Crash = fn(&Folder);
    let crashes: [(&str, Crash); 7] = [
        ("folders made", |f| fs::create_dir_all(f.kept("")).expect("folders")),
        ("copy half written", |f| {
            fs::create_dir_all(f.kept("")).expect("folders");
            fs::write(f.kept("production.yaml.original.tmp"), &BEFORE[..3]).expect("written");
        }),
        ("copy kept, no journal", |f| {
            fs::create_dir_all(f.kept("")).expect("folders");
            fs::write(f.kept("production.yaml.original"), "an older content").expect("written");
        }),
        ("journal half written", |f| {
            f.write(BEFORE, AFTER).expect("written");
            restore(&f.file, ID).expect("restored");
            fs::write(f.kept("production.yaml.journal.json.tmp"), "{").expect("written");
        }),
        ("write recorded, not done", |f| {
            f.write(BEFORE, AFTER).expect("written");
            fs::write(&f.file, BEFORE).expect("as before the rename");
        }),
        ("temporary file half written", |f| {
            f.write(BEFORE, AFTER).expect("written");
            fs::write(&f.file, BEFORE).expect("as before the rename");
            fs::write(f.temp(), &AFTER[..2]).expect("written");
            fs::set_permissions(f.temp(), Permissions::from_mode(0o400)).expect("mode");
        }),
        ("renamed, answer lost", |f| {
            f.write(BEFORE, AFTER).expect("written");
        }),
    ];
    for (step, crash) in crashes {
        let folder = Folder::new();
        crash(&folder);
        let retried = folder.write(BEFORE, AFTER).unwrap_or_else(|e| panic!("{step}: {e}"));
        assert_eq!(
            retried == Written::AlreadyThere,
            step == "renamed, answer lost",
            "{step}"
        );
        assert_eq!(folder.bytes(), AFTER, "{step}");
        folder.assert_tidy();
        assert_eq!(
            restore(&folder.file, ID).unwrap_or_else(|e| panic!("{step}: {e}")),
            Restored::Restored
        );
        assert_eq!(folder.bytes(), BEFORE, "{step}");

        let folder = Folder::new();
        crash(&folder);
        let back = restore(&folder.file, ID).unwrap_or_else(|e| panic!("{step}: {e}"));
        assert_eq!(
            back == Restored::Restored,
            step == "renamed, answer lost",
            "{step}: {back:?}"
        );
        assert_eq!(folder.bytes(), BEFORE, "{step}");
    }
}

#[test]
fn a_crash_while_restoring_is_survived() {
    let folder = Folder::new();
    folder.write(BEFORE, AFTER).expect("written");
    fs::write(folder.temp(), &BEFORE[..2]).expect("written");
    assert_eq!(restore(&folder.file, ID).expect("restored"), Restored::Restored);
    folder.assert_tidy();
}

#[test]
fn writers_at_the_same_time_do_not_overwrite_each_other() {
    let folder = Folder::new();
    let outcomes: Vec<Result<Written, FileError>> = std::thread::scope(|scope| {
        let write = |i: usize| {
            let file = &folder.file;
            scope.spawn(move || write_if_unchanged(file, &sha256(BEFORE), format!("a: {i}\n").as_bytes(), ID))
        };
        let writers: Vec<_> = (10..18).map(write).collect();
        writers.into_iter().map(|w| w.join().expect("joined")).collect()
    });
    let written: Vec<usize> = (0..8)
        .filter(|i| matches!(outcomes[*i], Ok(Written::Written)))
        .collect();
    assert_eq!(written.len(), 1, "{outcomes:?}");
    assert_eq!(folder.bytes(), format!("a: {}\n", written[0] + 10).as_bytes());
    assert!(
        outcomes
            .iter()
            .filter(|o| o.is_err())
            .all(|o| matches!(o, Err(FileError::Changed { .. }))),
        "{outcomes:?}"
    );
    assert_eq!(restore(&folder.file, ID).expect("restored"), Restored::Restored);
    folder.assert_tidy();
}

#[test]
fn files_of_one_folder_and_migrations_of_one_file_are_kept_apart() {
    let folder = Folder::new();
    let other = folder.file.with_file_name("development.yaml");
    fs::write(&other, "b: 1\n").expect("written");
    folder.write(BEFORE, AFTER).expect("written");
    write_if_unchanged(&other, &sha256(b"b: 1\n"), b"b: 2\n", ID).expect("written");
    write_if_unchanged(&folder.file, &sha256(AFTER), b"a: 3\n", "another").expect("written");
    assert_eq!(restore(&folder.file, "another").expect("restored"), Restored::Restored);
    assert_eq!(folder.bytes(), AFTER);
    assert_eq!(restore(&folder.file, ID).expect("restored"), Restored::Restored);
    assert_eq!(restore(&other, ID).expect("restored"), Restored::Restored);
    assert_eq!(fs::read(&other).expect("read"), b"b: 1\n");
    forget(&folder.file, ID).expect("forgotten");
    assert!(folder.kept("development.yaml.original").exists());
    forget(&other, ID).expect("forgotten");
    forget(&folder.file, "another").expect("forgotten");
    forget(&folder.file, "another").expect("again");
    assert!(!folder.file.with_file_name(".crossfade").exists());
    assert_eq!(restore(&folder.file, ID).expect("fine"), Restored::NeverWritten);
}

#[test]
fn a_file_that_is_rendered_beside_its_template_is_known() {
    let folder = Folder::new();
    let (docker, template) = (
        folder.file.with_file_name("docker.yaml"),
        folder.file.with_file_name("config_template.yaml"),
    );
    fs::copy(&folder.file, &docker).expect("copied");
    assert_eq!(rendered_from(&docker), None, "nothing to render it from");
    fs::write(&template, "a: {{ .Env.A }}\n").expect("written");
    assert_eq!(rendered_from(&docker), Some(template));
    assert_eq!(rendered_from(&folder.file), None, "mounted beside the image's own");
}
