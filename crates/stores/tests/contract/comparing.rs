//! Comparisons of two stores that rest.

use std::time::Duration;

use crossfade_visibility::compare::{Options, Outcome, Progress, compare};
use crossfade_visibility::copy::Step;
use crossfade_visibility::ports::{Range, Read};

/// Nothing is written meanwhile, so that suspects need no time; each one that differs is named.
pub(crate) fn options() -> Options {
    Options {
        page: 100,
        pause: Duration::ZERO,
        sample: usize::MAX,
        ..Options::default()
    }
}

/// Everything, to the end.
pub(crate) async fn compared(source: &dyn Read, target: &dyn Read, options: Options) -> Outcome {
    let mut watch = |_: &Progress| Step::Continue;
    let (everything, from) = (Range::default(), Progress::default());
    let compared = compare(source, target, None, &everything, from, options, &mut watch).await;
    compared.expect("a comparison")
}
