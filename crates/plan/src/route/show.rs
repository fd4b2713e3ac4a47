//! The table in words.

use super::{Way, table::Answer, table::cell};

/// What the plan says of its way: the form, how records are carried, the way back after promote, and each trap.
pub(super) fn lines(way: &Way) -> Vec<String> {
    let other = match cell(way.pair, way.version).answer {
        Answer::Dual { either: true, .. } => " (this server also takes `elasticsearch.indices.secondary_visibility`)",
        _ => "",
    };
    let carries: Vec<&str> = way.carries().iter().map(|carry| carry.words()).collect();
    let mut lines = vec![
        format!("{} on server {}, by `{}`{other}", way.pair, way.version, way.form),
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
