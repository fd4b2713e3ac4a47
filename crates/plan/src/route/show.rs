//! The table in words: for the plan, for programs and as a page of the documentation.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{
    Form, Pair, Version, Way,
    carry::carries,
    open,
    table::{Answer, NEWEST, Server, Span, cell, pairs, spans},
    traps::{self, SCHEMAS, schemas},
};

/// What the plan says of its way: the form, how records are carried, the way back after promote, and each trap.
pub(super) fn lines(way: &Way) -> Vec<String> {
    let carries: Vec<&str> = way.carries().iter().map(|carry| carry.words()).collect();
    let mut lines = vec![
        format!(
            "{} on server {}, by `{}`{}",
            way.pair,
            way.version,
            way.form,
            other_form(way)
        ),
        format!("existing records: {}", carries.join(", or ")),
        if way.can_keep_warm() {
            "after promote: the server also accepts the pair the other way round".to_owned()
        } else {
            "after promote: the server does not accept the pair the other way round, so the source cannot be kept written"
                .to_owned()
        },
    ];
    lines.extend(way.traps().map(|trap| format!("{}: {}", trap.name, trap.text)));
    lines
}

fn other_form(way: &Way) -> String {
    match cell(way.pair, way.version).answer {
        Answer::Dual { either: true, .. } => format!(" (this server also takes `{}`)", Form::SecondaryIndex),
        _ => String::new(),
    }
}

/// What holds for every pair on one version, for programs.
pub fn listing(version: Version) -> Value {
    let listed: Vec<Value> = pairs()
        .map(|pair| {
            let mut entry = described(pair, &cell(pair, version));
            if let Ok(way) = open(pair, version) {
                entry["existing_records"] = json!(way.carries());
                entry["keep_warm"] = json!(way.can_keep_warm());
                entry["traps"] = json!(way.traps().collect::<Vec<_>>());
            }
            entry
        })
        .collect();
    json!({ "server": version.to_string(), "schemas": schemas(version), "pairs": listed })
}

/// What holds for every pair on every version, for programs.
pub fn whole_listing() -> Value {
    let listed: Vec<Value> = pairs()
        .map(|pair| {
            let rows = spans(pair);
            let described: Vec<Value> = rows
                .iter()
                .enumerate()
                .map(|(index, span)| {
                    let mut entry = described(pair, span);
                    entry["from"] = json!(format!("1.{}", span.from));
                    entry["before"] = json!(rows.get(index + 1).map(|next| format!("1.{}", next.from)));
                    entry
                })
                .collect();
            json!(described)
        })
        .collect();
    let traps: Vec<Value> = traps::all()
        .iter()
        .map(|trap| json!({"name": trap.name, "versions": trap.versions(), "text": trap.text, "source": trap.source}))
        .collect();
    let schemas: Vec<Value> = SCHEMAS
        .iter()
        .map(|schemas| {
            let mut entry = json!(schemas);
            entry["from"] = json!(schemas.from.to_string());
            entry
        })
        .collect();
    json!({ "oldest": Version::OLDEST.to_string(), "newest": format!("1.{NEWEST}"), "pairs": listed, "traps": traps, "schemas": schemas })
}

fn described(pair: Pair, span: &Span) -> Value {
    let mut entry = json!({
        "pair": pair.to_string(), "source": pair.source, "target": pair.target, "place": pair.place, "server": span.server,
    });
    match span.answer {
        Answer::Dual { form, either } => {
            entry["route"] = json!(super::Route::Dual);
            entry["form"] = json!(form);
            entry["either_form"] = json!(either);
        }
        Answer::Refused(refusal) => entry["refused"] = json!(refusal),
    }
    entry
}

/// The minor versions at which something changes for a pair that some version allows, each with the last that is like it.
pub fn columns() -> Vec<(u32, u32)> {
    let mut starts: Vec<u32> = shown()
        .flat_map(|pair| spans(pair).iter().map(|span| span.from))
        .collect();
    starts.sort_unstable();
    starts.dedup();
    let ends = starts.iter().skip(1).map(|next| next - 1).chain([NEWEST]);
    starts.iter().copied().zip(ends).collect()
}

/// The pairs that a person asks for: those whose target is one.
pub fn shown() -> impl Iterator<Item = Pair> {
    pairs().filter(|pair| pair.target.has_search_attributes())
}

/// The name of a column: `1.24`, or `1.21 to 1.23`.
pub fn column_name((from, to): (u32, u32)) -> String {
    if from == to {
        format!("1.{from}")
    } else {
        format!("1.{from} to 1.{to}")
    }
}

/// What stands in one cell: the route with its form, or why there is none in two words.
pub fn cell_words(span: &Span) -> &'static str {
    match (span.answer, span.server) {
        (
            Answer::Dual {
                form: Form::SecondaryIndex,
                ..
            },
            _,
        ) => "dual, by index",
        (Answer::Dual { either: true, .. }, _) => "dual, either form",
        (Answer::Dual { .. }, _) => "dual",
        (Answer::Refused(_), Server::Accepts) => "not offered",
        (Answer::Refused(_), _) => "refused",
    }
}

/// `docs/routes.md`. `checked` is `tests/routes/checked.tsv`: what real servers did.
pub fn markdown(checked: &str) -> String {
    let checked = Checked::parse(checked);
    let mut page = String::from(
        "# Which pair on which server\n\nWhat `crossfade routes` prints, and what `crossfade plan` decides by.\n\
         This page is written by a test (`cargo test -p crossfade-plan --test routes`) from `crates/plan/src/route/`, and what is \
         marked \u{2713} was checked by starting real servers (`cargo test -p e2e --test routes`).\n\n",
    );
    matrix(&mut page, &checked);
    details(&mut page);
    trap_table(&mut page);
    schema_table(&mut page);
    checked.table(&mut page);
    page
}

fn matrix(page: &mut String, checked: &Checked) {
    let columns = columns();
    let names: Vec<String> = columns.iter().map(|column| column_name(*column)).collect();
    let _ = writeln!(page, "| From, to | {} |", names.join(" | "));
    let _ = writeln!(page, "|---|{}", "---|".repeat(columns.len()));
    for pair in shown() {
        let cells: Vec<String> = columns
            .iter()
            .map(|(from, to)| {
                let mark = if checked.covers(pair, *from, *to) {
                    " \u{2713}"
                } else {
                    ""
                };
                format!("{}{mark}", cell_words(&cell(pair, Version::minor(*from))))
            })
            .collect();
        let _ = writeln!(page, "| {pair} | {} |", cells.join(" | "));
    }
    page.push_str(
        "\nSQL is `mysql8`, `postgres12`, `postgres12_pgx` (from 1.23) and `sqlite`, in any mixture; standard SQL is `mysql`, \
         `postgres` and `postgres_pgx`.\nOpenSearch is an `elasticsearch` entry to the server.\n\n\
         - *dual*: the server writes both stores, told by `persistence.secondaryVisibilityStore`.\n\
         - *dual, by index*: the server writes both indices, told by `elasticsearch.indices.secondary_visibility` of the \
         primary's own entry; it takes no other form.\n\
         - *dual, either form*: Crossfade takes `secondaryVisibilityStore`; the server would take the index form as well.\n\
         - *refused*: the server takes no such pair. Cassandra and standard SQL are no target on any server.\n\n",
    );
}

fn details(page: &mut String) {
    page.push_str(
        "## What each pair comes to\n\n| From, to | Server | The server | Crossfade | Existing records | Back after promote |\n\
         |---|---|---|---|---|---|\n",
    );
    for pair in pairs() {
        let rows = spans(pair);
        for (index, span) in rows.iter().enumerate() {
            let to = rows.get(index + 1).map_or(NEWEST, |next| next.from - 1);
            let (crossfade, records, back) = match span.answer {
                Answer::Dual { form, .. } => (
                    format!("dual, by `{form}`"),
                    records(pair, span.from, to),
                    keeps_warm(pair, span.from),
                ),
                Answer::Refused(refusal) => (
                    format!("refused: {}. {}", refusal.why, sentence(refusal.remedy)),
                    String::new(),
                    "",
                ),
            };
            let _ = writeln!(
                page,
                "| {pair} | {} | {} | {crossfade} | {records} | {back} |",
                column_name((span.from, to)),
                span.server.words()
            );
        }
    }
    page.push('\n');
}

/// How records are carried in these minor versions; they may differ within.
fn records(pair: Pair, from: u32, to: u32) -> String {
    let mut runs: Vec<(u32, String)> = Vec::new();
    for minor in from..=to {
        let words: Vec<&str> = carries(pair, Version::minor(minor))
            .iter()
            .map(|carry| carry.words())
            .collect();
        let words = words.join(", or ");
        if runs.last().is_none_or(|(_, last)| *last != words) {
            runs.push((minor, words));
        }
    }
    let single = runs.len() == 1;
    let runs: Vec<String> = runs
        .into_iter()
        .map(|(minor, words)| {
            if single {
                words
            } else {
                format!("from 1.{minor}: {words}")
            }
        })
        .collect();
    runs.join("; ")
}

fn keeps_warm(pair: Pair, minor: u32) -> &'static str {
    match open(pair, Version::minor(minor)) {
        Ok(way) if way.can_keep_warm() => "the pair is legal the other way round",
        _ => "none: the server refuses the pair the other way round",
    }
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

fn trap_table(page: &mut String) {
    page.push_str("## Traps\n\n| Name | Servers | What | Seen in |\n|---|---|---|---|\n");
    for trap in traps::all() {
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            trap.name,
            trap.versions(),
            sentence(trap.text),
            trap.source
        );
    }
    page.push('\n');
}

fn schema_table(page: &mut String) {
    page.push_str(
        "## Schemas\n\nThe server checks the schema of its primary only; Crossfade checks the target's.\n\n\
         | Server from | SQL | Elasticsearch template | Cassandra and standard SQL |\n|---|---|---|---|\n",
    );
    for schemas in &SCHEMAS {
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} |",
            schemas.from,
            schemas.sql,
            schemas.elasticsearch,
            schemas.standard.unwrap_or("gone")
        );
    }
    page.push('\n');
}

/// What real servers did, as `tests/routes` wrote it down: release, pair, stores, form and outcome, between tabs.
struct Checked<'a> {
    rows: Vec<(Version, &'a str, &'a str, &'a str, &'a str)>,
}

/// Stores and form, and what each release did.
type Row<'a> = ((&'a str, &'a str), BTreeMap<Version, &'a str>);

impl<'a> Checked<'a> {
    fn parse(text: &'a str) -> Self {
        let rows = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                let mut fields = line.split('\t');
                let release = Version::parse(fields.next()?)?;
                Some((release, fields.next()?, fields.next()?, fields.next()?, fields.next()?))
            })
            .collect();
        Self { rows }
    }

    fn covers(&self, pair: Pair, from: u32, to: u32) -> bool {
        let pair = pair.to_string();
        self.rows
            .iter()
            .any(|(release, checked, ..)| (from..=to).contains(&release.minor) && *checked == pair)
    }

    fn table(&self, page: &mut String) {
        let mut releases: Vec<Version> = self.rows.iter().map(|row| row.0).collect();
        releases.sort_unstable();
        releases.dedup();
        let mut cells: Vec<Row<'_>> = Vec::new();
        for (release, _, stores, form, outcome) in &self.rows {
            match cells.iter_mut().find(|(key, _)| *key == (*stores, *form)) {
                Some((_, outcomes)) => {
                    outcomes.insert(*release, *outcome);
                }
                None => cells.push(((*stores, *form), BTreeMap::from([(*release, *outcome)]))),
            }
        }
        let names: Vec<String> = releases.iter().map(ToString::to_string).collect();
        page.push_str(
            "## What real servers did\n\nEach was started with a config of the pair and agreed with the table above.\nWhere nothing \
             listened at a store's address, \"took the config\" says that the server had accepted the file and went on to connect.\n\n",
        );
        let _ = writeln!(page, "| Primary, secondary | Form | {} |", names.join(" | "));
        let _ = writeln!(page, "|---|---|{}", "---|".repeat(releases.len()));
        for ((stores, form), outcomes) in cells {
            let outcomes: Vec<&str> = releases
                .iter()
                .map(|release| outcomes.get(release).copied().unwrap_or("-"))
                .collect();
            let _ = writeln!(page, "| {stores} | `{form}` | {} |", outcomes.join(" | "));
        }
    }
}
