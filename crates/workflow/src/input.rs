//! What arrives over the wire, decoded so that nothing malformed can fail a workflow task.

use crossfade_plan::{
    problem::{Code, Problem},
    progress::Progress,
    spec::Spec,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use temporalio_common::data_converters::RawValue;

/// The key that tells a continued run's input from an operator's spec.
const CONTINUED: &str = "crossfade-continued";

/// The input of a continued run.
#[derive(Debug, Serialize, Deserialize)]
struct Continued {
    #[serde(rename = "crossfade-continued")]
    progress: Progress,
}

/// What a run begins with.
#[derive(Debug)]
pub(crate) enum Start {
    /// An operator's spec.
    Fresh(Box<Spec>),
    /// An earlier run's progress.
    Continued(Box<Progress>),
}

/// The JSON value of a message: `None` when there was no payload, an error in words when it is no JSON.
pub(crate) fn json_of(raw: &RawValue) -> Result<Option<Value>, String> {
    let [payload] = raw.payloads.as_slice() else {
        return match raw.payloads.len() {
            0 => Ok(None),
            several => Err(format!("{several} arguments came; expected at most one, in JSON")),
        };
    };
    let encoding = payload.metadata.get("encoding").map_or(&b""[..], Vec::as_slice);
    match encoding {
        b"binary/null" => Ok(None),
        b"json/plain" | b"json/protobuf" => serde_json::from_slice(&payload.data)
            .map(Some)
            .map_err(|error| format!("it is not JSON: {error}")),
        other => Err(format!(
            "its encoding is `{}`; expected JSON (json/plain)",
            String::from_utf8_lossy(other).chars().take(40).collect::<String>()
        )),
    }
}

/// Reads the workflow's input.
pub(crate) fn start_of(raw: &RawValue) -> Result<Start, Vec<Problem>> {
    let invalid = |message: String| vec![Problem::new(Code::SpecInvalid, message)];
    let value = json_of(raw)
        .map_err(|why| invalid(format!("the input cannot be read: {why}")))?
        .ok_or_else(|| invalid("there is no input; expected the spec, one JSON object".to_owned()))?;
    if value.get(CONTINUED).is_some() {
        let continued: Continued = serde_json::from_value(value)
            .map_err(|error| invalid(format!("the input of a continued run cannot be read: {error}")))?;
        return Ok(Start::Continued(Box::new(continued.progress)));
    }
    Spec::from_json(&value).map(|spec| Start::Fresh(Box::new(spec)))
}

/// The input of the run that continues this one.
pub(crate) fn continuation(progress: Progress) -> Value {
    serde_json::to_value(Continued { progress }).unwrap_or_default()
}
