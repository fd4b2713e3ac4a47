//! Hosts that do not come up with their new config, restarts that fail or hang, and workers killed in between.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use crossfade_config::edit_static;
use crossfade_plan::{
    order::{Answers, ConfigureHost, HostConfigured, ProveReads, ProveWrites},
    problem::{Code, Problem},
    settings::{DynamicConfig, HostConfig, Reads, WritingMode},
};
use e2e::migration::Files;
use serde_json::json;

use super::{
    super::{
        beat::Beat,
        frontend, host_files,
        hosts::{self, Turns},
        reads, writes,
    },
    scene::{Scene, keys},
};

const ID: &str = "down";

/// As the first host of the spec is ordered to be.
async fn ordered(scene: &Scene, to: HostConfig) -> Result<Result<HostConfigured, Problem>> {
    Ok(hosts::configure(&scene.configure(ID, to)?, &Turns::default(), &Beat::default()).await)
}

async fn refused(scene: &Scene, to: HostConfig) -> Result<Problem> {
    match ordered(scene, to).await? {
        Ok(done) => bail!("it was not refused: {done:?}"),
        Err(problem) => Ok(problem),
    }
}

fn says(problem: &Problem, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(problem.message.contains(part), "expected `{part}` in: {problem}");
    }
    Ok(())
}

async fn stores(scene: &Scene) -> Result<usize> {
    Ok(frontend::inspect(&scene.context(ID)?).await?.visibility_stores.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_does_not_come_up_gets_its_former_config_back() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let (before, good) = (Files::of(&scene.testbed)?, scene.spec.clone());
    let works = good["cluster"]["hosts"][0]["restart"].clone();

    // A file in a folder that does not exist: the server ends when it opens it.
    scene.spec["target"]["datastore"]["sql"]["databaseName"] = json!("/no/such/folder/visibility.db");
    scene.spec["cluster"]["hosts"][0]["restart_within"] = json!("20s");
    let problem = refused(&scene, HostConfig::Dual).await?;
    ensure!(problem.code == Code::HostDown, "{problem}");
    says(
        &problem,
        &[
            "did not come back",
            "The former config is back and the host is healthy with it",
        ],
    )?;
    before.are_unchanged()?;
    ensure!(stores(&scene).await? == 1);

    // A worker that wrote this file and was killed before the restart: the next attempt restarts, and still knows
    // what the file was before.
    write_without_restart(&scene.configure(ID, HostConfig::Dual)?)?;
    ensure!(before.are_unchanged().is_err(), "the file was not written");
    let problem = refused(&scene, HostConfig::Dual).await?;
    ensure!(problem.code == Code::HostDown, "{problem}");
    says(&problem, &["The former config is back and the host is healthy with it"])?;
    before.are_unchanged()?;

    // Restarts that fail, hang, do nothing, or are not there.
    scene.spec = good.clone();
    let restart = |scene: &mut Scene, command: &[&str]| {
        scene.spec["cluster"]["hosts"][0]["restart"] = json!({"command": command});
        scene.spec["cluster"]["hosts"][0]["restart_within"] = json!("2s");
    };
    let look = scene.host()?;
    for (command, told) in [
        (
            &["sh", "-c", "echo no permission to restart >&2; exit 3"][..],
            &["no permission to restart", "exit status: 3"][..],
        ),
        (&["sleep", "600"], &["did not end within 2s and was killed"]),
        (&["true"], &["the service was not restarted"]),
        (&["/no/such/program"], &["cannot run", "/no/such/program"]),
    ] {
        restart(&mut scene, command);
        let began = Instant::now();
        let problem = refused(&scene, HostConfig::Dual).await?;
        ensure!(
            problem.code == Code::RestartFailed && !problem.code.retryable(),
            "{problem}"
        );
        says(&problem, told)?;
        says(
            &problem,
            &["The former config is back in the file; restarting with it failed as well"],
        )?;
        ensure!(
            began.elapsed() < Duration::from_secs(15),
            "it took {:?}",
            began.elapsed()
        );
        before.are_unchanged()?;
        ensure!(scene.host()?.pid == look.pid, "the server was restarted all the same");
    }

    // Corrected: what the failures left behind stands in nobody's way, forward or back.
    scene.spec = good;
    let done = ordered(&scene, HostConfig::Dual).await??;
    ensure!(done.edited && done.restarted && stores(&scene).await? == 2, "{done:?}");
    let dual = scene.host()?;
    // Somebody else's edit in the middle of a restart that fails is not overwritten.
    let marker = "# changed by hand\\n";
    let file = scene.config_file()?.display().to_string();
    restart(
        &mut scene,
        &["sh", "-c", &format!("printf '{marker}' >> {file}; exit 1")],
    );
    let problem = refused(&scene, HostConfig::Promoted).await?;
    says(&problem, &["Its config is not put back", "changed"])?;
    let text = fs::read(&file)?;
    ensure!(
        text.ends_with(b"# changed by hand\n"),
        "{}",
        String::from_utf8_lossy(&text)
    );
    fs::write(&file, &dual.config.0)?;

    scene.spec["cluster"]["hosts"][0]["restart"] = works;
    scene.spec["cluster"]["hosts"][0]["restart_within"] = json!("60s");
    // Killed after the file of the way back was written: the server still runs with the other.
    let order = scene.configure(ID, HostConfig::Original)?;
    crossfade_config::restore(&order.host.config, &order.context.key)?;
    before.are_unchanged()?;
    let done = ordered(&scene, HostConfig::Original).await??;
    ensure!(!done.edited && done.restarted, "{done:?}");
    ensure!(stores(&scene).await? == 1 && scene.host()?.pid != dual.pid, "{done:?}");
    before.are_unchanged()?;
    scene.testbed.finish()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_back_is_open_when_the_target_is_broken_or_a_file_was_changed() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let before = scene.host()?;
    let keys = keys(WritingMode::Off, Reads::Source);
    host_files::set_dynamic(&scene.dynamic(ID, keys)?).await?;
    ordered(&scene, HostConfig::Dual).await??;

    // What is proven on the way back needs no target.
    let good = scene.spec.clone();
    scene.spec["target"]["datastore"]["sql"]["databaseName"] = json!("/no/such/folder/visibility.db");
    let (context, beat) = (scene.context(ID)?, Beat::default());
    let (proof, shards) = ("back".to_owned(), 4);
    let order = ProveWrites {
        context: context.clone(),
        proof,
        shards,
        source: true,
        target: false,
        attributes: None,
    };
    ensure!(writes::prove(&order, &beat).await?.canaries == 4);
    let order = |from| ProveReads {
        context: context.clone(),
        namespaces: None,
        from,
    };
    reads::prove(&order(Answers::Source), &beat).await?;
    ensure!(reads::prove(&order(Answers::Target), &beat).await.is_err());
    scene.spec = good;

    // Files that others have changed are theirs: the way back stops, and goes on when the target is out of them.
    let (config, dynamic_config) = (
        scene.config_file()?,
        scene.testbed.temporal().dynamic_config().to_owned(),
    );
    append(&config, "# somebody else's\n")?;
    append(&dynamic_config, "# somebody else's\n")?;
    let changed = scene.host()?;
    let dynamic =
        async || -> Result<_> { Ok(host_files::set_dynamic(&scene.dynamic(ID, DynamicConfig::Original)?).await) };
    for _ in 0..2 {
        let Err(problem) = dynamic().await? else {
            bail!("the dynamic config was overwritten")
        };
        ensure!(
            problem.code == Code::ConfigChanged && problem.remedy.contains("`resume`"),
            "{problem}"
        );
        let problem = refused(&scene, HostConfig::Original).await?;
        ensure!(
            problem.code == Code::ConfigChanged && problem.remedy.contains("`resume`"),
            "{problem}"
        );
        ensure!(scene.host()? == changed, "the host was touched");
    }
    fs::write(&config, [&before.config.0, &b"# somebody else's\n"[..]].concat())?;
    fs::write(
        &dynamic_config,
        [&before.dynamic_config.0, &b"# somebody else's\n"[..]].concat(),
    )?;
    ensure!(!dynamic().await??.edited);
    let done = ordered(&scene, HostConfig::Original).await??;
    ensure!(!done.edited && done.restarted && stores(&scene).await? == 1, "{done:?}");
    scene.testbed.finish()
}

fn append(file: &Path, text: &str) -> Result<()> {
    let before = fs::read(file)?;
    fs::write(file, [&before, text.as_bytes()].concat())?;
    Ok(())
}

/// What an attempt does before its restart.
fn write_without_restart(order: &ConfigureHost) -> Result<()> {
    let host = &order.host;
    let Some(edit) = host_files::static_edit(&order.context, order.to)? else {
        bail!("no edit")
    };
    let state = crossfade_config::read(&host.config)?;
    let edited = edit_static(&host.config, &state.bytes, &edit).map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
    crossfade_config::write_if_unchanged(&host.config, &state.sha256, &edited.into_bytes(), &order.context.key)?;
    Ok(())
}
