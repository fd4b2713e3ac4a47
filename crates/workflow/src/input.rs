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

#[cfg(test)]
mod tests {
    use crossfade_plan::spec;
    use jiff::Timestamp;
    use temporalio_common::protos::temporal::api::common::v1::Payload;

    use super::*;

    fn payload(encoding: &str, data: &[u8]) -> Payload {
        Payload {
            metadata: [("encoding".to_owned(), encoding.as_bytes().to_vec())].into(),
            data: data.to_vec(),
            ..Payload::default()
        }
    }

    fn json(text: &str) -> RawValue {
        RawValue::new(vec![payload("json/plain", text.as_bytes())])
    }

    fn refused(raw: &RawValue) -> String {
        match start_of(raw) {
            Ok(start) => panic!("taken: {start:?}"),
            Err(problems) => crossfade_plan::problem::listing(&problems),
        }
    }

    #[test]
    fn a_message_of_any_form_is_a_value_nothing_or_told() {
        let value = |raw: &RawValue| json_of(raw);
        assert_eq!(value(&RawValue::new(Vec::new())), Ok(None));
        assert_eq!(value(&RawValue::new(vec![payload("binary/null", b"")])), Ok(None));
        assert_eq!(value(&json("\"cutover\"")), Ok(Some("cutover".into())));
        assert_eq!(
            value(&RawValue::new(vec![payload("json/protobuf", b"7")])),
            Ok(Some(7.into()))
        );
        for (raw, told) in [
            (json("{bad"), "it is not JSON"),
            (json(""), "it is not JSON"),
            (
                RawValue::new(vec![payload("binary/plain", b"x")]),
                "its encoding is `binary/plain`",
            ),
            (
                RawValue::new(vec![payload("binary/encrypted", &[0xff])]),
                "its encoding is `binary/encrypted`",
            ),
            (RawValue::new(vec![Payload::default()]), "its encoding is ``"),
            (
                RawValue::new(vec![Payload::default(); 2]),
                "2 arguments came; expected at most one",
            ),
        ] {
            let why = value(&raw).expect_err("no value");
            assert!(why.starts_with(told), "{why}");
        }
    }

    #[test]
    fn an_input_that_is_no_spec_is_refused_in_words() {
        for (raw, told) in [
            (RawValue::new(Vec::new()), "there is no input; expected the spec"),
            (json("null"), "expected one JSON object"),
            (json("[]"), "expected one JSON object"),
            (json("{}"), "missing field `cluster`"),
            (json("{bad"), "the input cannot be read: it is not JSON"),
            (
                json(r#"{"crossfade-continued": 7}"#),
                "the input of a continued run cannot be read",
            ),
        ] {
            let why = refused(&raw);
            assert!(why.contains(told) && why.contains("[spec-invalid]"), "{why}");
        }
    }

    #[test]
    fn a_continued_run_begins_where_the_one_before_stood() {
        let Ok(Start::Fresh(spec)) = start_of(&json(&spec::example().to_string())) else {
            panic!("no spec")
        };
        let mut progress = Progress::new("move".into(), "move.0".into(), *spec, Timestamp::UNIX_EPOCH);
        progress.note(Timestamp::UNIX_EPOCH, "approve", true, "`cutover` approved");
        progress.runs = 7;
        let carried = json(&continuation(progress.clone()).to_string());
        let Ok(Start::Continued(read)) = start_of(&carried) else {
            panic!("not a continued run")
        };
        assert_eq!(*read, progress);
    }
}
