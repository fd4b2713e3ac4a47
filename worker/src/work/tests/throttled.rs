//! A worker that cannot see how hard the stores work does not hurry.

use anyhow::{Context as _, Result, ensure};
use crossfade_plan::{order::CopyRecords, throttle::Throttle};

use super::{
    super::{beat::Beat, copying},
    scene::Scene,
};

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
