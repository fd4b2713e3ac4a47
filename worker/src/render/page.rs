//! The report as one HTML page that needs nothing else: no script, no font, no image, no request.

use crossfade_plan::{progress::Outcome, report::Report};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    report::{approval_rows, facts, host_rows, stage_rows},
    status::words_of,
    words::{count, exact_time},
};

const STYLE: &str = include_str!("page.css");

/// The page. Every value is escaped by the template.
pub(crate) fn page(report: &Report) -> String {
    let title = format!("Visibility migration {}", report.migration);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (title) }
                    p class={ "result " (tone(report)) } {
                        (report.result.as_ref().map_or("goes on; this is how it stands", words_of))
                    }
                }
                (proof(report))
                (section("Facts", html! {
                    dl { @for (name, value) in facts(report) { dt { (name) } dd { (value) } } }
                }))
                (section("Stages", table(["Stage", "Began", "Took"], stage_rows(report))))
                (section("Hosts", table(["Host", "Config", "Last restart"], host_rows(report))))
                @if !report.approvals.is_empty() {
                    (section("Approvals", table(["Gate", "By", "Accepted drift", "Note"], approval_rows(report))))
                }
                @if !report.next_steps.is_empty() {
                    (section("Next steps", html! { ol { @for step in &report.next_steps { li { (step) } } } }))
                }
                (section("Audit log", audit(report)))
            }
        }
    }
    .into_string()
}

/// The colour of the result.
fn tone(report: &Report) -> &'static str {
    match report.result {
        Some(Outcome::Migrated) => "good",
        Some(Outcome::RolledBack | Outcome::Aborted | Outcome::Refused) => "back",
        None => "open",
    }
}

/// The numbers that matter, large.
fn proof(report: &Report) -> Markup {
    let records = report.records.unwrap_or(report.compared);
    html! {
        section class="proof" {
            (number("records", records, false))
            (number("missing", report.drift.missing, report.drift.missing > 0))
            (number("stale", report.drift.stale, report.drift.stale > 0))
            (number("different", report.drift.different, report.drift.different > 0))
            (number("extra", report.drift.extra, report.drift.extra > 0))
        }
    }
}

fn number(name: &str, value: u64, bad: bool) -> Markup {
    html! { div class=[bad.then_some("bad")] { strong { (count(value)) } span { (name) } } }
}

fn section(title: &str, content: Markup) -> Markup {
    html! { section { h2 { (title) } (content) } }
}

fn table<const N: usize>(header: [&str; N], rows: Vec<[String; N]>) -> Markup {
    html! {
        table {
            thead { tr { @for name in header { th { (name) } } } }
            tbody { @for row in rows { tr { @for cell in row { td { (cell) } } } } }
        }
    }
}

fn audit(report: &Report) -> Markup {
    html! {
        table class="audit" {
            thead { tr { th { "When" } th { "What" } th { "Entry" } } }
            tbody {
                @for entry in &report.audit {
                    tr class=[(!entry.taken).then_some("refused")] {
                        td { (exact_time(entry.at)) }
                        td { (entry.what) @if !entry.taken { " (not taken)" } }
                        td { (entry.entry) }
                    }
                }
            }
        }
    }
}
