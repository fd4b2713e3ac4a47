//! Which records are compared: of which Namespaces, and which share of them.

use std::collections::BTreeMap;

use crossfade_visibility::{
    compare::Options,
    digest, division,
    ports::{Range, Read},
    record::Key,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{stores, truth::Witness, whole};
use crate::{
    cli::{Diff, Global, Share},
    exit::Failure,
};

/// About how many records are compared before any of them is settled: some minutes' work, so that what the cluster writes
/// meanwhile stays little.
const AT_ONCE: u64 = 20_000_000;

/// What is compared.
pub(super) struct Scope {
    /// The parts of the key space, in order.
    pub(super) ranges: Vec<Range>,
    /// About how many records of the source that is.
    pub(super) records: u64,
    /// How many it has in the Namespaces that were asked for.
    pub(super) of: u64,
    /// Records to read at a time.
    pub(super) page: usize,
    /// The ids of the Namespaces.
    namespaces: Vec<String>,
}

impl Scope {
    pub(super) async fn of(
        global: &Global,
        args: &Diff,
        source: &dyn Read,
        target: &dyn Read,
    ) -> Result<Self, Failure> {
        let failure = |error| stores::failure(&error);
        let counts = source.count(None).await.map_err(failure)?;
        let mut records: BTreeMap<String, u64> = counts.into_iter().map(|(id, count)| (id, count.total())).collect();
        for id in target.namespaces().await.map_err(failure)? {
            records.entry(id).or_default();
        }
        if !args.only.is_empty() {
            let ids = ids(global, args, &records).await?;
            records.retain(|id, _| ids.contains(id));
        }
        let of = records.values().sum();
        let mut scope = Self {
            ranges: whole(),
            records: of,
            of,
            page: Options::default().page,
            namespaces: records.keys().cloned().collect(),
        };
        if let Some(share) = args.sample {
            scope.ranges = records
                .iter()
                .flat_map(|(id, count)| sampled(id, *count, share, args.seed))
                .collect();
            scope.records = (of as f64 * share.0) as u64;
            // What is read beyond the end of a range is read in vain.
            let ranges = scope.ranges.len().max(1) as u64;
            scope.page =
                usize::try_from(scope.records * 2 / ranges).map_or(scope.page, |page| page.clamp(50, scope.page));
        } else if !args.only.is_empty() {
            let of_one = |id: &String| Range {
                namespace_id: Some(id.clone()),
                ..Range::default()
            };
            scope.ranges = records.keys().map(of_one).collect();
        } else {
            scope.ranges = division::between(division::cuts(&records, of.div_ceil(AT_ONCE)));
        }
        Ok(scope)
    }

    /// The keys that these runs have in any of the Namespaces.
    pub(super) fn keys(&self, runs: &[String]) -> Vec<Key> {
        let of_namespace = |id: &String| {
            runs.iter()
                .map(|run| Key::new(id.clone(), run.clone()))
                .collect::<Vec<_>>()
        };
        self.namespaces.iter().flat_map(of_namespace).collect()
    }

    /// What a comparison has to agree on with the one that it goes on for.
    pub(super) fn question(&self, args: &Diff, from: &str, to: &str, all: bool) -> Value {
        json!({
            "from": from,
            "to": to,
            "only": args.only,
            "sample": args.sample.map(|share| share.0),
            "seed": args.seed,
            "since": args.since.is_some(),
            "every_record_named": all,
        })
    }
}

/// The ids of the Namespaces that are named, of which each store may or may not have records.
async fn ids(global: &Global, args: &Diff, known: &BTreeMap<String, u64>) -> Result<Vec<String>, Failure> {
    let is_id = |name: &String| known.contains_key(name) || uuid::Uuid::parse_str(name).is_ok();
    let (mut ids, names): (Vec<String>, Vec<String>) = args.only.iter().cloned().partition(is_id);
    if !names.is_empty() {
        let witness = Witness::connect(&global.connection, args.truth.as_deref(), "--only").await?;
        for name in names {
            match witness.id_of(&name) {
                Some(id) => ids.push(id.to_owned()),
                None => {
                    return Err(Failure::refused(format!(
                        "--only: there is no Namespace `{name}`; expected a Namespace's name or id. Next step: see \
                         `temporal operator namespace list`"
                    )));
                }
            }
        }
    }
    Ok(ids)
}

/// The parts of one Namespace that a sample takes: of all ways in which run ids begin, those that come first by a hash.
fn sampled(namespace_id: &str, records: u64, share: Share, seed: u64) -> Vec<Range> {
    let digits: usize = if records > 100_000 { 3 } else { 2 };
    let cells = 1_u32 << (4 * digits);
    let mut ranked: Vec<([u8; 32], String)> = (0..cells)
        .map(|cell| {
            let prefix = format!("{cell:0digits$x}");
            let rank = Sha256::digest(format!("{seed} {namespace_id} {prefix}"));
            (rank.into(), prefix)
        })
        .collect();
    ranked.sort();
    ranked.truncate(((f64::from(cells) * share.0).ceil() as usize).max(1));
    let mut prefixes: Vec<String> = ranked.into_iter().map(|(_, prefix)| prefix).collect();
    prefixes.sort();
    let key = |run_id: String| Key::new(namespace_id, run_id);
    let range = |prefix: &String| {
        let (before, after) = digest::bounds(prefix)?;
        Some(Range {
            namespace_id: Some(namespace_id.to_owned()),
            after: before.map(key),
            until: after.map(key),
        })
    };
    prefixes.iter().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMESPACE: &str = "5e82b0c4-3d1f-4b9a-9c27-14a6d8f3e502";

    #[test]
    fn a_sample_is_its_share_the_same_for_a_seed_and_another_for_another() {
        let of = |share: f64, seed: u64| sampled(NAMESPACE, 1_000_000, Share(share), seed);
        assert_eq!(of(0.01, 7).len(), 41);
        assert_eq!(of(0.01, 7), of(0.01, 7));
        assert_ne!(of(0.01, 7), of(0.01, 8));
        assert_eq!(of(1.0, 0).len(), 4096);
        assert_eq!(of(1e-9, 0).len(), 1);
        let (starts, mut sorted) = (of(0.2, 1), of(0.2, 1));
        sorted.sort_by(|a, b| a.after.cmp(&b.after));
        assert_eq!(starts, sorted, "in the order of keys, which a cursor needs");
    }
}
