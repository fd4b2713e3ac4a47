//! Diffs are exact, and show no secret.

use crossfade_config::unified_diff;

/// Every `S3CRET` is a secret.
const SECRETS: &str = r#"# password: S3CRET1 and more
persistence:
  datastores:
    a:
      sql:
        user: temporal
        password: &pw "S3CRET2" # as ever
        pass: ""
        connectAddr: db:5432
        tls: {keyData: 'S3CRET3', keyFile: /etc/key, caData: S3CRET4}
    b:
      sql:
        password: *pw
        connectAttributes:
          url: postgres://temporal:S3CRET5@db/x?password=S3CRET2
    c:
      elasticsearch:
        api-key:
          - S3CRET6
          - {id: S3CRET7}
        certData: |
          -----BEGIN S3CRET8-----
            S3CRET9

          -----END-----
        indices: {visibility: v}
    d: { sql: { token: S3CRET10, maxConns: 5 } } # token=S3CRET11
shared: &shared S3CRET12
other: {secretAccessKey: *shared}
mention: it was "S3CRET2" then
"#;

#[test]
fn no_secret_is_shown_in_changed_or_context_lines() {
    let after = SECRETS
        .replace("maxConns: 5", "maxConns: 6")
        .replace("user: temporal", "user: other");
    let after = after.replace("\"S3CRET2\" # as", "\"S3CRET2-changed\" # as");
    let diff = unified_diff("production.yaml", SECRETS, &after);
    assert!(!diff.contains("S3CRET"), "{diff}");
    insta::assert_snapshot!(diff);
    let all = unified_diff("production.yaml", "", SECRETS);
    assert!(!all.contains("S3CRET"), "{all}");
    let all_windows = unified_diff("production.yaml", "", &SECRETS.replace('\n', "\r\n"));
    assert_eq!(all_windows.replace("\r\n", "\n"), all);
    insta::assert_snapshot!("all_secrets_masked", all);
}

#[test]
fn no_secret_of_a_file_that_does_not_parse_is_shown() {
    let broken = format!(
        "{}\nbroken: [\n",
        SECRETS
            .replace("other: {secretAccessKey: *shared}\n", "")
            .replace("&shared S3CRET12", "x")
    );
    let all = unified_diff("production.yaml", "", &broken);
    assert!(!all.contains("S3CRET"), "{all}");
}

#[test]
fn an_edit_of_a_secret_alone_still_shows_as_a_change() {
    let diff = unified_diff("x.yaml", "a: 1\npassword: one\n", "a: 1\npassword: two\n");
    assert_eq!(
        diff,
        "--- x.yaml\n+++ x.yaml\n@@ -1,2 +1,2 @@\n a: 1\n-password: ********\n+password: ********\n"
    );
    assert_eq!(unified_diff("x.yaml", "a: 1\n", "a: 1\n"), "");
}

#[test]
fn line_endings_and_a_missing_last_line_break_are_exact() {
    let diff = unified_diff("x.yaml", "a: 1\r\nb: 2", "a: 1\r\nb: 2\r\n");
    assert_eq!(
        diff,
        "--- x.yaml\n+++ x.yaml\n@@ -1,2 +1,2 @@\n a: 1\r\n-b: 2\n\\ No newline at end of file\n+b: 2\r\n"
    );
}
