//! GitLab, as "Project webhooks API" and "Group webhooks API" have it: with signing tokens (since 19.0) and without.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{Desk, TOKEN, URL};
use crate::serve::{Reply, Request, Server};

struct State {
    /// As they were written: with their secrets.
    hooks: Vec<Value>,
    events: Vec<Value>,
    next: u64,
    receiver: u16,
    takes_signing_tokens: bool,
}

struct Gitlab {
    state: Arc<Mutex<State>>,
    server: Server,
}

impl Gitlab {
    fn start(takes_signing_tokens: bool) -> Self {
        let state = State { hooks: Vec::new(), events: Vec::new(), next: 10, receiver: 202, takes_signing_tokens };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        Self { state, server: Server::start(move |request| shared.lock().unwrap().answer(request)) }
    }

    fn desk(&self) -> Desk {
        Desk::new("gitlab", self.server.url())
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    fn hook(&self) -> Value {
        let state = self.state.lock().unwrap();
        assert_eq!(state.hooks.len(), 1);
        state.hooks[0].clone()
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Reply {
        if request.header("private-token") != Some(TOKEN) {
            return Reply::new(401, json!({"message": "401 Unauthorized"}));
        }
        let places = ["/api/v4/projects/org%2Fapp/hooks", "/api/v4/groups/org%2Fteam/hooks"];
        let Some(rest) = places.iter().find_map(|place| request.path().strip_prefix(place)) else {
            return Reply::new(404, json!({"message": "404 Project Not Found"}));
        };
        let segments: Vec<&str> = rest.split('/').filter(|segment| !segment.is_empty()).collect();
        let body = || serde_json::from_str::<Value>(&request.body).unwrap();
        match (request.method(), &segments[..]) {
            ("GET", []) => {
                let shown = self.hooks.iter().map(|hook| self.shown(hook));
                Reply::new(200, Value::from(shown.collect::<Vec<_>>()))
            }
            ("POST", []) => self.create(&body()),
            ("PUT", [id]) => {
                let id = self.hooks.iter().position(|hook| hook["id"].as_u64() == id.parse().ok()).unwrap();
                self.write(id, &body());
                Reply::new(200, self.shown(&self.hooks[id]))
            }
            ("DELETE", [id]) => {
                self.hooks.retain(|hook| hook["id"].as_u64() != id.parse().ok());
                Reply::new(204, "")
            }
            ("POST", [_, "test", "push_events"]) => self.test(),
            ("GET", [_, "events"]) => Reply::new(200, Value::from(self.events.clone())),
            _ => Reply::new(404, json!({"error": "404 Not Found"})),
        }
    }

    fn create(&mut self, body: &Value) -> Reply {
        self.next += 1;
        // What it has unless another is asked for.
        self.hooks.push(json!({"id": self.next, "push_events": true, "tag_push_events": false,
            "enable_ssl_verification": true, "alert_status": "executable", "disabled_until": null}));
        self.write(self.hooks.len() - 1, body);
        Reply::new(201, self.shown(self.hooks.last().unwrap()))
    }

    fn write(&mut self, index: usize, body: &Value) {
        for (name, value) in body.as_object().unwrap() {
            if name != "signing_token" || self.takes_signing_tokens {
                self.hooks[index][name] = value.clone();
            }
        }
    }

    fn shown(&self, hook: &Value) -> Value {
        let mut shown = hook.clone();
        let is_set = |name: &str| hook[name].as_str().is_some_and(|text| !text.is_empty());
        if self.takes_signing_tokens {
            shown["token_present"] = Value::from(is_set("token"));
            shown["signing_token_present"] = Value::from(is_set("signing_token"));
        }
        shown.as_object_mut().unwrap().retain(|name, _| !["token", "signing_token"].contains(&name.as_str()));
        shown
    }

    fn test(&mut self) -> Reply {
        self.next += 1;
        let event = json!({
            "id": self.next, "url": URL, "trigger": "push_hooks", "request_data": {"object_kind": "push"},
            "request_headers": {"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": "[REDACTED]"},
            "response_headers": {"Date": "Sun, 26 May 2024 03:03:17 GMT"}, "response_body": "",
            "execution_duration": 1.09, "response_status": self.receiver.to_string(),
        });
        self.events.push(event);
        if self.receiver < 300 {
            return Reply::new(201, json!({"message": "201 Created"}));
        }
        Reply::new(422, json!({"message": format!("Hook executed but returned HTTP {}", self.receiver)}))
    }
}

#[test]
fn a_new_hook_signs() {
    let gitlab = Gitlab::start(true);
    let desk = gitlab.desk();
    let report = desk.created(&[]);
    assert_eq!((&report["outcome"], &report["test"]["delivery"]["status"]), (&json!("created"), &json!(202)));
    assert_eq!(report["test"]["delivery"]["at"], "2024-05-26T03:03:17Z");
    let (hook, secret) = (gitlab.hook(), desk.secret().unwrap());
    assert!(secret.starts_with("whsec_"), "{secret}");
    assert_eq!((hook["signing_token"].as_str(), hook.get("token")), (Some(secret.as_str()), None));
    assert_eq!((&hook["push_events"], &hook["tag_push_events"]), (&json!(true), &json!(true)));
    assert_eq!(desk.created(&[])["outcome"], "unchanged");
    assert!(desk.wrong(&[]).is_empty());
    assert_eq!(desk.run("delete", &[]).code, 0);
}

#[test]
fn an_older_host_gets_a_token_instead() {
    let gitlab = Gitlab::start(false);
    let desk = gitlab.desk();
    let report = desk.created(&[]);
    assert_eq!((&report["outcome"], &report["secretMade"]), (&json!("created"), &json!(true)));
    let secret = desk.secret().unwrap();
    assert!(!secret.starts_with("whsec_") && secret.len() == 64, "{secret}");
    assert_eq!(gitlab.hook()["token"].as_str(), Some(secret.as_str()));
    assert_eq!(desk.created(&[])["outcome"], "unchanged");
    assert_eq!(desk.secret(), Some(secret));
    assert!(desk.wrong(&[]).is_empty());
}

#[test]
fn a_signing_token_that_is_ignored_is_said() {
    let gitlab = Gitlab::start(false);
    let desk = gitlab.desk();
    let key = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    desk.place.write("secret", key);
    let ran = desk.create(&[]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("does not take signing tokens"), "{}", ran.stderr);
    assert_eq!(desk.secret().as_deref(), Some(key), "a secret that was there is not touched");
}

#[test]
fn a_token_in_place_of_a_signing_key_makes_a_new_hook() {
    let gitlab = Gitlab::start(true);
    let desk = gitlab.desk();
    let made = desk.created(&[]);
    desk.place.write("secret", "hunter2");
    let report = desk.created(&[]);
    assert_eq!(report["outcome"], "updated");
    assert_ne!(report["id"], made["id"]);
    let hook = gitlab.hook();
    assert_eq!((hook["token"].as_str(), hook.get("signing_token")), (Some("hunter2"), None));
}

#[test]
fn what_is_not_as_expected_is_named_and_then_corrected() {
    let gitlab = Gitlab::start(true);
    let desk = gitlab.desk();
    let made = desk.created(&[]);
    gitlab.change(|state| {
        let hook = state.hooks[0].as_object_mut().unwrap();
        hook.extend(
            json!({"tag_push_events": false, "enable_ssl_verification": false, "alert_status": "temporarily_disabled",
                "disabled_until": "2026-01-01T00:00:00Z", "push_events_branch_filter": "main", "signing_token": "",
                "branch_filter_strategy": "wildcard", "custom_webhook_template": "{}", "issues_events": true})
            .as_object()
            .unwrap()
            .clone(),
        );
    });
    let named = ["enabled", "events", "branch filter", "payload", "secret", "TLS verification"];
    assert_eq!(desk.wrong(&[]), named);
    let ran = desk.run("check", &[]);
    for words in ["disabled until 2026-01-01T00:00:00Z", "without tag_push_events", "note: other events: issues_events"]
    {
        assert!(ran.stdout.contains(words), "{words} is missing: {}", ran.stdout);
    }
    let report = desk.created(&[]);
    assert_eq!((&report["outcome"], &report["id"]), (&json!("updated"), &made["id"]));
    // The host enables it after a delivery that succeeds.
    gitlab.change(|state| state.hooks[0]["alert_status"] = json!("executable"));
    assert!(desk.wrong(&[]).is_empty());
}

#[test]
fn a_refused_test_is_explained() {
    let gitlab = Gitlab::start(true);
    let desk = gitlab.desk();
    gitlab.change(|state| state.receiver = 404);
    let report = desk.created(&[]);
    assert_eq!(report["test"]["result"], "failed");
    assert!(report["test"]["meaning"].as_str().unwrap().contains("no hook at this path"), "{report}");
    assert_eq!(desk.wrong(&[]), ["last delivery"]);
}

#[test]
fn a_group_has_hooks_too() {
    let gitlab = Gitlab::start(true);
    let desk = gitlab.desk();
    desk.created(&["--org", "org/team"]);
    assert!(desk.wrong(&["--org", "org/team"]).is_empty());
}
