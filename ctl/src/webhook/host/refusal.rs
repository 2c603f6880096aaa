//! A Git host's refusals in words, and what to do about each. Pure. What the host says is shown in part; a token or secret in it never.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::http::Answer;
use crate::webhook::shown;

/// An answer other than 2xx.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the token is not accepted: is it for this host, complete, and still valid?")]
    Unauthorized,
    #[error("the token may not do this: {permission}{said}")]
    Forbidden { permission: &'static str, said: String },
    #[error(
        "there is no such repository or organisation, or the token may not see its webhooks, which hosts do not tell apart: \
         {permission}"
    )]
    NotFound { permission: &'static str },
    #[error("the API's rate limit is used up: try again {when}")]
    RateLimited { when: String },
    #[error(
        "a redirect ({status}), which a token does not follow: was it renamed or moved? Use its present name and address"
    )]
    Redirected { status: u16 },
    #[error("the host did not take it ({status}){said}")]
    NotTaken { status: u16, said: String },
    #[error("the host has a problem of its own ({status}): try again later{said}")]
    Broken { status: u16, said: String },
}

/// `secrets` are what the request held, which some hosts quote.
pub(crate) fn read(answer: &Answer, permission: &'static str, secrets: &[&str]) -> Refusal {
    let said = said(&answer.text(), secrets);
    let limited = answer.header("retry-after").is_some() || remaining(answer) == Some("0");
    match answer.status {
        401 => Refusal::Unauthorized,
        403 | 429 if limited || answer.status == 429 => Refusal::RateLimited { when: when(answer) },
        403 => Refusal::Forbidden { permission, said },
        404 => Refusal::NotFound { permission },
        status @ 300..=399 => Refusal::Redirected { status },
        status @ 500.. => Refusal::Broken { status, said },
        status => Refusal::NotTaken { status, said },
    }
}

impl Refusal {
    /// Whether the host understood who asks, and would not do just this.
    pub(crate) fn is_about_the_request(&self) -> bool {
        matches!(self, Self::NotTaken { .. } | Self::RateLimited { .. })
    }
}

/// GitHub's name for it, and GitLab's.
fn remaining(answer: &Answer) -> Option<&str> {
    answer.header("x-ratelimit-remaining").or_else(|| answer.header("ratelimit-remaining"))
}

fn when(answer: &Answer) -> String {
    if let Some(seconds) = answer.header("retry-after").and_then(|text| text.parse::<i64>().ok()) {
        return format!("in {:#}", SignedDuration::from_secs(seconds));
    }
    let reset = answer.header("x-ratelimit-reset").or_else(|| answer.header("ratelimit-reset"));
    let reset = reset.and_then(|text| text.parse::<i64>().ok()).and_then(|at| Timestamp::from_second(at).ok());
    reset.map_or_else(|| "in some minutes".to_owned(), |at| format!("after {at}"))
}

/// The host's own words: `message` and what is under `errors`, or nothing that is worth a line.
fn said(body: &str, secrets: &[&str]) -> String {
    let Ok(body) = serde_json::from_str::<Value>(body) else { return String::new() };
    let mut words = Vec::new();
    for value in ["message", "error", "errors"].into_iter().filter_map(|name| body.get(name)) {
        match value {
            Value::String(text) => words.push(text.clone()),
            Value::Null => {}
            other => words.push(other.to_string()),
        }
    }
    let mut words = words.join(" ");
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        // Quoted within JSON within the text, it has backslashes.
        let quoted = Value::from(*secret).to_string();
        words = words.replace(secret, "***").replace(quoted.trim_matches('"'), "***");
    }
    if words.trim().is_empty() { String::new() } else { format!(": {}", shown::line(&words)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_words_are_shown_without_the_token() {
        let body = r#"{"message": "Validation Failed", "errors": [{"message": "bad tok\u001b[2J en a\"b"}]}"#;
        assert_eq!(said(body, &["tok", "a\"b"]), r#": Validation Failed [{"message":"bad ***\u001b[2J en ***"}]"#);
        assert_eq!(said("<html>", &[]), "");
        assert_eq!(said("{}", &[]), "");
    }
}
