//! AWS request signing, version 4, for the service `es`
//! (1.30.8: common/persistence/visibility/store/elasticsearch/client/aws.go).

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign as sign_request};
use aws_sigv4::sign::v4::SigningParams;
use reqwest::Request;
use reqwest::header::{HeaderName, HeaderValue};

use super::entry::Signing;

/// Adds the signature's headers. A request that cannot be signed goes out unsigned and is refused by its receiver.
pub(super) fn sign(request: &mut Request, signing: &Signing) {
    let Some(headers) = headers(request, signing, SystemTime::now()) else {
        tracing::warn!("a request could not be signed");
        return;
    };
    for (name, value) in headers {
        request.headers_mut().insert(name, value);
    }
}

fn headers(request: &Request, signing: &Signing, at: SystemTime) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let identity = Credentials::new(
        signing.access_key_id.clone(),
        signing.secret_access_key.clone(),
        signing.token.clone(),
        None,
        "datastore",
    )
    .into();
    let parameters = SigningParams::builder()
        .identity(&identity)
        .name("es")
        .region(&signing.region)
        .time(at)
        .settings(SigningSettings::default())
        .build()
        .ok()?
        .into();
    let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
    let headers = request
        .headers()
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let signable = SignableRequest::new(
        request.method().as_str(),
        request.url().as_str(),
        headers,
        SignableBody::Bytes(body),
    );
    let (instructions, _) = sign_request(signable.ok()?, &parameters).ok()?.into_parts();
    let (headers, _) = instructions.into_parts();
    headers
        .into_iter()
        .map(|header| {
            let mut value = HeaderValue::from_str(header.value()).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::from_static(header.name()), value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use reqwest::{Method, Url};

    use super::*;

    #[test]
    fn a_request_is_signed_for_its_region_and_the_secret_stays() {
        let url: Url = "https://search.example/index/_search".parse().expect("a URL");
        let mut request = Request::new(Method::POST, url);
        *request.body_mut() = Some("{}".into());
        let signing = Signing {
            region: "eu-west-1".to_owned(),
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: "s3cret".to_owned(),
            token: Some("session".to_owned()),
        };
        let at = UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        let headers = headers(&request, &signing, at).expect("a signature");
        let header = |name: &str| {
            headers
                .iter()
                .find(|(header, _)| header == name)
                .map(|(_, value)| value)
        };
        let authorization = header("authorization")
            .and_then(|value| value.to_str().ok())
            .expect("a header");
        assert!(
            authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/eu-west-1/es/aws4_request"),
            "{authorization}"
        );
        assert_eq!(
            header("x-amz-security-token").and_then(|value| value.to_str().ok()),
            Some("session")
        );
        assert!(!format!("{headers:?}").contains("s3cret"));
    }
}
