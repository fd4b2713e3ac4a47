//! All output for people: data to stdout, the rest to stderr.

pub(crate) mod live;
mod page;
mod plan;
mod report;
mod routes;
mod status;
mod table;
#[cfg(test)]
mod tests;
mod words;

use std::{fmt::Display, io::Write};

use serde::Serialize;

pub(crate) use self::{
    page::page,
    plan::plan,
    report::{audit, report},
    routes::{routes, routes_of},
    status::status,
    table::Table,
    words::{count, counted, exact_time, size, span},
};
use crate::exit::Failure;

/// Prints data for people.
pub(crate) fn text(text: impl Display) {
    write(&mut std::io::stdout().lock(), &text);
}

/// Prints data for programs: one line of JSON.
pub(crate) fn json(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(line) => text(line),
        Err(error) => note(format!("no JSON form: {error}")),
    }
}

/// Says something beside the data.
pub(crate) fn note(text: impl Display) {
    write(&mut std::io::stderr().lock(), &text);
}

/// Says why a command did not do what it was asked; with `as_json` programs are told too.
pub(crate) fn failure(failure: &Failure, as_json: bool) {
    note(format!(
        "{} {}",
        console::style("error:").red().bold().for_stderr(),
        failure.message
    ));
    if as_json {
        json(&failure.to_json());
    }
}

/// Writes a line. A reader that went away (`| head`) is no error of ours.
fn write(to: &mut impl Write, text: &impl Display) {
    let _ = writeln!(to, "{text}").and_then(|()| to.flush());
}
