//! What the target cannot hold as the source has it, counted over the source's records.

use std::time::Duration;

use crossfade_plan::{order::Unfit, problem::Problem};
use crossfade_visibility::{
    fit::{Misfit, Misfits},
    limits::{Length, Limits, Text},
    ports::{Range, Read},
};
use tokio::time::Instant;

use super::problems::store as store_problem;

/// Records looked at in one step.
const PAGE: usize = 1000;
/// How long preflight looks: a preflight is answered within two minutes. The plan says how many records were looked at.
const WITHIN: Duration = Duration::from_secs(40);

/// Counts what does not fit; nothing is read where the target holds all that the source can hold.
pub(crate) async fn look(source: &dyn Read, of_source: &Limits, of_target: &Limits) -> Result<Vec<Unfit>, Problem> {
    if of_source == of_target {
        return Ok(Vec::new());
    }
    let mut found = Misfits::default();
    let mut range = Range::default();
    let until = Instant::now() + WITHIN;
    while Instant::now() < until {
        let page = source.scan(&range, PAGE).await.map_err(|error| store_problem(&error))?;
        let Some(last) = page.last() else { break };
        range.after = Some(last.key.clone());
        for record in &page {
            found.look(record, of_target);
        }
    }
    Ok(found
        .found
        .iter()
        .map(|(misfit, (records, example))| Unfit {
            what: in_words(*misfit, of_target),
            records: *records,
            of: found.records,
            refused: misfit.is_refused(),
            example: example.to_string(),
        })
        .collect())
}

/// What does not fit, with the target's bound.
fn in_words(misfit: Misfit, limits: &Limits) -> String {
    let at_most = |length: Length| match length {
        Length::Any => String::new(),
        Length::Characters(limit) => format!(" (at most {limit} characters)"),
        Length::Bytes(limit) => format!(" (at most {limit} bytes)"),
    };
    let bound = match misfit {
        Misfit::LongName => at_most(limits.name),
        Misfit::LongKeyword => at_most(limits.keyword),
        Misfit::Text => match limits.text {
            Text::Of(length) => at_most(length),
            Text::Tsvector => String::new(),
        },
        Misfit::Time => format!(" ({} to {})", limits.times.0, limits.times.1),
        Misfit::Number => limits
            .double_below
            .map(|limit| format!(" (below {limit})"))
            .unwrap_or_default(),
        Misfit::Document => limits
            .document
            .map(|limit| format!(" (at most {limit} bytes)"))
            .unwrap_or_default(),
        Misfit::FineTime => format!(" (it keeps {:?}s)", limits.precision).to_lowercase(),
        Misfit::Nul | Misfit::Several => String::new(),
    };
    format!("{}{bound}", misfit.words())
}
