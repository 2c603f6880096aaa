//! The hooks of Gitea's API v1, which Forgejo has too. It shows no secret and no deliveries, and changes no secret of a hook
//! that exists (seen in Gitea 1.26: the field is read when a hook is made and ignored when it is edited). Whether
//! certificates are verified is set for the whole instance. A push of a tag is a `push` as well. Pure.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Api, Delivery, Hook, Place, Verb, Wanted};

/// Gitea, or Forgejo.
pub(super) struct Gitea {
    /// The kind of hook that signs as the receiver expects.
    pub(super) kind: &'static str,
}

#[derive(Deserialize)]
struct RawHook {
    id: u64,
    #[serde(rename = "type")]
    kind: String,
    active: bool,
    #[serde(default)]
    events: Vec<String>,
    #[serde(default)]
    branch_filter: String,
    config: RawConfig,
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default)]
    url: String,
    content_type: Option<String>,
}

impl Api for Gitea {
    fn public(&self) -> Option<&'static str> {
        None
    }

    fn base_path(&self) -> [&'static str; 2] {
        ["api", "v1"]
    }

    fn headers(&self, token: &str) -> Vec<(&'static str, String)> {
        vec![("authorization", format!("token {token}"))]
    }

    fn page_size(&self) -> (&'static str, u32) {
        // The default of `MAX_RESPONSE_ITEMS`.
        ("limit", 50)
    }

    fn create(&self, wanted: &Wanted<'_>) -> Value {
        json!({
            "type": self.kind,
            "active": true,
            "events": ["push"],
            "branch_filter": "",
            "config": { "url": wanted.url, "content_type": "json", "secret": wanted.secret() },
        })
    }

    fn update(&self, _hook: &Hook, _wanted: &Wanted<'_>) -> Option<(Verb, Value)> {
        None
    }

    fn read_hook(&self, body: &Value) -> Result<Hook, serde_json::Error> {
        let raw = RawHook::deserialize(body)?;
        let sends = |event: &str| raw.events.iter().any(|known| known == event);
        // Forgejo signs hooks of Gitea's kind in both ways.
        let kind_fits = raw.kind == self.kind || (self.kind == "forgejo" && raw.kind == "gitea");
        Ok(Hook {
            id: raw.id,
            url: raw.config.url,
            active: raw.active,
            missing_events: if sends("push") { Vec::new() } else { vec!["push"] },
            idle_events: raw.events.iter().filter(|event| *event != "push").cloned().collect(),
            content_type: raw.config.content_type,
            branch_filter: Some(raw.branch_filter).filter(|filter| !["", "*", "**"].contains(&filter.as_str())),
            altered: (!kind_fits).then(|| format!("a hook of the kind {}", raw.kind)),
            ..Hook::default()
        })
    }

    fn test(&self, place: &Place) -> Option<&'static [&'static str]> {
        match place {
            Place::Repository(_) => Some(&["tests"]),
            Place::Organisation(_) => None,
        }
    }

    fn deliveries(&self) -> Option<&'static str> {
        None
    }

    fn read_delivery(&self, _body: &Value) -> Result<Delivery, serde_json::Error> {
        Err(serde::de::Error::custom("deliveries are not in this API"))
    }

    fn tests_new_hooks(&self) -> bool {
        false
    }

    fn permission(&self, place: &Place) -> &'static str {
        match place {
            Place::Repository(_) => "a token needs the scope write:repository, and its owner has to administer it",
            Place::Organisation(_) => "a token needs the scope write:organization, and its owner has to own it",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GITEA: Gitea = Gitea { kind: "gitea" };
    const FORGEJO: Gitea = Gitea { kind: "forgejo" };

    #[test]
    fn what_is_written_is_read_back_as_wanted() {
        for api in [GITEA, FORGEJO] {
            let secret = "s".into();
            let mut body = api.create(&Wanted { url: "https://h.example/x", secret: &secret, verify_tls: true });
            body["id"] = Value::from(7);
            let hook = api.read_hook(&body).unwrap();
            assert!(hook.active && hook.missing_events.is_empty() && hook.altered.is_none());
            assert_eq!((hook.content_type.as_deref(), hook.branch_filter), (Some("json"), None));
        }
    }

    #[test]
    fn a_hook_for_a_chat_is_not_one_for_a_receiver() {
        let of = |kind: &str| {
            json!({"id": 1, "type": kind, "active": true, "events": ["push"], "branch_filter": "release/*",
                "config": {"url": "u", "content_type": "json"}})
        };
        assert!(GITEA.read_hook(&of("slack")).unwrap().altered.is_some());
        assert!(GITEA.read_hook(&of("forgejo")).unwrap().altered.is_some());
        assert!(FORGEJO.read_hook(&of("gitea")).unwrap().altered.is_none());
        assert_eq!(GITEA.read_hook(&of("gitea")).unwrap().branch_filter.as_deref(), Some("release/*"));
    }
}
