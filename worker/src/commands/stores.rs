//! The stores of `copy` and `diff`: named by the server's own config file, or by a URL.

use std::path::Path;

use crossfade_config::StaticConfig;
use crossfade_stores::{OpenError, Store};
use serde_json::{Value, json};

use super::store_url;
use crate::{
    cli::Stores,
    exit::{Exit, Failure},
    work::problems,
};

/// Both stores, open.
pub(super) struct Pair {
    pub(super) from: Store,
    pub(super) to: Store,
}

/// Opens both stores, and refuses one that is given twice.
pub(super) async fn open(stores: &Stores) -> Result<Pair, Failure> {
    let (from, to) = (entry(&stores.from, "--from")?, entry(&stores.to, "--to")?);
    let pair = Pair {
        from: crossfade_stores::open(&from)
            .await
            .map_err(|error| not_open(&error, "--from"))?,
        to: crossfade_stores::open(&to)
            .await
            .map_err(|error| not_open(&error, "--to"))?,
    };
    let from = crossfade_stores::inspect(&from)
        .await
        .map_err(|error| not_open(&error, "--from"))?;
    let to = crossfade_stores::inspect(&to)
        .await
        .map_err(|error| not_open(&error, "--to"))?;
    if from.identity.is_some() && from.identity == to.identity {
        return Err(Failure::refused(
            "--from and --to are one and the same store. Next step: give two",
        ));
    }
    Ok(pair)
}

/// Opens one store.
pub(super) async fn open_one(text: &str, option: &str) -> Result<Store, Failure> {
    let entry = entry(text, option)?;
    crossfade_stores::open(&entry)
        .await
        .map_err(|error| not_open(&error, option))
}

/// Why a store could not be opened, and what to do.
fn not_open(error: &OpenError, option: &str) -> Failure {
    Failure {
        exit: if error.is_retryable() {
            Exit::Failed
        } else {
            Exit::Refused
        },
        message: format!("{option}: {error}. Next step: {}", error.remedy()),
        problems: vec![json!(problems::open(error, option))],
    }
}

/// The datastore entry that `text` stands for, in the form of the server's own config.
fn entry(text: &str, option: &str) -> Result<Value, Failure> {
    let refused = |why: String| Failure::refused(format!("{option}: {why}"));
    store_url::entry(text)
        .unwrap_or_else(|| in_config(text))
        .map_err(|why| refused(with_forms(&why)))
}

/// What can be written, after what is wrong with what was.
fn with_forms(why: &str) -> String {
    format!("{why}; expected CONFIG.yaml#DATASTORE, {}", store_url::FORMS)
}

fn in_config(text: &str) -> Result<Value, String> {
    let Some((path, name)) = text.rsplit_once('#') else {
        return Err("no datastore is named".to_owned());
    };
    let bytes = std::fs::read(Path::new(path)).map_err(|error| format!("{path} cannot be read: {error}"))?;
    let config = StaticConfig::parse(path, &bytes).map_err(|refusal| refusal.to_string())?;
    match config.datastore(name) {
        Some(entry) => Ok(entry.value.clone()),
        None => {
            let names: Vec<&str> = config.datastores().map(|(name, _)| name).collect();
            Err(format!("{path} has no datastore `{name}`; it has {}", names.join(", ")))
        }
    }
}

/// What a store reported while it was read or written; the error itself says what to do.
pub(super) fn failure(error: &crossfade_visibility::ports::Error) -> Failure {
    Failure {
        problems: vec![json!(problems::store(error))],
        ..Failure::failed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_store_is_refused_without_its_password() {
        for (text, told) in [
            ("nothing", "no datastore is named"),
            ("/nowhere/x.yaml#a", "cannot be read"),
            ("redis://u:s3cret@h/d", "`redis://`"),
            ("postgres://h/d", "needs a user"),
            ("postgres://u:s3cret@h", "and a database"),
            ("postgres://u:s3cret@h/d?sslmode=maybe", "sslmode=maybe"),
            ("sqlite://relative/path", "three slashes"),
            ("sqlite:///", "three slashes"),
        ] {
            let failure = entry(text, "--from").expect_err("refused");
            assert!(
                failure.message.contains(told) && !failure.message.contains("s3cret"),
                "{}",
                failure.message
            );
            assert_eq!(failure.exit, Exit::Refused);
        }
    }
}
