//! GitHub's "Repository webhooks" and "Organization webhooks", of the public service and of Enterprise Server. Pure.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Api, Delivery, Hook, Place, Secrecy, Verb, Wanted};

/// The version of the API that this file was written after; Enterprise Servers that are older ignore it.
const VERSION: &str = "2022-11-28";

/// An event that stands for all.
const ALL_EVENTS: &str = "*";

pub(super) struct Github;

#[derive(Deserialize)]
struct RawHook {
    id: u64,
    active: bool,
    #[serde(default)]
    events: Vec<String>,
    config: RawConfig,
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default)]
    url: String,
    content_type: Option<String>,
    /// "0" or "1", as text or as a number.
    insecure_ssl: Option<Value>,
    /// Asterisks, where there is one.
    secret: Option<String>,
}

#[derive(Deserialize)]
struct RawDelivery {
    id: u64,
    delivered_at: Option<jiff::Timestamp>,
    event: String,
    status: String,
    status_code: Option<u16>,
}

impl Api for Github {
    fn public(&self) -> Option<&'static str> {
        Some("https://api.github.com")
    }

    fn base_path(&self) -> [&'static str; 2] {
        ["api", "v3"]
    }

    fn headers(&self, token: &str) -> Vec<(&'static str, String)> {
        vec![
            ("authorization", format!("Bearer {token}")),
            ("accept", "application/vnd.github+json".to_owned()),
            ("x-github-api-version", VERSION.to_owned()),
        ]
    }

    fn page_size(&self) -> (&'static str, u32) {
        ("per_page", 100)
    }

    fn create(&self, wanted: &Wanted<'_>) -> Value {
        let mut body = settings(wanted);
        body["name"] = Value::from("web");
        body
    }

    fn update(&self, hook: &Hook, wanted: &Wanted<'_>) -> Option<(Verb, Value)> {
        // `config` and `events` replace the old ones as a whole. What somebody else chose beside pushes stays.
        let mut body = settings(wanted);
        let mut events = hook.idle_events.clone();
        if !events.iter().any(|event| event == ALL_EVENTS) {
            events.insert(0, "push".to_owned());
        }
        body["events"] = Value::from(events);
        Some((Verb::Patch, body))
    }

    fn read_hook(&self, body: &Value) -> Result<Hook, serde_json::Error> {
        let raw = RawHook::deserialize(body)?;
        let sends = |event: &str| raw.events.iter().any(|known| known == event || known == ALL_EVENTS);
        let verifies = |value: &Value| value.as_str() != Some("1") && value.as_u64() != Some(1);
        Ok(Hook {
            id: raw.id,
            active: raw.active,
            missing_events: if sends("push") { Vec::new() } else { vec!["push"] },
            idle_events: raw.events.iter().filter(|event| *event != "push").cloned().collect(),
            // What GitHub takes where nothing is said.
            content_type: Some(raw.config.content_type.unwrap_or_else(|| "form".to_owned())),
            verifies_tls: Some(raw.config.insecure_ssl.as_ref().is_none_or(verifies)),
            secret: match raw.config.secret.as_deref() {
                None | Some("") => Secrecy::Missing,
                Some(_) => Secrecy::Set,
            },
            url: raw.config.url,
            ..Hook::default()
        })
    }

    fn test(&self, _place: &Place) -> Option<&'static [&'static str]> {
        Some(&["pings"])
    }

    fn deliveries(&self) -> Option<&'static str> {
        Some("deliveries")
    }

    fn read_delivery(&self, body: &Value) -> Result<Delivery, serde_json::Error> {
        let raw = RawDelivery::deserialize(body)?;
        Ok(Delivery {
            id: raw.id,
            at: raw.delivered_at,
            event: raw.event,
            // 0 where nothing came back.
            status: raw.status_code.filter(|status| *status > 0),
            said: raw.status,
        })
    }

    fn tests_new_hooks(&self) -> bool {
        true
    }

    fn permission(&self, place: &Place) -> &'static str {
        match place {
            Place::Repository(_) => {
                "a classic token needs the scope admin:repo_hook, a fine-grained one the repository permission \
                 \"Webhooks: read and write\", and its owner has to administer the repository"
            }
            Place::Organisation(_) => {
                "a classic token needs the scope admin:org_hook, a fine-grained one the organisation permission \
                 \"Webhooks: read and write\", and its owner has to own the organisation"
            }
        }
    }
}

fn settings(wanted: &Wanted<'_>) -> Value {
    json!({
        "active": true,
        "events": ["push"],
        "config": {
            "url": wanted.url,
            "content_type": "json",
            "secret": wanted.secret(),
            "insecure_ssl": if wanted.verify_tls { "0" } else { "1" },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_as_wanted() {
        let secret = "s".into();
        let wanted = Wanted { url: "https://h.example/hooks/github", secret: &secret, verify_tls: true };
        let mut body = Github.create(&wanted);
        body["id"] = Value::from(7);
        let hook = Github.read_hook(&body).unwrap();
        assert_eq!((hook.id, hook.url.as_str(), hook.active), (7, wanted.url, true));
        assert!(hook.missing_events.is_empty() && hook.idle_events.is_empty());
        assert_eq!((hook.content_type.as_deref(), hook.verifies_tls), (Some("json"), Some(true)));
        assert_eq!(hook.secret, Secrecy::Set);
    }

    #[test]
    fn what_is_not_said_is_githubs_default() {
        let hook = Github
            .read_hook(&json!({"id": 1, "active": true, "events": ["*"], "config": {"url": "u", "insecure_ssl": 1}}))
            .unwrap();
        assert_eq!((hook.content_type.as_deref(), hook.verifies_tls), (Some("form"), Some(false)));
        assert!(hook.missing_events.is_empty());
        assert_eq!(hook.secret, Secrecy::Missing);
    }

    #[test]
    fn events_that_somebody_else_chose_stay() {
        let secret = "s".into();
        let wanted = Wanted { url: "u", secret: &secret, verify_tls: true };
        for (before, after) in [(json!(["issues"]), json!(["push", "issues"])), (json!(["*"]), json!(["*"]))] {
            let hook = json!({"id": 1, "active": true, "events": before, "config": {"url": "u"}});
            let (_, body) = Github.update(&Github.read_hook(&hook).unwrap(), &wanted).unwrap();
            assert_eq!(body["events"], after);
        }
    }

    #[test]
    fn no_answer_is_not_a_status() {
        let body = json!({"id": 1, "event": "push", "status": "failed to connect", "status_code": 0});
        assert_eq!(Github.read_delivery(&body).unwrap().status, None);
    }
}
