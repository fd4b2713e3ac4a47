//! One migration for each cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use crossfade_cluster::canary::{self, Flock};
use crossfade_cluster::lock::{self, Acquire, HolderState, LockError, Owner};
use crossfade_cluster::{ExecutionKey, Frontend};

use crate::server::{NAMESPACE, Plan, Server, on_each_release};

on_each_release!(
    the_lock_goes_from_owner_to_owner_and_never_to_two,
    an_owner_on_another_cluster_is_asked_there,
);

/// A running workflow to stand for a migration.
async fn migration(frontend: &Frontend, seed: &str) -> (Owner, ExecutionKey) {
    let cluster = frontend.cluster().await.expect("cluster");
    let flock = Flock {
        namespace: NAMESPACE.to_owned(),
        namespace_id: frontend
            .namespace(NAMESPACE)
            .await
            .expect("namespace")
            .expect("namespace")
            .id,
        seed: seed.to_owned(),
        shards: 1,
        memo: BTreeMap::new(),
        search_attributes: BTreeMap::new(),
        lifetime: Duration::from_secs(600),
        at_once: 1,
    };
    let key = canary::start(frontend, &flock).await.expect("started").remove(0);
    let owner = Owner {
        cluster_id: cluster.id,
        namespace: NAMESPACE.to_owned(),
        workflow_id: key.workflow_id.clone(),
    };
    (owner, key)
}

/// One test, because there is one lock.
async fn the_lock_goes_from_owner_to_owner_and_never_to_two(server: &'static Server) {
    let frontend = server.frontend().await;
    let (first, first_run) = migration(&frontend, "migration-first").await;
    let (second, second_run) = migration(&frontend, "migration-second").await;
    assert_eq!(lock::holder(&frontend, None).await.expect("asked"), None);

    let mine = Acquire::Acquired { taken_from: None };
    assert_eq!(lock::acquire(&frontend, &first, None).await.expect("asked"), mine);
    assert_eq!(
        lock::acquire(&frontend, &first, None).await.expect("asked again"),
        mine,
        "it is ours already"
    );

    let Acquire::HeldBy(holder) = lock::acquire(&frontend, &second, None).await.expect("asked") else {
        panic!("two migrations hold the lock")
    };
    assert_eq!((&holder.owner, holder.state), (&first, HolderState::Running));
    assert!(holder.since.is_some());
    let refused = lock::release(&frontend, &second).await.expect_err("not its lock");
    assert!(
        matches!(&refused, LockError::NotOwner(held) if held.owner == first),
        "{refused}"
    );
    assert!(refused.to_string().contains(&first.workflow_id), "{refused}");

    // The first one ends without giving the lock back.
    frontend
        .terminate(NAMESPACE, &first_run.workflow_id, &first_run.run_id, "test")
        .await
        .expect("terminated");
    let held = lock::holder(&frontend, None)
        .await
        .expect("asked")
        .expect("still there");
    assert_eq!(held.state, HolderState::Gone);
    let taken = lock::acquire(&frontend, &second, None).await.expect("asked");
    assert_eq!(
        taken,
        Acquire::Acquired {
            taken_from: Some(first.clone())
        }
    );
    lock::release(&frontend, &first)
        .await
        .expect_err("not its lock any more");

    lock::release(&frontend, &second).await.expect("released");
    lock::release(&frontend, &second).await.expect("released again");
    assert_eq!(lock::holder(&frontend, None).await.expect("asked"), None);

    // An owner on a cluster that nobody here can ask.
    let far = Owner {
        cluster_id: "4b9f0f5e-0000-4000-8000-000000000000".into(),
        ..first.clone()
    };
    assert_eq!(lock::acquire(&frontend, &far, None).await.expect("asked"), mine);
    let Acquire::HeldBy(holder) = lock::acquire(&frontend, &second, Some(&frontend)).await.expect("asked") else {
        panic!("a lock whose owner is out of sight was taken")
    };
    assert_eq!(holder.state, HolderState::Elsewhere);
    assert_eq!(lock::break_open(&frontend).await.expect("broken"), Some(far));

    // Ten ask at the same time.
    let (third, third_run) = migration(&frontend, "migration-third").await;
    let asked = futures::future::join_all((0..10).map(|at| {
        let owner = if at % 2 == 0 { &second } else { &third };
        let frontend = &frontend;
        async move { (owner, lock::acquire(frontend, owner, None).await.expect("asked")) }
    }))
    .await;
    let holder = lock::holder(&frontend, None)
        .await
        .expect("asked")
        .expect("somebody")
        .owner;
    for (owner, answer) in asked {
        assert_eq!(
            matches!(answer, Acquire::Acquired { .. }),
            *owner == holder,
            "{owner:?} was told {answer:?}"
        );
    }
    lock::release(&frontend, &holder).await.expect("released");
    canary::remove(&frontend, NAMESPACE, &[first_run, second_run, third_run], 3)
        .await
        .expect("removed");
}

async fn an_owner_on_another_cluster_is_asked_there(server: &'static Server) {
    let control = server.frontend().await;
    let server = Server::start(Plan::new(server.release));
    let migrated = server.frontend().await;
    let (first, first_run) = migration(&control, "migration-elsewhere-first").await;
    let (second, second_run) = migration(&control, "migration-elsewhere-second").await;
    let mine = Acquire::Acquired { taken_from: None };
    assert_eq!(
        lock::acquire(&migrated, &first, Some(&control)).await.expect("asked"),
        mine
    );

    let state = async |control| {
        lock::holder(&migrated, control)
            .await
            .expect("asked")
            .expect("held")
            .state
    };
    assert_eq!(state(Some(&control)).await, HolderState::Running);
    assert_eq!(state(None).await, HolderState::Elsewhere);
    control
        .terminate(NAMESPACE, &first_run.workflow_id, &first_run.run_id, "test")
        .await
        .expect("terminated");
    assert_eq!(state(Some(&control)).await, HolderState::Gone);

    let Acquire::HeldBy(_) = lock::acquire(&migrated, &second, None).await.expect("asked") else {
        panic!("taken without a look at the other cluster")
    };
    let taken = lock::acquire(&migrated, &second, Some(&control)).await.expect("asked");
    assert_eq!(
        taken,
        Acquire::Acquired {
            taken_from: Some(first)
        }
    );
    lock::release(&migrated, &second).await.expect("released");
    canary::remove(&control, NAMESPACE, &[first_run, second_run], 2)
        .await
        .expect("removed");
}
