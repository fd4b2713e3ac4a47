//! Which pairs are open on which server.

use console::style;
use crossfade_plan::route::{self, Answer, Trap, Version, Way};

use super::table::Table;

/// The whole table, a column for each run of versions that are alike.
pub(crate) fn routes() -> String {
    let columns = route::columns();
    let names: Vec<String> = columns.iter().map(|column| route::column_name(*column)).collect();
    let header: Vec<&str> = ["FROM, TO"]
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .collect();
    let mut table = Table::new(&header);
    for pair in route::shown() {
        let cells = columns
            .iter()
            .map(|(from, _)| route::cell_words(&route::cell(pair, Version::minor(*from))).to_owned());
        table.row([pair.to_string()].into_iter().chain(cells));
    }
    format!(
        "Which pairs Crossfade migrates, by the cluster's server version\n{table}\n\n  \
         dual               the server writes both stores, told by `secondaryVisibilityStore`\n  \
         dual, either form  `secondaryVisibilityStore` is taken; the server would take \
         `elasticsearch.indices.secondary_visibility` as well\n  \
         dual, by index     that index form is the only one that the server takes\n  \
         refused            the server takes no such pair\n\n  \
         SQL is mysql8, postgres12, postgres12_pgx and sqlite, in any mixture; standard SQL is mysql, postgres and \
         postgres_pgx\n\n\
         Next step: `crossfade routes --server VERSION` shows how, why not, and the traps of that version"
    )
}

/// What holds on one version.
pub(crate) fn routes_of(version: Version) -> String {
    let mut open = Table::new(&["FROM, TO", "BY", "EXISTING RECORDS", "BACK AFTER PROMOTE"]);
    let mut ways: Vec<Way> = Vec::new();
    let mut refused: Vec<String> = Vec::new();
    for pair in route::shown() {
        match (route::cell(pair, version).answer, route::open(pair, version)) {
            (_, Ok(way)) => {
                let carries: Vec<&str> = way.carries().iter().map(|carry| carry.words()).collect();
                let back = if way.can_keep_warm() { "legal" } else { "refused" };
                open.row([
                    pair.to_string(),
                    way.form.to_string(),
                    carries.join(", or "),
                    back.to_owned(),
                ]);
                ways.push(way);
            }
            (Answer::Refused(why), Err(_)) => refused.push(format!("  {pair}\n    {}\n    {}", why.why, why.remedy)),
            (Answer::Dual { .. }, Err(problem)) => {
                refused.push(format!("  {pair}\n    {}\n    {}", problem.message, problem.remedy));
            }
        }
    }
    let mut parts = vec![format!(
        "{}\n{open}",
        style(format!("Open on Temporal Server {version}")).bold()
    )];
    if let Some(schemas) = route::schemas(version) {
        parts.push(format!(
            "Schemas that it expects\n  SQL {}, Elasticsearch template {}, Cassandra and standard SQL {}",
            schemas.sql,
            schemas.elasticsearch,
            schemas.standard.unwrap_or("gone")
        ));
    }
    parts.push(format!("Traps\n{}", traps(&ways)));
    parts.push(format!("Refused\n{}", refused.join("\n")));
    parts.join("\n\n")
}

/// Each trap once, with the pairs it is about where that is not all of them.
fn traps(ways: &[Way]) -> String {
    let mut seen: Vec<(&Trap, Vec<String>)> = Vec::new();
    for way in ways {
        for trap in way.traps() {
            match seen.iter_mut().find(|(known, _)| known.name == trap.name) {
                Some((_, pairs)) => pairs.push(way.pair.to_string()),
                None => seen.push((trap, vec![way.pair.to_string()])),
            }
        }
    }
    let lines: Vec<String> = seen
        .into_iter()
        .map(|(trap, pairs)| {
            let about = if pairs.len() == ways.len() {
                String::new()
            } else {
                format!("\n    ({})", pairs.join("; "))
            };
            format!("  {}: {}{about}", style(trap.name).bold(), trap.text)
        })
        .collect();
    lines.join("\n")
}
