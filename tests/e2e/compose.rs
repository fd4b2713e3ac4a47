//! A server in a container of Docker Compose, which knows its files under other paths than the machine does.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use e2e::migration::Files;
use e2e::scene::{Scene, is_clean, judged, says};
use e2e::servers::binaries::{Program, TEMPORAL_1_30_8, find_or_build};
use e2e::servers::cache::Cache;
use e2e::servers::docker::{Docker, IMAGE, PROGRAMS, Project};
use e2e::servers::progress::Lines;
use e2e::testbed::{Engine, NAMESPACE, TARGET_NAME};
use e2e::traffic::Traffic;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_in_a_container_moves_as_one_on_the_machine_does() -> Result<()> {
    let docker = Docker::start(&Lines::default())?;
    let scene = Scene::on(Engine::Sqlite).await?;
    let (operator, testbed) = (&scene.operator, &scene.testbed);
    let traffic = Traffic::begin(scene.testbed.frontend(), NAMESPACE).await?;
    traffic.existing(60).await?;

    // The dynamic config alone is mounted at first: a mistake that no error would ever tell of.
    let host = testbed.temporal().hosts()[0].clone();
    let dynamic = testbed.temporal().dynamic_config();
    let inside = "/etc/temporal/dynamicconfig/production.yaml";
    let config = fs::read_to_string(&host.config)?.replace(&dynamic.display().to_string(), inside);
    fs::write(&host.config, config)?;
    host.stop()?;
    let folder = testbed.folder().join(format!("crossfade-e2e-{}", std::process::id()));
    let alone = format!("{}:{inside}", dynamic.display());
    let project = Project::up(&docker, &folder, &compose_file(&scene, &alone)?, &[])?;
    scene.answers().await?;

    let mut spec = scene.spec_with(&json!({"gates": ["promote"]}));
    spec["cluster"]["dynamic_config"] = json!(dynamic);
    spec["cluster"]["hosts"][0]["restart"] = json!({"compose": {
        "project": project.name(), "services": ["temporal"], "engine": docker.host(),
    }});
    operator.start("mounted-alone", &spec).await?;
    let refused = operator.end(testbed, "mounted-alone").await?.failed()?;
    says(
        &format!("{refused:?}"),
        &["mounted alone", "mount the folder instead", "temporal_1"],
    )?;

    let whole = format!("{}:/etc/temporal/dynamicconfig", parent(dynamic)?.display());
    fs::write(folder.join("docker-compose.yml"), compose_file(&scene, &whole)?)?;
    project.compose(&["up", "-d"])?;
    scene.answers().await?;
    let before = Files::of(testbed)?;
    let started = started(&docker, &project)?;
    let going = traffic.keep_going(2);
    let id = "in-a-container";
    operator.start(id, &spec).await?;
    operator.at_gate(id, "promote").await?;
    ensure!(
        self::started(&docker, &project)? != started,
        "the container was not restarted"
    );
    operator.approve(id, "promote").await?;
    let report = operator.end(testbed, id).await?.completed()?;
    going.stop().await?;
    traffic.settle().await?;
    is_clean(&report)?;
    ensure!(before.are_unchanged().is_err(), "nothing was edited");
    says(
        &Files::of(testbed)?.text(),
        &[&format!("visibilityStore: {TARGET_NAME}"), inside],
    )?;
    judged(testbed, testbed.target(), [traffic.end()]).await?;
    drop(project);
    scene.finish()
}

/// One container with the whole server in it, in the machine's own network.
fn compose_file(scene: &Scene, dynamic_config: &str) -> Result<String> {
    let cache = Cache::from_environment()?;
    let program = find_or_build(&cache, &TEMPORAL_1_30_8, Program::TemporalServer, &Lines::default())?;
    let config = &scene.testbed.temporal().hosts()[0].config;
    let volumes = [
        PROGRAMS.to_owned(),
        format!("{0}:{0}:ro", parent(&program)?.display()),
        format!("{}:/etc/temporal/config", parent(config)?.display()),
        dynamic_config.to_owned(),
        // Its databases are files.
        format!("{0}:{0}", scene.testbed.folder().join("data").display()),
    ];
    let command = json!([
        program,
        "--config-file",
        "/etc/temporal/config/production.yaml",
        "--allow-no-auth",
        "start"
    ]);
    Ok(format!(
        "version: \"2.4\"\nservices:\n  temporal:\n    image: {IMAGE}\n    network_mode: host\n    command: {command}\n    volumes: {}\n",
        json!(volumes)
    ))
}

fn parent(file: &Path) -> Result<&Path> {
    file.parent()
        .with_context(|| format!("{} has no folder", file.display()))
}

/// When the container was started.
fn started(docker: &Docker, project: &Project<'_>) -> Result<String> {
    let id = project.compose(&["ps", "-q", "temporal"])?;
    docker.docker(&["inspect", "--format", "{{.State.StartedAt}}", id.trim()])
}
