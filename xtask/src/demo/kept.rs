//! What `--keep` leaves behind: commands to play with, and a script that stops it all.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};
use e2e::testbed::Testbed;

use super::product::{Product, WORKER};
use super::tctl::shown;
use super::{SHOP, migration};

/// Writes the script and returns the instructions.
///
/// # Errors
/// When the script cannot be written.
pub(super) fn instructions(testbed: &Testbed, product: &Product) -> Result<String> {
    let stop = testbed.folder().join("stop.sh");
    fs::write(&stop, script(testbed)).with_context(|| format!("cannot write {}", stop.display()))?;
    fs::set_permissions(&stop, fs::Permissions::from_mode(0o755))?;
    let folder_of = |program: &std::path::Path| program.parent().map(|folder| folder.display().to_string());
    let path: Vec<String> = [product.tctl(), product.crossfade()]
        .into_iter()
        .filter_map(folder_of)
        .collect();
    let id = migration::ID;
    Ok(format!(
        "\nEverything is left running. To play with it:\n\n  \
         export PATH=\"{path}:$PATH\" TEMPORAL_CLI_ADDRESS={frontend} TEMPORAL_ADDRESS={frontend}\n\n  \
         tctl workflow query -w {id} --qt status\n  \
         tctl workflow query -w {id} --qt audit\n  \
         tctl workflow show -w {id}\n  \
         tctl --namespace {SHOP} workflow list --query 'Paid = true AND ExecutionStatus = \"Completed\"'\n  \
         tctl --namespace {SHOP} workflow count --query 'ExecutionStatus = \"Running\"'\n  \
         tctl admin cluster describe\n  \
         crossfade report\n\n\
         Its files and logs are in {folder}.\n\
         To stop it all and remove them:\n\n  {stop}\n",
        path = path.join(":"),
        frontend = testbed.frontend(),
        folder = testbed.folder().display(),
        stop = shown(&stop.to_string_lossy(), &[]),
    ))
}

fn script(testbed: &Testbed) -> String {
    let hosts: String = testbed
        .temporal()
        .hosts()
        .iter()
        .map(|host| format!("{} stop\n", shown(&host.script.to_string_lossy(), &[])))
        .collect();
    format!(
        r#"#!/bin/sh
# Stops everything that `cargo demo --keep` left running, and removes its files.
cd {folder} || exit 1
# end NAME SIGNAL: ends a process, by SIGKILL when it has not ended after 20 s.
end() {{
    pid=$(cat "pids/$1.pid" 2>/dev/null) || return 0
    kill "-$2" "$pid" 2>/dev/null || return 0
    tries=0
    while kill -0 "$pid" 2>/dev/null; do
        tries=$((tries + 1))
        if [ "$tries" -eq 200 ]; then kill -KILL "$pid"; fi
        sleep 0.1
    done
}}
end {WORKER} TERM
{hosts}end postgres INT
cd / && rm -rf {folder}
"#,
        folder = shown(&testbed.folder().to_string_lossy(), &[]),
    )
}
