//! What the target cannot hold as the source has it, counted over the source's records.

use std::time::Duration;

use crossfade_plan::{order::Unfit, problem::Problem};
use crossfade_visibility::{
    fit::{Misfit, Misfits},
    limits::{Length, Limits, Text},
    ports::{Range, Read},
};
use tokio::time::Instant;

use super::stores::trouble;

/// Records looked at in one step.
const PAGE: usize = 1000;
/// How long preflight looks: it is answered within two minutes.
pub(crate) const WITHIN: Duration = Duration::from_secs(40);

/// What does not fit, as far as was looked.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// What does not fit.
    pub(crate) unfit: Vec<Unfit>,
    /// How many records were looked at, where that was not all of them.
    pub(crate) only: Option<u64>,
}

impl Looked {
    /// That not all of about `records` were looked at, for the operator.
    pub(crate) fn caveat(&self, records: u64) -> Option<String> {
        let only = self.only?;
        Some(format!(
            "what the target cannot hold was looked for in the first {only} of about {records} records, which is what {} s \
             are enough for; more of the others may not fit",
            WITHIN.as_secs()
        ))
    }
}

/// Counts what does not fit, for as long as `within`; nothing is read where the target holds all that the source can hold.
pub(crate) async fn look(
    source: &dyn Read,
    of_source: &Limits,
    of_target: &Limits,
    within: Duration,
) -> Result<Looked, Problem> {
    if of_source == of_target {
        return Ok(Looked::default());
    }
    let mut found = Misfits::default();
    let mut range = Range::default();
    let until = Instant::now() + within;
    let only = loop {
        if Instant::now() >= until {
            break Some(found.records);
        }
        let page = source.scan(&range, PAGE).await.map_err(|error| trouble(&error))?;
        let Some(last) = page.last() else { break None };
        range.after = Some(last.key.clone());
        for record in &page {
            found.look(record, of_target);
        }
    };
    let unfit = found
        .found
        .iter()
        .map(|(misfit, (records, example))| Unfit {
            what: in_words(*misfit, of_target),
            records: *records,
            of: found.records,
            refused: misfit.is_refused(),
            example: example.to_string(),
        })
        .collect();
    Ok(Looked { unfit, only })
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
