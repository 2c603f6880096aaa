//! What can be said about a request before its body: is there such a hook, and is this how one posts to it? Pure.
//! Headers never choose the provider; the path does.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, Method};

use crate::answer::Answer;
use crate::body::Length;
use crate::config::Hook;
use crate::provider::Provider;

/// All hooks by their paths.
#[derive(Clone)]
pub struct Routes {
    hooks: Arc<BTreeMap<String, Arc<Hook>>>,
}

impl Routes {
    pub fn new(hooks: &[Arc<Hook>]) -> Self {
        Self { hooks: Arc::new(hooks.iter().map(|hook| (hook.path().to_owned(), Arc::clone(hook))).collect()) }
    }

    /// The hook at exactly this path.
    pub fn find(&self, path: &str) -> Result<Arc<Hook>, Answer> {
        self.hooks.get(path).cloned().ok_or(Answer::NoSuchHook)
    }
}

/// Method, content type and length; returns what is known about the length of the body.
pub fn check(method: &Method, headers: &HeaderMap, provider: Provider, body_bytes_max: u64) -> Result<Length, Answer> {
    if method != Method::POST {
        return Err(Answer::MethodNotAllowed);
    }
    if !is_readable(headers, provider) || is_compressed(headers) {
        return Err(Answer::UnsupportedType);
    }
    match length(headers)? {
        Length::Declared(bytes) if bytes > body_bytes_max => Err(Answer::BodyTooLarge),
        length => Ok(length),
    }
}

/// Of the two headers hyper leaves one: what has a Transfer-Encoding is read by it alone, and the connection ends there.
fn length(headers: &HeaderMap) -> Result<Length, Answer> {
    if headers.contains_key(TRANSFER_ENCODING) {
        let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
        let only = codings.next().filter(|_| codings.next().is_none());
        let is_chunked = only.is_some_and(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"));
        // With another coding below the chunks the body is compressed.
        return if is_chunked { Ok(Length::Unknown) } else { Err(Answer::UnsupportedType) };
    }
    let declared = headers.get(CONTENT_LENGTH).ok_or(Answer::LengthRequired)?;
    let declared = declared.to_str().ok().and_then(|text| text.parse().ok());
    declared.map(Length::Declared).ok_or(Answer::LengthRequired)
}

/// JSON, and from GitHub the form that its webhooks send until somebody chooses JSON.
fn is_readable(headers: &HeaderMap, provider: Provider) -> bool {
    let Some(content_type) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let is_form = essence.eq_ignore_ascii_case("application/x-www-form-urlencoded");
    essence.eq_ignore_ascii_case("application/json") || (is_form && provider == Provider::Github)
}

/// No Git host compresses; a compressed body would have no bound before it is unpacked.
fn is_compressed(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_ENCODING).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)))
            .collect()
    }

    const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");
    const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

    #[rstest]
    #[case(&[JSON, ("content-length", "10")], Ok(Length::Declared(10)))]
    #[case(&[JSON, ("content-length", "11")], Err(Answer::BodyTooLarge))]
    #[case(&[JSON], Err(Answer::LengthRequired))]
    #[case(&[JSON, ("transfer-encoding", "Chunked")], Ok(Length::Unknown))]
    #[case(&[JSON, ("transfer-encoding", "gzip, chunked")], Err(Answer::UnsupportedType))]
    #[case(&[JSON, ("transfer-encoding", "gzip"), ("transfer-encoding", "chunked")], Err(Answer::UnsupportedType))]
    #[case(&[JSON, ("content-encoding", "identity"), ("content-encoding", "br")], Err(Answer::UnsupportedType))]
    #[case(&[("content-length", "1")], Err(Answer::UnsupportedType))]
    #[case(&[FORM, ("content-length", "1")], Err(Answer::UnsupportedType))]
    #[case(&[JSON, ("content-encoding", "gzip"), ("content-length", "1")], Err(Answer::UnsupportedType))]
    fn posts(#[case] list: &[(&'static str, &'static str)], #[case] expected: Result<Length, Answer>) {
        assert_eq!(check(&Method::POST, &headers(list), Provider::Gitlab, 10), expected);
        assert_eq!(check(&Method::GET, &headers(list), Provider::Gitlab, 10), Err(Answer::MethodNotAllowed));
    }

    #[test]
    fn a_form_is_githubs_only() {
        let headers = headers(&[FORM, ("content-length", "1")]);
        for provider in Provider::ALL {
            let is_taken = check(&Method::POST, &headers, provider, 10).is_ok();
            assert_eq!(is_taken, provider == Provider::Github, "{provider}");
        }
    }
}
