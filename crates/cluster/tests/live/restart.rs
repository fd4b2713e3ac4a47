//! A real server is restarted once, whatever happens to us half way.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crossfade_cluster::Incarnation;
use crossfade_cluster::health::{Health, Service, ServiceHealth};
use crossfade_cluster::restart::{Restart, RestartError, RestartOnce, Restarted, forget, restart_once};

use crate::cache::V1_30_8;
use crate::server::{Plan, Server};

struct Host {
    server: Server,
    order: RestartOnce,
}

fn host() -> Host {
    let server = Server::start(Plan::new(V1_30_8));
    let order = RestartOnce {
        restart: Restart::Command(vec![server.script("restart.sh")]),
        marker_dir: server.dir.join("markers"),
        key: "m1-dual-write-node-a".into(),
        within: Duration::from_secs(60),
        listener: Some(SocketAddr::from(([127, 0, 0, 1], server.ports.frontend))),
    };
    Host { server, order }
}

impl Host {
    fn restarts(&self) -> usize {
        fs::read_to_string(self.server.dir.join("restarts"))
            .unwrap_or_default()
            .lines()
            .count()
    }

    fn marker(&self) -> PathBuf {
        self.order.marker_dir.join(format!("{}.restart.json", self.order.key))
    }

    fn marker_says(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.marker()).expect("marker")).expect("marker")
    }
}

#[tokio::test]
async fn a_server_is_restarted_once_and_its_health_proven() {
    let host = host();
    let frontend = host.server.frontend().await;
    let ranges = frontend.shard(1).await.expect("shard").range_id;
    let old = host.server.pid();
    let before = Incarnation::of_listener(host.order.listener.expect("listener"))
        .await
        .expect("a life");

    // Long enough for the frontend to be missed.
    fs::write(host.server.dir.join("slow"), "3").expect("slow");
    let watch = tokio::spawn({
        let frontend = frontend.clone();
        async move {
            while frontend.health().await == Health::Serving {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            // The result of work that ends in the dark waits for the light.
            frontend.hold_until_serving(Duration::from_secs(60), "result").await
        }
    });
    let done = restart_once(host.order.clone()).await.expect("restarted");
    assert!(matches!(done, Restarted::Now { proven: true, .. }), "{done:?}");
    assert_ne!(host.server.pid(), old);
    assert_ne!(
        Incarnation::of_listener(host.order.listener.expect("listener")).await,
        Some(before)
    );
    assert_eq!(watch.await.expect("watch"), ("result", true));

    frontend.await_serving(Duration::from_secs(60)).await.expect("serves");
    for (service, port) in [
        (Service::History, host.server.ports.history),
        (Service::Matching, host.server.ports.matching),
    ] {
        let settings = host.server.settings().to_address(format!("127.0.0.1:{port}"));
        let health = ServiceHealth::new(service, &settings).expect("settings");
        health.await_serving(Duration::from_secs(60)).await.expect("serves");
    }
    assert!(
        frontend.shard(1).await.expect("shard").range_id > ranges,
        "the shard was not taken anew"
    );

    assert_eq!(host.restarts(), 1);
    let again = restart_once(host.order.clone()).await.expect("again");
    assert!(matches!(again, Restarted::Before { .. }), "{again:?}");
    assert_eq!(host.restarts(), 1, "a restart that is done was done again");

    forget(&host.order.marker_dir, &host.order.key).expect("forgotten");
    assert!(!host.marker().exists());
}

#[tokio::test]
async fn an_attempt_cut_short_is_neither_forgotten_nor_doubled() {
    let host = host();
    let frontend = host.server.frontend().await;
    fs::write(host.server.dir.join("slow"), "3").expect("slow");

    // The activity is given up while its restart is under way; the next attempt waits for it.
    let first = tokio::time::timeout(Duration::from_secs(1), restart_once(host.order.clone())).await;
    assert!(first.is_err(), "it was to be cut short");
    assert_eq!(host.marker_says()["state"], "restarting");
    let second = restart_once(host.order.clone()).await.expect("second");
    assert!(matches!(second, Restarted::Before { .. }), "{second:?}");
    assert_eq!(host.restarts(), 1);

    // As after a kill of the worker when the restart was done and its end not noted.
    let mut marker = host.marker_says();
    marker["state"] = "restarting".into();
    fs::write(host.marker(), marker.to_string()).expect("marker");
    let third = restart_once(host.order.clone()).await.expect("third");
    assert_eq!(third, Restarted::Found);
    assert_eq!(host.restarts(), 1);

    // As after a kill before the restart had any effect: the life before is the life now.
    marker["before"] =
        serde_json::to_value(Incarnation::of_listener(host.order.listener.expect("listener")).await).expect("life");
    fs::write(host.marker(), marker.to_string()).expect("marker");
    let fourth = restart_once(host.order.clone()).await.expect("fourth");
    assert!(matches!(fourth, Restarted::Now { proven: true, .. }), "{fourth:?}");
    assert_eq!(host.restarts(), 2);
    assert_eq!(host.marker_says()["attempts"], 2);
    frontend.await_serving(Duration::from_secs(60)).await.expect("serves");
}

const CHILD: &str = "CROSSFADE_TEST_RESTART_IN";

/// The attempt of [`a_worker_killed_half_way_leaves_its_restart_to_the_next`], in a process that can be killed.
#[tokio::test]
#[ignore = "run by another test, in a process of its own"]
async fn an_attempt_to_be_killed() {
    let dir = PathBuf::from(std::env::var_os(CHILD).expect("a folder"));
    let order = fs::read_to_string(dir.join("order")).expect("an order");
    let mut lines = order.lines();
    let mut next = || lines.next().expect("a line").to_owned();
    let order = RestartOnce {
        restart: Restart::Command(vec![next()]),
        marker_dir: next().into(),
        key: next(),
        within: Duration::from_secs(60),
        listener: Some(next().parse().expect("an address")),
    };
    panic!("not killed in time: {:?}", restart_once(order).await);
}

#[tokio::test]
async fn a_worker_killed_half_way_leaves_its_restart_to_the_next() {
    let host = host();
    let frontend = host.server.frontend().await;
    let listener = host.order.listener.expect("listener");
    let before = Incarnation::of_listener(listener).await.expect("a life");
    fs::write(host.server.dir.join("slow"), "3").expect("slow");
    let (program, markers) = (host.server.script("restart.sh"), host.order.marker_dir.display());
    fs::write(
        host.server.dir.join("order"),
        format!("{program}\n{markers}\n{}\n{listener}\n", host.order.key),
    )
    .expect("order");
    let mut worker = std::process::Command::new(std::env::current_exe().expect("this test"))
        .args(["--ignored", "--exact", "restart::an_attempt_to_be_killed"])
        .env(CHILD, &host.server.dir)
        .spawn()
        .expect("a worker");
    // The frontend is gone: the restart is under way.
    while frontend.health().await == Health::Serving {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    worker.kill().expect("killed");
    worker.wait().expect("killed");
    assert_eq!(host.marker_says()["state"], "restarting");
    assert!(host.marker_says()["program"]["pid"].is_u64(), "{}", host.marker_says());

    let done = restart_once(host.order.clone()).await.expect("the next worker");
    assert_eq!(done, Restarted::Found, "the program went on without its worker");
    assert_eq!(host.restarts(), 1);
    assert_eq!(host.marker_says()["state"], "done");
    assert_ne!(Incarnation::of_listener(listener).await, Some(before));
    frontend.await_serving(Duration::from_secs(60)).await.expect("serves");
}

#[tokio::test]
async fn a_program_that_fails_or_hangs_is_reported_with_its_words() {
    let dir = tempfile::tempdir().expect("folder");
    let order = |key: &str, script: &str| RestartOnce {
        restart: Restart::Command(["sh", "-c", script].map(str::to_owned).to_vec()),
        marker_dir: dir.path().join("markers"),
        key: key.to_owned(),
        within: Duration::from_millis(1500),
        listener: None,
    };
    let error = restart_once(order("fails", "echo no such unit >&2; exit 5"))
        .await
        .expect_err("fails");
    assert!(
        error.to_string().contains("exit status: 5") && error.to_string().contains("no such unit"),
        "{error}"
    );

    // It hangs, and so does a child of its; both must be gone.
    let pids = dir.path().join("pids");
    let script = format!("echo waiting; sleep 600 & echo $! $$ >{}; wait", pids.display());
    let error = restart_once(order("hangs", &script)).await.expect_err("hangs");
    assert!(
        matches!(&error, RestartError::TimedOut { output, .. } if output == "waiting"),
        "{error}"
    );
    for pid in fs::read_to_string(&pids).expect("pids").split_whitespace() {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(
            state.is_empty() || state.contains(") Z "),
            "{pid} is still there: {state}"
        );
    }

    let error = restart_once(RestartOnce {
        restart: Restart::Command(vec!["no-such-program-here".into()]),
        ..order("missing", "")
    })
    .await
    .expect_err("missing");
    assert!(
        error.to_string().starts_with("cannot run \"no-such-program-here\""),
        "{error}"
    );

    // Nothing listens, and the program says that all is well.
    let silent = RestartOnce {
        listener: Some(([127, 0, 0, 1], 1).into()),
        ..order("silent", "true")
    };
    let done = restart_once(silent).await.expect("nothing to see");
    assert!(matches!(done, Restarted::Now { proven: false, .. }), "{done:?}");

    // This test's own listener is not restarted by `true`.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
    let idle = RestartOnce {
        listener: listener.local_addr().ok(),
        ..order("idle", "true")
    };
    let error = restart_once(idle.clone()).await.expect_err("not restarted");
    assert!(matches!(error, RestartError::SameLife { .. }), "{error}");
}

/// On a machine with systemd there is no such unit, on one without there is no systemd to ask: never is it a success.
#[tokio::test]
async fn a_unit_that_cannot_be_restarted_is_reported() {
    let dir = tempfile::tempdir().expect("folder");
    let order = RestartOnce {
        restart: Restart::Systemd("crossfade-no-such.service".into()),
        marker_dir: dir.path().join("markers"),
        key: "unit".into(),
        within: Duration::from_secs(20),
        listener: None,
    };
    assert_eq!(Incarnation::of_unit("crossfade-no-such.service").await, None);
    let error = restart_once(order).await.expect_err("no such unit");
    let said = error.to_string();
    match error {
        RestartError::Failed { command, output, .. } => {
            assert_eq!(
                command,
                "systemctl --no-ask-password restart -- crossfade-no-such.service"
            );
            assert!(!output.is_empty(), "{said}");
        }
        RestartError::Start { .. } => assert!(said.starts_with("cannot run \"systemctl\""), "{said}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn wrong_orders_are_refused_before_anything_is_done() {
    let dir = tempfile::tempdir().expect("folder");
    let order = |restart: Restart, key: &str| RestartOnce {
        restart,
        marker_dir: dir.path().join("markers"),
        key: key.to_owned(),
        within: Duration::from_secs(1),
        listener: None,
    };
    let command = || Restart::Command(vec!["true".into()]);
    for (order, expected) in [
        (order(Restart::Command(vec![]), "k"), "restart.command is empty"),
        (
            order(Restart::Systemd("--help".into()), "k"),
            "not the name of a systemd unit",
        ),
        (
            order(Restart::Systemd("a b.service".into()), "k"),
            "not the name of a systemd unit",
        ),
        (order(command(), "../k"), "restart key"),
        (order(command(), ""), "restart key"),
    ] {
        let error = restart_once(order).await.expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
    fs::create_dir_all(dir.path().join("markers")).expect("folder");
    fs::write(dir.path().join("markers/k.restart.json"), "{").expect("marker");
    let error = restart_once(order(command(), "k"))
        .await
        .expect_err("damaged")
        .to_string();
    assert!(error.contains("k.restart.json cannot be understood"), "{error}");
    assert!(matches!(
        restart_once(order(command(), "free")).await,
        Ok(Restarted::Now { proven: false, .. })
    ));
}
