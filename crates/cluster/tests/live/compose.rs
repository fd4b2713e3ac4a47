//! Containers of a real Compose project on a real Docker Engine: found, seen through, and restarted once each.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossfade_cluster::compose::{Compose, ComposeError, Seen};
use crossfade_cluster::restart::{Restart, RestartError, RestartOnce, Restarted, forget, restart_once};
use e2e::servers::docker::{Docker, IMAGE, PROGRAMS, Project};
use e2e::servers::progress::Lines;

/// A folder for a project, and what it mounts. The project is named after the folder, so the name is this process's own.
struct Place {
    _root: tempfile::TempDir,
    project: PathBuf,
    config: PathBuf,
    lone: PathBuf,
}

impl Place {
    fn new(name: &str) -> Self {
        let root = tempfile::tempdir().expect("folder");
        let project = root.path().join(format!("crossfade-{name}-{}", std::process::id()));
        let config = root.path().join("config");
        fs::create_dir_all(config.join("dynamic")).expect("folder");
        fs::write(config.join("production.yaml"), "old\n").expect("file");
        let lone = root.path().join("lone.yaml");
        fs::write(&lone, "old\n").expect("file");
        Self {
            _root: root,
            project,
            config,
            lone,
        }
    }

    /// Each container notes each of its starts, and what it reads of both files since.
    fn file(&self) -> String {
        let script = "echo $HOSTNAME >> /etc/t/starts; trap 'exit 0' TERM; \
                      while :; do cat /etc/t/production.yaml > /etc/t/sees-$HOSTNAME; \
                      cat /etc/lone.yaml > /etc/t/sees-alone-$HOSTNAME; sleep 0.1; done";
        let service = format!(
            "    image: {IMAGE}\n    command: [\"/bin/sh\", \"-c\", {script:?}]\n    stop_grace_period: 3s\n    volumes: \
             [{PROGRAMS:?}, \"{}:/etc/t\", \"{}:/etc/lone.yaml\"]\n",
            self.config.display(),
            self.lone.display()
        )
        // Compose takes a dollar for its own.
        .replace('$', "$$");
        format!(
            "version: \"2.4\"\nservices:\n  back:\n{service}  front:\n{service}  ended:\n    image: {IMAGE}\n    command: [\"/bin/sh\", \
             \"-c\", \"exit 3\"]\n    volumes: [{PROGRAMS:?}]\n"
        )
    }

    fn starts(&self) -> Vec<String> {
        let text = fs::read_to_string(self.config.join("starts")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until every file that begins with `prefix` says `words`.
    async fn until_seen(&self, prefix: &str, words: &str) -> bool {
        for _ in 0..100 {
            let seen: Vec<String> = fs::read_dir(&self.config)
                .expect("folder")
                .flatten()
                .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
                .filter(|entry| prefix != "sees-" || !entry.file_name().to_string_lossy().contains("alone"))
                .filter_map(|entry| fs::read_to_string(entry.path()).ok())
                .collect();
            if seen.len() == 3 && seen.iter().all(|text| text.trim() == words) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        false
    }
}

/// As an atomic edit does it.
fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).expect("file");
    fs::rename(new, file).expect("renamed");
}

fn restart_of(compose: &Compose, place: &Place, key: &str) -> RestartOnce {
    RestartOnce {
        restart: Restart::Compose(compose.clone()),
        marker_dir: place.project.join("markers"),
        key: key.to_owned(),
        within: Duration::from_secs(60),
        listener: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_are_found_and_restarted_once() {
    let docker = Docker::start(&Lines::default()).expect("a Docker Engine");
    let place = Place::new("once");
    let project = Project::up(
        &docker,
        &place.project,
        &place.file(),
        &["--scale", "back=2", "--scale", "ended=0"],
    )
    .expect("the project is up");
    let compose = Compose {
        project: project.name(),
        services: vec!["back".to_owned(), "front".to_owned()],
        engine: Some(docker.host().to_owned()),
    };

    let containers = compose.containers().await.expect("containers");
    let services: Vec<bool> = containers
        .iter()
        .map(|container| container.name.contains("back"))
        .collect();
    assert_eq!(services, [true, true, false], "the order of the spec: {containers:?}");
    for container in &containers {
        assert_eq!(container.addresses.len(), 1, "{container:?}");
        let config = place.config.join("production.yaml");
        let in_folder = Seen {
            at: "/etc/t/production.yaml".into(),
            alone: false,
        };
        assert_eq!(container.sees(&config), Some(in_folder));
        assert_eq!(
            container.sees(&place.lone),
            Some(Seen {
                at: "/etc/lone.yaml".into(),
                alone: true
            })
        );
        assert_eq!(container.sees(Path::new("/etc/passwd")), None);
        let real = config.canonicalize().expect("there");
        assert_eq!(container.behind(Path::new("/etc/t/production.yaml")), Some(real));
    }

    // What is mounted as a folder is seen at once; what is mounted alone goes on as it was.
    assert!(place.until_seen("sees-", "old").await && place.until_seen("sees-alone-", "old").await);
    replace(&place.config.join("production.yaml"), "new");
    replace(&place.lone, "new");
    assert!(
        place.until_seen("sees-", "new").await,
        "a mounted folder shows a new file"
    );
    assert!(
        place.until_seen("sees-alone-", "old").await,
        "a file mounted alone stays the old one"
    );

    assert_eq!(place.starts().len(), 3);
    let order = restart_of(&compose, &place, "m1-dual-node-a");
    let done = restart_once(order.clone()).await.expect("restarted");
    assert!(matches!(done, Restarted::Now { proven: true, .. }), "{done:?}");
    assert_eq!(place.starts().len(), 6, "each container once: {:?}", place.starts());
    assert!(
        place.until_seen("sees-alone-", "new").await,
        "a restart mounts the new file"
    );
    let again = restart_once(order.clone()).await.expect("again");
    assert!(matches!(again, Restarted::Before { .. }), "{again:?}");
    assert_eq!(place.starts().len(), 6);

    // As after a kill of the worker between two containers: those that were restarted are left alone.
    forget(&order.marker_dir, &order.key).expect("forgotten");
    restart_once(order.clone()).await.expect("restarted");
    let marker = order.marker_dir.join(format!("{}.restart.json", order.key));
    let cut_short = fs::read_to_string(&marker)
        .expect("marker")
        .replace("\"done\"", "\"restarting\"");
    fs::write(&marker, &cut_short).expect("marker");
    assert_eq!(restart_once(order.clone()).await.expect("found"), Restarted::Found);
    let now = compose_lives(&docker, &containers);
    let before: serde_json::Value = serde_json::from_str(&cut_short).expect("json");
    let lives: Vec<&str> = before["before"].as_str().expect("lives").split(", ").collect();
    let half = format!("{}, {}, {}", lives[0], now[1], now[2]);
    let half = cut_short.replace(before["before"].as_str().expect("lives"), &half);
    fs::write(&marker, half).expect("marker");
    let count = place.starts().len();
    let rest = restart_once(order).await.expect("the rest");
    assert!(matches!(rest, Restarted::Now { proven: true, .. }), "{rest:?}");
    assert_eq!(place.starts().len(), count + 2, "the first one had its restart already");
}

/// The lives of containers as the marker has them.
fn compose_lives(docker: &Docker, containers: &[crossfade_cluster::compose::Container]) -> Vec<String> {
    containers
        .iter()
        .map(|container| {
            let format = "container {{.Id}} started {{.State.StartedAt}}";
            let said = docker.docker(&["inspect", "--format", format, &container.name]);
            said.expect("inspected").trim().to_owned()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_project_is_said() {
    let docker = Docker::start(&Lines::default()).expect("a Docker Engine");
    let place = Place::new("wrong");
    let project = Project::up(&docker, &place.project, &place.file(), &["front", "ended"]).expect("the project is up");
    let of = |project: &str, service: &str| Compose {
        project: project.to_owned(),
        services: vec![service.to_owned()],
        engine: Some(docker.host().to_owned()),
    };

    let error = of(&project.name(), "frontend")
        .containers()
        .await
        .expect_err("no such service");
    assert!(
        matches!(error, ComposeError::NoContainer { .. }) && !error.is_transient(),
        "{error:?}"
    );
    for part in ["`frontend`", &format!("{}/front", project.name()), "docker compose ps"] {
        assert!(error.to_string().contains(part), "expected {part} in: {error}");
    }

    let order = RestartOnce {
        within: Duration::from_secs(4),
        ..restart_of(&of(&project.name(), "ended"), &place, "ended")
    };
    let error = restart_once(order).await.expect_err("it ends at once");
    assert!(error.is_transient(), "{error:?}");
    for part in ["did not come up within 4s", "exited", "exit status 3", "docker logs"] {
        assert!(error.to_string().contains(part), "expected {part} in: {error}");
    }

    let nowhere = Compose {
        engine: Some(format!("unix://{}", place.project.join("no.sock").display())),
        ..of(&project.name(), "front")
    };
    let error = restart_once(restart_of(&nowhere, &place, "nowhere"))
        .await
        .expect_err("no engine");
    assert!(
        matches!(error, RestartError::Compose(ComposeError::Engine(_))),
        "{error:?}"
    );
    assert!(error.to_string().contains("docker ps"), "{error}");
}
