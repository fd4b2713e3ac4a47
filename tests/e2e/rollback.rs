//! The way back from every stage before promote, on one cluster, one migration after the other.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use e2e::migration::{End, Files, is, record, stage};
use e2e::servers::binaries::{Program, find_or_build};
use e2e::servers::cache::Cache;
use e2e::servers::postgres::{PASSWORD, Postgres, USER};
use e2e::servers::progress::Lines;
use e2e::testbed::{Engine, NAMESPACE, Plan, Store};
use e2e::traffic::Traffic;
use serde_json::{Value, json};

use e2e::scene::{ORDERS, Scene, is_clean, judged, says};

/// How an operator turns back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Rollback,
    Abort,
    Cancel,
}

/// One migration that turns back.
struct Case {
    id: &'static str,
    order: Order,
    /// What the spec says besides the usual.
    spec: Value,
    /// When it turns back.
    here: fn(&Value) -> bool,
    /// Whether the server had to be restarted until then.
    restarted: bool,
    /// Whether its worker is killed on the way back.
    killed: bool,
    /// Whether the target lets nobody in on the way back.
    locked: bool,
}

fn cases() -> Vec<Case> {
    let through = || json!({"gates": []});
    vec![
        Case {
            id: "back-at-the-first-gate",
            order: Order::Rollback,
            spec: json!({"gates": ["dual-write"]}),
            here: |status| is(status, "awaiting-approval"),
            restarted: false,
            killed: false,
            locked: false,
        },
        Case {
            id: "back-half-way-into-dual-write",
            order: Order::Rollback,
            spec: through(),
            here: |status| {
                stage(status) == "dual-write"
                    && status["hosts"][0]["config"] == "dual"
                    && status["dual_since"].is_null()
            },
            restarted: true,
            killed: false,
            locked: false,
        },
        Case {
            id: "back-while-copying",
            order: Order::Abort,
            spec: slowly_without_indexes(),
            here: copies_without_indexes,
            restarted: true,
            killed: false,
            locked: false,
        },
        Case {
            id: "back-from-a-target-that-is-gone",
            order: Order::Rollback,
            spec: slowly_without_indexes(),
            here: copies_without_indexes,
            restarted: true,
            killed: false,
            locked: true,
        },
        Case {
            id: "back-after-verify",
            order: Order::Cancel,
            spec: json!({"gates": ["cutover"]}),
            here: |status| is(status, "awaiting-approval") && !status["verify"]["clean_at"].is_null(),
            restarted: true,
            killed: false,
            locked: false,
        },
        Case {
            id: "back-with-the-first-namespaces-moved",
            order: Order::Rollback,
            spec: json!({"gates": [], "cutover": {"namespaces_first": [ORDERS], "soak": "10m"}}),
            here: |status| is(status, "waiting") && status["cutover"] == "first-namespaces",
            restarted: true,
            killed: false,
            locked: false,
        },
        Case {
            id: "back-at-the-last-gate",
            order: Order::Rollback,
            spec: json!({"gates": ["promote"]}),
            here: |status| is(status, "awaiting-approval") && status["cutover"] == "soaked",
            restarted: true,
            killed: true,
            locked: false,
        },
    ]
}

fn slowly_without_indexes() -> Value {
    json!({"gates": [], "records_per_second": 1, "copy": {"defer_indexes": "always"}})
}

fn copies_without_indexes(status: &Value) -> bool {
    stage(status) == "existing-records"
        && status["copy"]["expected"] != 0
        && status["indexes"]["set_aside"].as_u64() > Some(60)
}

/// The target: another database of the server that has the source.
struct Target {
    database: String,
    /// Its schema before any migration.
    fresh: String,
}

impl Target {
    fn of(scene: &mut Scene) -> Result<Self> {
        let Store::Postgres { database, .. } = scene.testbed.target().clone() else {
            bail!("the target is no database of PostgreSQL");
        };
        Ok(Self {
            fresh: server(scene)?.schema_of(&database)?,
            database,
        })
    }

    /// No way back leaves anything of it changed.
    fn is_whole(&self, scene: &mut Scene) -> Result<()> {
        let schema = server(scene)?.schema_of(&self.database)?;
        ensure!(schema == self.fresh, "the target's schema differs:\n{schema}");
        Ok(())
    }

    /// Lets nobody in any more, or everybody again.
    async fn lock(&self, scene: &mut Scene, locked: bool) -> Result<()> {
        let Self { database, .. } = self;
        let allowed = format!("ALTER DATABASE \"{database}\" ALLOW_CONNECTIONS {}", !locked);
        let server = server(scene)?;
        server.execute("postgres", &allowed).await?;
        let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'");
        server.execute("postgres", &end).await
    }

    /// The way back was finished without it: what it left is told, and done by hand.
    async fn left_without_indexes(&self, scene: &mut Scene, report: &Value) -> Result<()> {
        let address = server(scene)?.address();
        let command = format!(
            "crossfade indexes --store 'postgres://{USER}@{address}/{}' --restore",
            self.database
        );
        says(&report["next_steps"].to_string(), &[&command])?;
        self.lock(scene, false).await?;
        ensure!(self.is_whole(scene).is_err(), "its indexes are back by themselves");
        let store = format!("postgres://{USER}:{PASSWORD}@{address}/{}", self.database);
        let built = scene
            .operator
            .crossfade(&["indexes", "--store", &store, "--restore"])
            .await?;
        ensure!(built["built"].as_u64() > Some(60) && built["set_aside"] == 0, "{built}");
        Ok(())
    }
}

fn server(scene: &mut Scene) -> Result<&mut Postgres> {
    Ok(scene.testbed.postgres_server().context("no PostgreSQL")?.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_turns_back_from_every_stage_before_promote() -> Result<()> {
    let mut plan = Plan::new(Engine::Postgres);
    plan.namespaces = vec![(ORDERS.to_owned(), Duration::from_secs(72 * 3600))];
    plan.target_schema = true;
    let tool = find_or_build(
        &Cache::from_environment()?,
        plan.release,
        Program::SqlTool,
        &Lines::default(),
    )?;
    let tool = tool.to_string_lossy();
    let mut scene = Scene::of(plan, &[("CROSSFADE_TEMPORAL_SQL_TOOL", &tool)]).await?;
    let target = Target::of(&mut scene)?;
    let before = Files::of(&scene.testbed)?;
    let traffic = Traffic::begin(scene.testbed.frontend(), NAMESPACE).await?;
    traffic.existing(100).await?;
    for case in cases() {
        turned_back(&mut scene, &traffic, &before, &target, &case)
            .await
            .with_context(|| format!("in {}", case.id))?;
    }
    no_way_back_after_promote(&scene, traffic).await?;
    scene.finish()
}

async fn turned_back(scene: &mut Scene, traffic: &Traffic, before: &Files, target: &Target, case: &Case) -> Result<()> {
    let (operator, host) = (scene.operator.clone(), scene.testbed.temporal().hosts()[0].clone());
    let pid = host.pid();
    let going = traffic.keep_going(3);
    operator.start(case.id, &scene.spec_with(&case.spec)).await?;
    operator.until(case.id, "where it turns back", case.here).await?;
    if case.locked {
        target.lock(scene, true).await?;
    }
    let note = r#"{"by": "alice", "note": "not today"}"#;
    match case.order {
        Order::Rollback => operator.signal(case.id, "rollback", Some(note)).await?,
        Order::Abort => operator.signal(case.id, "abort", Some(note)).await?,
        Order::Cancel => operator.told(&["cancel", "-w", case.id]).await.map(drop)?,
    }
    if case.killed {
        scene.killed_while_it_restarts().await?;
    }
    let end = operator.end(&scene.testbed, case.id).await?;
    let result = match (case.order, end) {
        (Order::Rollback, End::Completed(report)) => report["result"].clone(),
        (Order::Abort | Order::Cancel, End::Failed(failure)) => {
            ensure!(failure.kind == "Aborted" && !failure.retryable, "{failure:?}");
            says(&failure.message, &["gave the migration up", "the cluster is as it was"])?;
            json!("aborted")
        }
        (_, end) => bail!("it ended so: {end:?}"),
    };
    let wanted = if case.order == Order::Rollback {
        "rolled-back"
    } else {
        "aborted"
    };
    ensure!(result == wanted, "it ended as {result}");
    let report = operator.query(case.id, "report", None).await?;
    ensure!(report["result"] == wanted, "{report:#}");
    before.are_unchanged()?;
    if case.locked {
        target.left_without_indexes(scene, &report).await?;
    }
    target.is_whole(scene)?;
    if case.id == "back-half-way-into-dual-write" {
        record(&scene.testbed, case.id, "rolled-back-in-dual-write").await?;
    }
    ensure!((host.pid() != pid) == case.restarted, "restarted: {}", !case.restarted);
    ensure!(
        scene.visibility_stores().await? == "postgres12",
        "{}",
        scene.visibility_stores().await?
    );

    going.stop().await?;
    // What is written from now on is in the source, as what was written before is.
    traffic.existing(traffic.ledger().kept() + 5).await?;
    judged(&scene.testbed, scene.testbed.source(), [traffic.ledger().clone()]).await
}

async fn no_way_back_after_promote(scene: &Scene, traffic: Traffic) -> Result<()> {
    let operator = &scene.operator;
    let id = "past-the-point-of-no-return";
    let going = traffic.keep_going(3);
    operator
        .start(id, &scene.spec_with(&json!({"gates": ["finish"]})))
        .await?;
    let status = operator.at_gate(id, "finish").await?;
    ensure!(status["can_roll_back"] == false, "{status:#}");
    operator.signal(id, "rollback", None).await?;
    operator.signal(id, "abort", None).await?;
    operator.told(&["cancel", "-w", id]).await?;
    let refused = operator
        .crossfade(&["rollback", "--id", id])
        .await
        .expect_err("too late");
    says(&format!("{refused:#}"), &["point of no return"])?;
    let cancelled = |status: &Value| {
        let rejected = status["rejected"].as_array().map_or(&[][..], Vec::as_slice);
        ["rollback", "abort", "cancel"].iter().all(|what| {
            rejected
                .iter()
                .any(|entry| entry["what"] == *what && entry["entry"].to_string().contains("point of no return"))
        })
    };
    operator.until(id, "all three refused and recorded", cancelled).await?;
    operator.approve(id, "finish").await?;
    let report = operator.end(&scene.testbed, id).await?.completed()?;
    is_clean(&report)?;
    going.stop().await?;
    tokio::time::timeout(Duration::from_secs(120), traffic.settle()).await??;
    judged(&scene.testbed, scene.testbed.target(), [traffic.end()]).await
}
