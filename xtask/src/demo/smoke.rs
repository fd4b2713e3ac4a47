//! The demo itself, as programs run it, checked by its last line.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::terminal;

/// Executions that exist before the small demo's migration.
const RECORDS: u64 = 50;

/// Runs `cargo demo --json --records 50` with the option that chooses the stores, and demands the last line that is promised, and nothing besides it.
///
/// # Errors
/// When the demo fails, or says anything else.
pub(crate) fn smoke(flag: Option<&str>) -> Result<()> {
    let mut command = Command::new(std::env::current_exe().context("cannot tell where this program is")?);
    command.args(["demo", "--json", "--records", &RECORDS.to_string()]);
    command.args(flag);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run the demo")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "the demo failed ({}): {said}", output.status);
    check(&said)?;
    terminal::note(&format!("the demo's last line is as promised: {}", said.trim()));
    Ok(())
}

fn check(said: &str) -> Result<()> {
    let line = said.strip_suffix('\n').with_context(|| format!("no line: {said:?}"))?;
    ensure!(!line.contains('\n'), "more than one line: {said:?}");
    let value: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
    let report = value["report"].as_str().unwrap_or_default();
    let records = value["records"].as_u64().unwrap_or_default();
    // As text: the order of the fields is promised too.
    let expected = json!({
        "result": "migrated",
        "records": records,
        "drift": {"missing": 0, "stale": 0, "different": 0, "extra": 0},
        "gates_approved": 3,
        "report": report,
    })
    .to_string();
    ensure!(line == expected, "the last line is {line}, expected {expected}");
    ensure!(records >= RECORDS, "{records} records, expected at least {RECORDS}");
    for file in [Path::new(report).to_owned(), Path::new(report).with_extension("html")] {
        ensure!(file.is_file(), "there is no report {}", file.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn only_the_promised_line_is_taken() {
        let says = |said: &str| format!("{:#}", check(said).unwrap_err());
        let line = r#"{"result":"migrated","records":60,"drift":{"missing":0,"stale":0,"different":0,"extra":0},"gates_approved":3,"report":"/nowhere/report.json"}"#;
        assert!(says("").contains("no line"));
        assert!(says(line).contains("no line"));
        assert!(says(&format!("hello\n{line}\n")).contains("more than one line"));
        assert!(says(&format!("{}\n", line.replace(":60", ":49"))).contains("at least 50"));
        assert!(says(&format!("{}\n", line.replace("\"missing\":0", "\"missing\":1"))).contains("expected"));
        assert!(says(&format!("{line}\n")).contains("there is no report"));
    }
}
