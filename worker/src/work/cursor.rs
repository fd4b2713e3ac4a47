//! Where a scan goes on, as it stands in payloads: `NAMESPACE-ID/RUN-ID`.

use crossfade_visibility::record::Key;

/// The wire form of a key.
pub(crate) fn write(key: &Key) -> String {
    format!("{}/{}", key.namespace_id, key.run_id)
}

/// The key of a wire form; a malformed one counts as none, which begins again and does no harm.
pub(crate) fn read(text: Option<&str>) -> Option<Key> {
    let (namespace_id, run_id) = text?.split_once('/')?;
    Some(Key::new(namespace_id, run_id))
}
