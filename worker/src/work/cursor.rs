//! Where a scan goes on and where a slice ends, as it stands in payloads: `NAMESPACE-ID/RUN-ID`.

use crossfade_visibility::{division, ports::Range, record::Key};

/// The wire form of a key.
pub(crate) fn write(key: &Key) -> String {
    format!("{}/{}", key.namespace_id, key.run_id)
}

/// The key of a wire form; a malformed one counts as none, which begins again and does no harm.
pub(crate) fn read(text: Option<&str>) -> Option<Key> {
    let (namespace_id, run_id) = text?.split_once('/')?;
    Some(Key::new(namespace_id, run_id))
}

/// Where a slice goes on: where an earlier attempt of this activity was, else where the order says.
pub(crate) fn resumed(earlier: Option<&str>, ordered: Option<&str>) -> Option<Key> {
    read(earlier).or_else(|| read(ordered))
}

/// The slice up to `until`, as a range; where it begins is a matter of the cursor. An end that cannot be read is none,
/// so that too much is looked at, and nothing too little.
pub(crate) fn up_to(until: Option<&str>) -> Range {
    Range {
        until: read(until),
        ..Range::default()
    }
}

/// Where what is left of a slice can be cut in two.
pub(crate) fn middle(slice: &Range, cursor: Option<&Key>) -> Option<String> {
    let left = Range {
        after: cursor.cloned(),
        ..slice.clone()
    };
    division::middle(&left).as_ref().map(write)
}
