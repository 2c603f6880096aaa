//! What can be said about a request before its body: is there such a hook, and is this how one posts to it? Pure.
//! Headers never choose the provider; the path does.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Method};

use crate::answer::Answer;
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

/// Method, content type and length; returns the declared length of the body.
pub fn check(method: &Method, headers: &HeaderMap, provider: Provider, body_bytes_max: u64) -> Result<u64, Answer> {
    if method != Method::POST {
        return Err(Answer::MethodNotAllowed);
    }
    if !is_readable(headers, provider) || is_compressed(headers) {
        return Err(Answer::UnsupportedType);
    }
    // Every Git host declares the length. A chunked body of unknown length could only be refused after it was read.
    let length = headers.get(CONTENT_LENGTH).ok_or(Answer::LengthRequired)?;
    let length = length.to_str().ok().and_then(|text| text.parse().ok()).ok_or(Answer::LengthRequired)?;
    if length > body_bytes_max { Err(Answer::BodyTooLarge) } else { Ok(length) }
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
    headers.get(CONTENT_ENCODING).is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
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
    #[case(&[JSON, ("content-length", "10")], Ok(10))]
    #[case(&[JSON, ("content-length", "11")], Err(Answer::BodyTooLarge))]
    #[case(&[JSON], Err(Answer::LengthRequired))]
    #[case(&[("content-length", "1")], Err(Answer::UnsupportedType))]
    #[case(&[FORM, ("content-length", "1")], Err(Answer::UnsupportedType))]
    #[case(&[JSON, ("content-encoding", "gzip"), ("content-length", "1")], Err(Answer::UnsupportedType))]
    fn posts(#[case] list: &[(&'static str, &'static str)], #[case] expected: Result<u64, Answer>) {
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
