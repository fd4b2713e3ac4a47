//! `crossfade routes`: which pairs of stores can be migrated on which server.

use crossfade_plan::route::{listing, whole_listing};

use crate::{
    cli::{self, Global},
    exit::{Exit, Outcome},
    render,
};

pub(super) fn run(global: &Global, args: &cli::Routes) -> Outcome {
    match (args.server, global.json) {
        (Some(version), true) => render::json(&listing(version)),
        (Some(version), false) => render::text(render::routes_of(version)),
        (None, true) => render::json(&whole_listing()),
        (None, false) => render::text(render::routes()),
    }
    Ok(Exit::Done)
}
