//! Reading a spec from a file that a person wrote, YAML or JSON, so that each mistake is told with its line.

mod lines;

use std::{fmt, io::Read, path::Path};

use crossfade_plan::{
    problem::{Code, Problem},
    spec::Spec,
};
use serde_json::{Value, json};

use self::lines::Lines;
use crate::exit::{Exit, Failure};

/// A spec that was read and found good.
#[derive(Debug)]
pub(crate) struct SpecFile {
    /// The spec.
    pub(crate) spec: Spec,
    /// The same as JSON: what the workflow gets.
    pub(crate) json: Value,
}

/// One thing that is wrong with a spec file, and where.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mistake {
    file: String,
    line: Option<usize>,
    problem: Problem,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(field) = &self.problem.place {
            write!(f, ": {field}")?;
        }
        write!(f, ": {}", self.problem.message)
    }
}

impl SpecFile {
    /// Reads and checks the spec in `path`; `-` is standard input.
    ///
    /// # Errors
    /// Every mistake in it, or why it cannot be read.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let (name, bytes) = if path == Path::new("-") {
            let mut bytes = Vec::new();
            let read = std::io::stdin().read_to_end(&mut bytes);
            ("standard input".to_owned(), read.map(|_| bytes))
        } else {
            (path.display().to_string(), std::fs::read(path))
        };
        let bytes = bytes.map_err(|error| Failure::refused(format!("{name} cannot be read: {error}")))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let read = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = read.iter().filter(|byte| **byte == b'\n').count() + 1;
            refusal(&[mistake(&name, Some(line), "not UTF-8 text; save the file as UTF-8")])
        })?;
        Self::parse(&name, &text).map_err(|mistakes| refusal(&mistakes))
    }

    /// Checks the spec in `text`; `name` is what messages call the file.
    ///
    /// # Errors
    /// Every mistake in it.
    fn parse(name: &str, text: &str) -> Result<Self, Vec<Mistake>> {
        let text = text.trim_start_matches('\u{feff}');
        let is_json = name.ends_with(".json") || text.trim_start().starts_with('{') && !name.ends_with(".yaml");
        // JSON may be indented by tabs, YAML may not; no string in JSON holds a raw one.
        let lines = if is_json {
            Lines::of(&text.replace('\t', " "))
        } else {
            Lines::of(text)
        };
        let twice: Vec<Mistake> = lines
            .twice
            .iter()
            .map(|twice| {
                let message = format!("given twice, first in line {}; keep one", twice.first);
                located(
                    name,
                    Some(twice.second),
                    Problem::new(Code::SpecInvalid, message).at(&twice.field),
                )
            })
            .collect();
        if !twice.is_empty() {
            return Err(twice);
        }
        let json = if is_json { read_json(text) } else { read_yaml(text) };
        let json = json.map_err(|(line, message)| vec![mistake(name, line, &message)])?;
        let spec = Spec::from_json(&json).map_err(|problems| {
            let mut mistakes: Vec<Mistake> = problems
                .into_iter()
                .map(|problem| {
                    let line = problem.place.as_deref().map_or(lines.first, |field| lines.find(field));
                    located(name, line, problem)
                })
                .collect();
            mistakes.sort_by_key(|mistake| mistake.line);
            mistakes
        })?;
        Ok(Self { spec, json })
    }
}

fn read_json(text: &str) -> Result<Value, (Option<usize>, String)> {
    serde_json::from_str(text).map_err(|error| (Some(error.line()), format!("not JSON: {error}")))
}

fn read_yaml(text: &str) -> Result<Value, (Option<usize>, String)> {
    let mut value: yaml_serde::Value = yaml_serde::from_str(text)
        .map_err(|error| (error.location().map(|at| at.line()), format!("not YAML: {error}")))?;
    value
        .apply_merge()
        .map_err(|error| (None, format!("a merge key cannot be followed: {error}")))?;
    serde_json::to_value(value).map_err(|error| (None, format!("has no JSON form: {error}")))
}

fn mistake(file: &str, line: Option<usize>, message: &str) -> Mistake {
    located(file, line, Problem::new(Code::SpecInvalid, message))
}

fn located(file: &str, line: Option<usize>, problem: Problem) -> Mistake {
    Mistake {
        file: file.to_owned(),
        line,
        problem,
    }
}

/// All mistakes as one refusal: a line each, then each different next step once.
fn refusal(mistakes: &[Mistake]) -> Failure {
    let mut text: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    let mut remedies: Vec<&str> = Vec::new();
    for mistake in mistakes {
        if !remedies.contains(&mistake.problem.remedy.as_str()) {
            remedies.push(&mistake.problem.remedy);
        }
    }
    text.extend(remedies.iter().map(|remedy| format!("Next step: {remedy}")));
    Failure {
        exit: Exit::Refused,
        message: text.join("\n"),
        problems: mistakes
            .iter()
            .map(|mistake| {
                json!({
                    "file": mistake.file,
                    "line": mistake.line,
                    "field": mistake.problem.place,
                    "code": mistake.problem.code,
                    "message": mistake.problem.message,
                    "remedy": mistake.problem.remedy,
                })
            })
            .collect(),
    }
}
