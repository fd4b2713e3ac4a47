//! Where the frontend reads, proven by a record that only the target has, and by equal counts.

use std::{collections::BTreeSet, time::Duration};

use crossfade_cluster::{
    Frontend,
    frontend::{Namespace, NamespaceLife},
};
use crossfade_plan::{
    order::{Answers, ProveReads, ReadsProven},
    problem::{Code, Problem},
    spec::Spec,
};
use crossfade_visibility::{
    ports::{Condemned, Read},
    record::marker_record,
};
use jiff::Timestamp;
use tokio::time::Instant;
use uuid::Uuid;

use super::{beat::Beat, frontend, problems::call, stores};

/// How long a restarted cluster is given to serve.
const SERVING_WITHIN: Duration = Duration::from_secs(120);
/// How long the frontends are given to answer from the right store.
const RIGHT_WITHIN: Duration = Duration::from_secs(60);
/// Right answers in a row from one address, behind which there may be several frontends.
const IN_A_ROW: u32 = 5;
/// How long counts are given to agree while traffic goes on.
const EQUAL_WITHIN: Duration = Duration::from_secs(30);
/// Pause between two questions.
const PAUSE: Duration = Duration::from_millis(200);

/// Asks every frontend in every Namespace which store answers, and compares counts.
pub(crate) async fn prove(order: &ProveReads, beat: &Beat) -> Result<ReadsProven, Problem> {
    let spec = &order.context.spec;
    let main = frontend::await_open(spec, SERVING_WITHIN).await?;
    let namespaces: Vec<Namespace> = main
        .namespaces()
        .await
        .map_err(|error| call(&error))?
        .into_iter()
        .filter(|namespace| namespace.state != NamespaceLife::Deleted)
        .filter(|namespace| {
            order
                .namespaces
                .as_ref()
                .is_none_or(|names: &BTreeSet<String>| names.contains(&namespace.name))
        })
        .collect();
    let frontends = every_frontend(spec, main).await;
    match marked(order, &frontends, &namespaces, beat).await? {
        Marked::Proven => {}
        // The way back is open when the target is broken, too: counts alone have to do, and a frontend that still
        // asked the target would not answer.
        Marked::NoTarget(problem) => {
            tracing::warn!(%problem, "the target takes no marker; counts alone tell who answers")
        }
    }
    let store = match order.from {
        Answers::Source => stores::open_source(&order.context).await?,
        Answers::Target => stores::open_target(&order.context).await?,
    };
    let counted = counts_agree(order.from, &frontends, &namespaces, &*store.read(), beat).await?;
    Ok(ReadsProven {
        namespaces: u32::try_from(namespaces.len()).unwrap_or(u32::MAX),
        counted,
    })
}

/// What came of a proof by marker.
enum Marked {
    /// The right store answers.
    Proven,
    /// The source is to answer, and the target could not be written.
    NoTarget(Problem),
}

/// Puts a record into the target alone, and asks every frontend for it.
async fn marked(
    order: &ProveReads,
    frontends: &[Frontend],
    namespaces: &[Namespace],
    beat: &Beat,
) -> Result<Marked, Problem> {
    let marker = format!("crossfade-marker-{}", order.context.key);
    let now = Timestamp::now();
    let records: Vec<_> = namespaces
        .iter()
        .map(|namespace| {
            let run_id = Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{marker}/{}", namespace.id).as_bytes());
            let mut record = marker_record(&namespace.id, &marker, &run_id.to_string(), now);
            // Elasticsearch remembers the version of what was deleted for a minute (index.gc_deletes), and takes nothing
            // that is not later: the marker of this proof has to be later than that of the one before.
            record.version = Some(now.as_millisecond());
            record
        })
        .collect();
    let put = async {
        let target = stores::open_target(&order.context).await?.write();
        target.put(&records).await.map_err(|error| stores::trouble(&error))?;
        Ok(target)
    };
    let target = match put.await {
        Ok(target) => target,
        Err(problem) if order.from == Answers::Source => return Ok(Marked::NoTarget(problem)),
        Err(problem) => return Err(problem),
    };
    let proven = ask_all(order.from, frontends, namespaces, &marker, beat).await;
    // Whatever came of it, the marker does not stay.
    let keys: Vec<Condemned> = records
        .into_iter()
        .map(|record| Condemned {
            key: record.key,
            at_most: Some(now.as_millisecond()),
        })
        .collect();
    target.delete(&keys).await.map_err(|error| stores::trouble(&error))?;
    proven.map(|()| Marked::Proven)
}

/// The frontend of the spec, and each member of the ring that can be reached by itself.
async fn every_frontend(spec: &Spec, main: Frontend) -> Vec<Frontend> {
    let mut frontends = vec![main.clone()];
    let Ok(settings) = frontend::settings(spec) else {
        return frontends;
    };
    let members = main
        .members()
        .await
        .map(|members| members.by_service)
        .unwrap_or_default();
    let addresses = members.get("frontend").cloned().unwrap_or_default();
    if addresses.len() > 1 {
        for address in addresses {
            match Frontend::connect(&settings.to_address(address.as_str())).await {
                Ok(frontend) => frontends.push(frontend),
                Err(error) => tracing::warn!(%address, %error, "a frontend cannot be asked by itself"),
            }
        }
    }
    frontends
}

async fn ask_all(
    from: Answers,
    frontends: &[Frontend],
    namespaces: &[Namespace],
    marker: &str,
    beat: &Beat,
) -> Result<(), Problem> {
    for frontend in frontends {
        for namespace in namespaces {
            beat.doing(format!(
                "asking {} which store answers for {}",
                frontend.address(),
                namespace.name
            ));
            ask(from, frontend, &namespace.name, marker).await?;
        }
    }
    Ok(())
}

async fn ask(from: Answers, frontend: &Frontend, namespace: &str, marker: &str) -> Result<(), Problem> {
    let query = format!("WorkflowId = '{marker}'");
    let until = Instant::now() + RIGHT_WITHIN;
    let mut right = 0;
    while right < IN_A_ROW {
        let found = !frontend
            .list(namespace, &query, 1)
            .await
            .map_err(|error| call(&error))?
            .is_empty();
        if found == (from == Answers::Target) {
            right += 1;
        } else if Instant::now() >= until {
            let (expected, answering) = match from {
                Answers::Source => ("source", "target"),
                Answers::Target => ("target", "source"),
            };
            return Err(Problem::new(
                Code::ReadsWrong,
                format!(
                    "Namespace {namespace}: {} still answers from the {answering}, not from the {expected}",
                    frontend.address()
                ),
            )
            .at("cluster.frontend"));
        } else {
            right = 0;
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// The frontend's count of each Namespace equals the store's, at some moment.
async fn counts_agree(
    from: Answers,
    frontends: &[Frontend],
    namespaces: &[Namespace],
    store: &dyn Read,
    beat: &Beat,
) -> Result<u64, Problem> {
    let Some(frontend) = frontends.first() else {
        return Ok(0);
    };
    let mut counted = 0;
    for namespace in namespaces {
        beat.doing(format!(
            "comparing the frontend's count of {} with the store's",
            namespace.name
        ));
        counted += count_agrees(from, frontend, namespace, store).await?;
    }
    Ok(counted)
}

async fn count_agrees(
    from: Answers,
    frontend: &Frontend,
    namespace: &Namespace,
    store: &dyn Read,
) -> Result<u64, Problem> {
    let until = Instant::now() + EQUAL_WITHIN;
    loop {
        let before = stored(store, &namespace.id).await?;
        let told = told(frontend, &namespace.name).await?;
        let after = stored(store, &namespace.id).await?;
        let counts = match (told, from) {
            (Some(told), _) if (before.min(after)..=before.max(after)).contains(&told) => return Ok(told),
            (Some(told), _) => told.to_string(),
            // A store without search attributes cannot count (1.23.1: common/persistence/visibility/store/standard), and
            // only a source is such a one: that it answers is proven by this alone.
            (None, Answers::Source) => return Ok(after),
            (None, Answers::Target) => "by a store that cannot count".to_owned(),
        };
        if Instant::now() >= until {
            return Err(Problem::new(
                Code::ReadsWrong,
                format!(
                    "Namespace {}: the frontend counts {counts} executions, the store has {after}",
                    namespace.name
                ),
            )
            .at("cluster.frontend"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn stored(store: &dyn Read, namespace_id: &str) -> Result<u64, Problem> {
    let counts = store
        .count(Some(namespace_id))
        .await
        .map_err(|error| stores::trouble(&error))?;
    Ok(counts.values().map(|count| count.total()).sum())
}

/// What the frontend counts; `None` when the store that answers cannot count. A query that does not name the division
/// leaves executions of Temporal's own features (schedules, deployments) out (1.30.8:
/// common/persistence/visibility/store/query), so both are asked for.
async fn told(frontend: &Frontend, namespace: &str) -> Result<Option<u64>, Problem> {
    let mut told = 0;
    for query in [
        "TemporalNamespaceDivision IS NULL",
        "TemporalNamespaceDivision IS NOT NULL",
    ] {
        match frontend
            .try_count(namespace, query)
            .await
            .map_err(|error| call(&error))?
        {
            Some(count) => told += count,
            None => return Ok(None),
        }
    }
    Ok(Some(told))
}
