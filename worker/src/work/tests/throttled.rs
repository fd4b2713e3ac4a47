//! A worker that cannot see how hard the stores work does not hurry.

use anyhow::{Context as _, Result, ensure};
use crossfade_plan::{
    order::{Context, CopyRecords},
    throttle::Throttle,
};

use super::{
    super::{beat::Beat, copying, stores},
    scene::{Scene, several},
};

/// Preflight tells which stores say nothing of how hard they work, and what cannot be read; nothing where nobody looks.
pub(super) async fn what_is_not_seen_is_told_beforehand(scene: &Scene, id: &str) -> Result<()> {
    let mut context = scene.context(id)?;
    context.spec.throttle.cluster_metrics = vec!["http://127.0.0.1:1/metrics".to_owned()];
    let warnings = told(&context).await?;
    let silent = warnings
        .iter()
        .filter(|warning| warning.contains("does not tell how hard it works"));
    ensure!(silent.count() == 2, "both are SQLite files: {warnings:?}");
    let unread = warnings
        .iter()
        .filter(|warning| warning.contains("127.0.0.1:1/metrics"));
    ensure!(unread.count() == 1 && warnings.len() == 3, "{warnings:?}");
    context.spec.throttle.automatic = false;
    ensure!(told(&context).await?.is_empty());
    Ok(())
}

/// What preflight warns of that is about pressure.
async fn told(context: &Context) -> Result<Vec<String>> {
    let facts = stores::inspect(context, "1.30.8").await.map_err(several)?;
    let of_pressure = |warning: &String| warning.contains("records_per_second") || warning.contains("throttle.");
    Ok(facts.warnings.into_iter().filter(of_pressure).collect())
}

/// A gauge that cannot be read slows a copy and a comparison down before their first record, and they say why; unless the
/// operator switched that off.
pub(super) async fn what_cannot_see_the_pressure_goes_slowly(scene: &Scene, id: &str) -> Result<()> {
    let mut context = scene.context(id)?;
    // Nobody listens there.
    context.spec.throttle.cluster_metrics = vec!["http://127.0.0.1:1/metrics".to_owned()];
    for (off, limit) in [(false, Some(50)), (true, Some(700))] {
        let throttle = Throttle {
            off,
            ..Throttle::default()
        };
        let beat = Beat::default();
        let copied = copying::run(
            &CopyRecords {
                context: context.clone(),
                cursor: None,
                until: None,
                records_per_second: Some(700),
                throttle,
                budget_seconds: 60,
            },
            &beat,
        )
        .await?;
        ensure!(copied.done, "{copied:?}");
        let told = beat.now().limit.context("no limit is told")?;
        ensure!(told.records_per_second == limit, "{told:?}");
        let because = told.because.unwrap_or_default();
        ensure!(because.contains("127.0.0.1:1") != off, "{because:?}");
    }
    Ok(())
}
