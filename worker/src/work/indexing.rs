//! The target's indexes: looked at, set aside while it is filled, built again.

use std::time::Duration;

use crossfade_plan::{
    indexes::{
        IndexFact, IndexesBuilt, IndexesParked, IndexesRestored, ParkIndexes, Parked, ParkedIndex, ParkedSetting,
        RestoreIndexes, not_worth,
    },
    order::{Context, Heartbeat},
    problem::{Code, Problem},
    spec::DeferIndexes,
};
use crossfade_stores::Store;
use crossfade_visibility::{
    copy::Step,
    indexing::{self, Building, Definition, Pace, Rebuilding, Setting},
};

use super::{beat::Beat, stores};

/// How long a write of the server may have to wait for an index, at most: it gives a visibility task 3 s in all (1.30.8:
/// service/history/transfer_queue_task_executor_base.go, `taskTimeout`).
const LONGEST_BLOCK: Duration = Duration::from_secs(2);

/// What a store says of its indexes; `None` for one that keeps them.
pub(crate) async fn look(store: &Store) -> Result<Option<IndexFact>, Problem> {
    let Some(indexing) = store.indexing() else {
        return Ok(None);
    };
    let survey = indexing.survey().await.map_err(|error| stores::trouble(&error))?;
    Ok(Some(IndexFact {
        present: survey.present,
        parked: survey.parked,
        refusal: survey.refusal,
    }))
}

/// Sets the target's indexes aside, where that still pays. What an earlier attempt, or an earlier run, set aside is part
/// of the answer.
pub(crate) async fn park(order: &ParkIndexes, beat: &Beat) -> Result<IndexesParked, Problem> {
    beat.doing("setting indexes aside");
    let target = stores::open_target(&order.context).await?;
    let Some(indexing) = target.indexing() else {
        return Ok(kept("it is of a kind that cannot do without"));
    };
    let survey = indexing.survey().await.map_err(|error| stores::trouble(&error))?;
    if survey.parked == 0 {
        if survey.present == 0 {
            return Ok(kept("it has none that only serve reading"));
        }
        if let Some(why) = reason_to_keep(&order.context, &target).await? {
            return Ok(kept(why));
        }
    }
    if let Some(refusal) = survey.refusal {
        return Ok(kept(refusal));
    }
    let parked = indexing.park().await.map_err(|error| stores::trouble(&error))?;
    Ok(IndexesParked {
        parked: on_the_wire(parked),
        kept: None,
    })
}

fn kept(why: impl Into<String>) -> IndexesParked {
    IndexesParked {
        parked: Parked::default(),
        kept: Some(why.into()),
    }
}

/// Preflight may have been days ago, and the target may not have been there.
async fn reason_to_keep(context: &Context, target: &Store) -> Result<Option<String>, Problem> {
    if context.spec.copy.defer_indexes == DeferIndexes::Always {
        return Ok(None);
    }
    let source = stores::open_source(context).await?;
    let count = async |store: &Store| -> Result<u64, Problem> {
        let counts = store
            .read()
            .count(None)
            .await
            .map_err(|error| stores::trouble(&error))?;
        Ok(counts.values().map(|count| count.total()).sum())
    };
    Ok(not_worth(count(&source).await?, count(target).await?))
}

/// Builds again what is set aside, by what the workflow remembers or what the store has written down.
pub(crate) async fn restore(order: &RestoreIndexes, beat: &Beat) -> Result<IndexesRestored, Problem> {
    beat.doing("building indexes again");
    let target = stores::open_target(&order.context).await?;
    let Some(indexing) = target.indexing() else {
        if order.parked == Parked::default() {
            return Ok(IndexesRestored {
                finished: true,
                ..IndexesRestored::default()
            });
        }
        return Err(Problem::new(
            Code::StoreUnsupported,
            format!("{} is not the store whose indexes were set aside", target.describe()),
        )
        .at("target.datastore"));
    };
    let mut watch = |progress: &Rebuilding| {
        beat.show(|heartbeat| show(heartbeat, progress));
        if beat.should_stop() { Step::Stop } else { Step::Continue }
    };
    let pace = Pace {
        longest_block: LONGEST_BLOCK,
        ..Pace::default()
    };
    let rebuilt = indexing
        .restore(&as_stored(&order.parked), pace, &mut watch)
        .await
        .map_err(|error| stores::trouble(&error))?;
    Ok(IndexesRestored {
        finished: rebuilt.finished,
        built: rebuilt.built,
        slowly: rebuilt.slowly,
    })
}

fn show(heartbeat: &mut Heartbeat, progress: &Rebuilding) {
    heartbeat.indexes = Some(IndexesBuilt {
        built: progress.built,
        total: progress.total,
    });
    heartbeat.doing = words(progress);
}

/// A rebuild in a line.
pub(crate) fn words(progress: &Rebuilding) -> String {
    if let Some(waiting) = &progress.waiting_for {
        return format!("waiting for {waiting}");
    }
    let done = format!("{} of {} indexes built", progress.built, progress.total);
    if progress.under_way.is_empty() {
        return done;
    }
    let under_way: Vec<String> = progress.under_way.iter().map(in_words).collect();
    format!("{done}, now {}", under_way.join(", "))
}

fn in_words(building: &Building) -> String {
    let Building { name, phase, percent } = building;
    match percent {
        Some(percent) => format!("{name} ({phase}, {percent} %)"),
        None => format!("{name} ({phase})"),
    }
}

fn on_the_wire(parked: indexing::Parked) -> Parked {
    let index = |index: Definition| ParkedIndex {
        name: index.name,
        statement: index.statement,
        tablespace: index.tablespace,
    };
    let setting = |setting: Setting| ParkedSetting {
        name: setting.name,
        value: setting.value,
    };
    Parked {
        indexes: parked.indexes.into_iter().map(index).collect(),
        settings: parked.settings.into_iter().map(setting).collect(),
    }
}

fn as_stored(parked: &Parked) -> indexing::Parked {
    let index = |index: &ParkedIndex| Definition {
        name: index.name.clone(),
        statement: index.statement.clone(),
        tablespace: index.tablespace.clone(),
    };
    let setting = |setting: &ParkedSetting| Setting {
        name: setting.name.clone(),
        value: setting.value.clone(),
    };
    indexing::Parked {
        indexes: parked.indexes.iter().map(index).collect(),
        settings: parked.settings.iter().map(setting).collect(),
    }
}
