//! Looks for secrets where they must not be, in every form that a secret takes on its way through a program.

use anyhow::{Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// A secret that was given to the product, and all of its forms.
#[derive(Debug, Clone)]
pub struct Planted {
    forms: Vec<(&'static str, String)>,
}

impl Planted {
    /// The forms of `secret`. It should hold what each of them writes otherwise: quotes, a backslash, a blank, a sign of
    /// URLs, a letter beyond ASCII.
    #[must_use]
    pub fn new(secret: &str) -> Self {
        let json = |text: &str| {
            let quoted = serde_json::Value::from(text).to_string();
            quoted[1..quoted.len() - 1].to_owned()
        };
        let percent = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
        let mut forms = vec![
            ("as it is", secret.to_owned()),
            ("in JSON", json(secret)),
            ("in JSON within JSON", json(&json(secret))),
            ("as Rust shows texts", secret.escape_debug().to_string()),
            ("in single quotes of YAML or SQL", secret.replace('\'', "''")),
            ("in single quotes of a shell", secret.replace('\'', "'\\''")),
            ("in a form's field", percent.replace("%20", "+")),
            ("in a URL", percent),
            ("in hex", secret.bytes().map(|byte| format!("{byte:02x}")).collect()),
        ];
        // Three bytes are four letters: it may begin at the first, second or third of a group.
        for lead in ["", "x", "xx"] {
            let whole = format!("{lead}{secret}");
            // What stands beside it is in its first and last letters.
            let inner = |text: String| text[lead.len() + 1..text.len() - 2].to_owned();
            forms.push(("in base64", inner(STANDARD_NO_PAD.encode(&whole))));
            forms.push(("in base64 of URLs", inner(URL_SAFE_NO_PAD.encode(&whole))));
        }
        Self { forms }
    }

    /// Fails when the secret is in `text` in any form.
    ///
    /// # Errors
    /// `what` it is in, and in which form; the secret is not repeated.
    pub fn is_not_in(&self, what: &str, text: &[u8]) -> Result<()> {
        let text = String::from_utf8_lossy(text).to_lowercase();
        for (form, secret) in &self.forms {
            if text.contains(&secret.to_lowercase()) {
                bail!("the secret is in {what}, {form}");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "q'W\"e\\r ü?+%";

    #[test]
    fn every_form_is_found_amid_other_text() {
        let planted = Planted::new(SECRET);
        let json = serde_json::json!({ "password": SECRET }).to_string();
        for text in [
            format!("password={SECRET}"),
            json.clone(),
            serde_json::json!({ "spec": json }).to_string(),
            format!("{:?}", Some(SECRET)),
            "password: 'q''W\"e\\r ü?+%'".to_owned(),
            "postgres://user:q%27W%22e%5Cr%20%C3%BC%3F%2B%25@host".to_owned(),
            "q%27W%22e%5Cr+%C3%BC%3F%2B%25".to_owned(),
            "712757226555c7220".replace("6555c7220", "655c7220c3bc3f2b25"),
            STANDARD_NO_PAD.encode(format!("user:{SECRET}")),
            STANDARD_NO_PAD.encode(format!("users:{SECRET}, and more")),
            URL_SAFE_NO_PAD.encode(format!("a user:{SECRET}!")),
        ] {
            assert!(planted.is_not_in("it", text.as_bytes()).is_err(), "not found in {text}");
        }
        assert!(planted.is_not_in("it", b"password: {env: VARIABLE}").is_ok());
    }
}
