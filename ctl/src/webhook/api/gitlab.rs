//! GitLab's "Project webhooks" and "Group webhooks". A secret that begins with `whsec_` is a signing token, which GitLab takes
//! since 19.0; older ones ignore it without a word, so what they took is read from their answer. Pure.

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Api, Delivery, Hook, Place, Secrecy, Verb, Wanted};

/// What makes a secret a signing token.
pub(crate) const SIGNING_PREFIX: &str = "whsec_";

/// Events that a new hook has only if they are asked for, except `push_events`.
const NEEDED: [&str; 2] = ["push_events", "tag_push_events"];

pub(super) struct Gitlab;

#[derive(Deserialize)]
struct RawHook {
    id: u64,
    url: String,
    enable_ssl_verification: Option<bool>,
    push_events_branch_filter: Option<String>,
    branch_filter_strategy: Option<String>,
    alert_status: Option<String>,
    disabled_until: Option<String>,
    custom_webhook_template: Option<String>,
    token_present: Option<bool>,
    signing_token_present: Option<bool>,
}

#[derive(Deserialize)]
struct RawDelivery {
    id: u64,
    trigger: Option<String>,
    created_at: Option<Timestamp>,
    /// A status, or words where there was none.
    response_status: Option<Value>,
    response_headers: Option<Value>,
}

impl Api for Gitlab {
    fn public(&self) -> Option<&'static str> {
        Some("https://gitlab.com")
    }

    fn base_path(&self) -> [&'static str; 2] {
        ["api", "v4"]
    }

    fn headers(&self, token: &str) -> Vec<(&'static str, String)> {
        vec![("private-token", token.to_owned())]
    }

    fn hooks(&self, place: &Place) -> Vec<String> {
        let first = match place {
            Place::Repository(_) => "projects",
            Place::Organisation(_) => "groups",
        };
        // The whole path is one segment.
        vec![first.to_owned(), place.name().to_owned(), "hooks".to_owned()]
    }

    fn page_size(&self) -> (&'static str, u32) {
        ("per_page", 100)
    }

    fn create(&self, wanted: &Wanted<'_>) -> Value {
        settings(wanted)
    }

    fn update(&self, hook: &Hook, wanted: &Wanted<'_>) -> Option<(Verb, Value)> {
        let mut body = settings(wanted);
        if hook.altered.is_some() {
            body["custom_webhook_template"] = Value::from("");
        }
        if is_signing(wanted) {
            // What is sent along with every delivery is given away with each; the signature is enough.
            body["token"] = Value::from("");
        } else if hook.secret == Secrecy::Signing {
            // It would go on signing with a key that nobody has.
            return None;
        }
        Some((Verb::Put, body))
    }

    fn read_hook(&self, body: &Value) -> Result<Hook, serde_json::Error> {
        let raw = RawHook::deserialize(body)?;
        let sends = |event: &str| body.get(event) == Some(&Value::Bool(true));
        let all = body.as_object().into_iter().flat_map(Map::keys).filter(|key| key.ends_with("_events"));
        let idle = all.filter(|event| sends(event) && !NEEDED.contains(&event.as_str()));
        let filter = match raw.branch_filter_strategy.as_deref() {
            Some("all_branches") => None,
            _ => raw.push_events_branch_filter.filter(|filter| !filter.is_empty()),
        };
        let template = raw.custom_webhook_template.filter(|template| !template.is_empty());
        Ok(Hook {
            id: raw.id,
            url: raw.url,
            active: true,
            missing_events: NEEDED.into_iter().filter(|event| !sends(event)).collect(),
            idle_events: idle.cloned().collect(),
            // It has no other.
            content_type: Some("json".to_owned()),
            verifies_tls: raw.enable_ssl_verification,
            branch_filter: filter,
            secret: match (raw.signing_token_present, raw.token_present) {
                (Some(true), _) => Secrecy::Signing,
                (_, Some(true)) => Secrecy::Set,
                (Some(false), Some(false)) => Secrecy::Missing,
                _ => Secrecy::Untold,
            },
            altered: template.map(|_| "a custom webhook template".to_owned()),
            disabled: disabled(raw.alert_status.as_deref(), raw.disabled_until.as_deref()),
        })
    }

    fn test(&self, _place: &Place) -> Option<&'static [&'static str]> {
        Some(&["test", "push_events"])
    }

    fn deliveries(&self) -> Option<&'static str> {
        Some("events")
    }

    fn read_delivery(&self, body: &Value) -> Result<Delivery, serde_json::Error> {
        let raw = RawDelivery::deserialize(body)?;
        let said = match raw.response_status {
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
            None => String::new(),
        };
        // There is no other time in what is documented.
        let date = raw.response_headers.as_ref().and_then(|headers| headers.get("Date")?.as_str());
        let date = date.and_then(|date| rfc2822::DateTimeParser::new().parse_timestamp(date).ok());
        Ok(Delivery {
            id: raw.id,
            at: raw.created_at.or(date),
            event: raw.trigger.unwrap_or_default(),
            status: said.parse().ok(),
            said,
        })
    }

    fn tests_new_hooks(&self) -> bool {
        false
    }

    fn permission(&self, place: &Place) -> &'static str {
        match place {
            Place::Repository(_) => "a token needs the scope api and the role Maintainer in the project",
            Place::Organisation(_) => {
                "a token needs the scope api and the role Owner in the group; group webhooks exist with Premium and \
                 Ultimate only"
            }
        }
    }
}

fn settings(wanted: &Wanted<'_>) -> Value {
    let mut body = json!({
        "url": wanted.url,
        "push_events": true,
        "tag_push_events": true,
        "push_events_branch_filter": "",
        "branch_filter_strategy": "all_branches",
        "enable_ssl_verification": wanted.verify_tls,
    });
    let name = if is_signing(wanted) { "signing_token" } else { "token" };
    body[name] = Value::from(wanted.secret());
    body
}

fn is_signing(wanted: &Wanted<'_>) -> bool {
    wanted.secret().starts_with(SIGNING_PREFIX)
}

fn disabled(alert_status: Option<&str>, until: Option<&str>) -> Option<String> {
    match (alert_status, until) {
        (None | Some("executable"), _) => None,
        (Some(_), Some(until)) => Some(format!("until {until}, because deliveries failed")),
        (Some(_), None) => Some("for good, because deliveries failed".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(more: Value) -> Hook {
        let mut body = json!({"id": 1, "url": "u", "push_events": true, "tag_push_events": true});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Gitlab.read_hook(&body).unwrap()
    }

    #[test]
    fn the_secrets_form_decides_how_it_is_set() {
        let (token, key) = ("hunter2".into(), "whsec_AAAA".into());
        let wanted = |secret| Gitlab.create(&Wanted { url: "u", secret, verify_tls: true });
        assert_eq!((&wanted(&token)["token"], &wanted(&token)["signing_token"]), (&json!("hunter2"), &Value::Null));
        assert_eq!((&wanted(&key)["signing_token"], &wanted(&key)["token"]), (&json!("whsec_AAAA"), &Value::Null));
    }

    #[test]
    fn a_key_that_nobody_has_does_not_stay_beside_a_token() {
        let token = "hunter2".into();
        let wanted = Wanted { url: "u", secret: &token, verify_tls: true };
        assert!(Gitlab.update(&hook(json!({"signing_token_present": true})), &wanted).is_none());
        assert!(Gitlab.update(&hook(json!({"token_present": true})), &wanted).is_some());
    }

    #[test]
    fn a_hook_that_was_stopped_says_until_when() {
        assert_eq!(hook(json!({"alert_status": "executable", "disabled_until": null})).disabled, None);
        let until = hook(json!({"alert_status": "temporarily_disabled", "disabled_until": "2026-01-01T00:00:00Z"}));
        assert!(until.disabled.unwrap().contains("2026-01-01"));
        assert!(hook(json!({"alert_status": "disabled"})).disabled.unwrap().contains("for good"));
    }

    #[test]
    fn a_filter_counts_unless_all_branches_are_told_of() {
        let filter = |strategy| hook(json!({"push_events_branch_filter": "main", "branch_filter_strategy": strategy}));
        assert_eq!(filter("wildcard").branch_filter.as_deref(), Some("main"));
        assert_eq!(filter("all_branches").branch_filter, None);
    }

    #[test]
    fn an_events_time_is_its_answers_date() {
        let event = json!({"id": 2, "trigger": "push_hooks", "response_status": "202",
            "response_headers": {"Date": "Sun, 26 May 2024 03:03:17 GMT"}, "request_data": {}});
        let delivery = Gitlab.read_delivery(&event).unwrap();
        assert_eq!((delivery.status, delivery.at), (Some(202), "2024-05-26T03:03:17Z".parse().ok()));
        let none = Gitlab.read_delivery(&json!({"id": 3, "response_status": "internal error"})).unwrap();
        assert_eq!((none.status, none.said.as_str()), (None, "internal error"));
    }
}
