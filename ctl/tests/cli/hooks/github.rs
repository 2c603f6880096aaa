//! GitHub, as "REST API endpoints for repository webhooks" and "… for organization webhooks" have it.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{Desk, TOKEN, URL};
use crate::serve::{Reply, Request, Server};

/// Pages are small, so that there are some.
const PAGE: usize = 2;

#[derive(Default)]
struct State {
    /// As they were written: with their secrets.
    hooks: Vec<Value>,
    deliveries: Vec<Value>,
    next: u64,
    /// What the receiver is said to answer.
    receiver: u16,
    /// Requests that changed something.
    writes: Vec<String>,
}

struct Github {
    state: Arc<Mutex<State>>,
    server: Server,
}

impl Github {
    fn start() -> Self {
        let state = Arc::new(Mutex::new(State { next: 100, receiver: 202, ..State::default() }));
        let shared = Arc::clone(&state);
        Self { state, server: Server::start(move |request| shared.lock().unwrap().answer(request)) }
    }

    fn desk(&self) -> Desk {
        Desk::new("github", self.server.url())
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    fn hooks(&self) -> Vec<Value> {
        self.state.lock().unwrap().hooks.clone()
    }

    fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().writes)
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Reply {
        if request.header("authorization") != Some(&format!("Bearer {TOKEN}")) {
            return Reply::new(401, json!({"message": "Bad credentials"}));
        }
        assert_eq!(request.header("accept"), Some("application/vnd.github+json"));
        assert_eq!(request.header("x-github-api-version"), Some("2022-11-28"));
        assert!(request.header("user-agent").is_some(), "GitHub refuses who says no name");
        let places = ["/api/v3/repos/org/app/hooks", "/api/v3/orgs/org/hooks"];
        let Some(rest) = places.iter().find_map(|place| request.path().strip_prefix(place)) else {
            return Reply::new(404, json!({"message": "Not Found"}));
        };
        if request.method() != "GET" {
            self.writes.push(format!("{} {rest}", request.method()));
        }
        let segments: Vec<&str> = rest.split('/').filter(|segment| !segment.is_empty()).collect();
        let body = || serde_json::from_str::<Value>(&request.body).unwrap();
        match (request.method(), &segments[..]) {
            ("GET", []) => self.list(request),
            ("POST", []) => self.create(body()),
            ("PATCH", [id]) => self.update(id, &body()),
            ("DELETE", [id]) => {
                self.hooks.retain(|hook| hook["id"].as_u64() != id.parse().ok());
                Reply::new(204, "")
            }
            ("POST", [_, "pings"]) => {
                self.deliver("ping");
                Reply::new(204, "")
            }
            ("GET", [_, "deliveries"]) => Reply::new(200, Value::from(self.deliveries.clone())),
            _ => Reply::new(404, json!({"message": "Not Found"})),
        }
    }

    fn list(&self, request: &Request) -> Reply {
        let page: usize = request.query("page").unwrap().parse().unwrap();
        let shown = self.hooks.iter().skip((page - 1) * PAGE).take(PAGE).map(masked);
        let reply = Reply::new(200, Value::from(shown.collect::<Vec<_>>()));
        if page * PAGE >= self.hooks.len() {
            return reply;
        }
        // A host that is not to be trusted with more than it has.
        reply
            .with("link", "<https://elsewhere.example/steal>; rel=\"next\", <https://elsewhere.example/>; rel=\"last\"")
    }

    /// "Multiple webhooks can share the same `config` as long as those webhooks do not have any `events` that overlap."
    fn create(&mut self, mut hook: Value) -> Reply {
        assert_eq!(hook["name"], "web");
        let events = |hook: &Value| hook["events"].as_array().unwrap().clone();
        let overlaps = |other: &&Value| events(other).iter().any(|event| events(&hook).contains(event) || event == "*");
        if self.hooks.iter().filter(overlaps).any(|other| other["config"]["url"] == hook["config"]["url"]) {
            let error =
                json!({"resource": "Hook", "code": "custom", "message": "Hook already exists on this repository"});
            return Reply::new(422, json!({"message": "Validation Failed", "errors": [error]}));
        }
        self.next += 1;
        hook["id"] = Value::from(self.next);
        self.hooks.push(hook.clone());
        self.deliver("ping");
        Reply::new(201, masked(&hook))
    }

    fn update(&mut self, id: &str, change: &Value) -> Reply {
        let hook = self.hooks.iter_mut().find(|hook| hook["id"].as_u64() == id.parse().ok()).unwrap();
        for (name, value) in change.as_object().unwrap() {
            hook[name] = value.clone();
        }
        Reply::new(200, masked(hook))
    }

    fn deliver(&mut self, event: &str) {
        self.next += 1;
        let delivery = json!({
            "id": self.next, "guid": "0b989ba4-242f-11e5-81e1-c7b6966d2516", "delivered_at": "2026-01-02T03:04:05Z",
            "redelivery": false, "duration": 0.27, "status": if self.receiver == 0 { "failed to connect" } else { "OK" },
            "status_code": self.receiver, "event": event, "action": null, "installation_id": null, "repository_id": 1,
        });
        self.deliveries.insert(0, delivery);
    }
}

fn masked(hook: &Value) -> Value {
    let mut shown = hook.clone();
    if shown["config"]["secret"].is_string() {
        shown["config"]["secret"] = Value::from("********");
    }
    shown
}

fn hook(id: u64, url: &str) -> Value {
    json!({"id": id, "name": "web", "active": true, "events": ["push"],
        "config": {"url": url, "content_type": "json", "insecure_ssl": "0", "secret": "s"}})
}

#[test]
fn a_hook_is_made_once() {
    let github = Github::start();
    let desk = github.desk();
    let report = desk.created(&[]);
    assert_eq!((&report["outcome"], &report["secretMade"]), (&json!("created"), &json!(true)));
    assert_eq!(report["test"]["delivery"]["status"], 202);
    let secret = desk.secret().unwrap();
    let mode = std::fs::metadata(desk.place.path().join("secret")).unwrap().permissions().mode();
    assert_eq!((secret.len(), mode & 0o777), (64, 0o600));
    let made = &github.hooks()[0];
    assert_eq!((&made["active"], &made["events"]), (&json!(true), &json!(["push"])));
    assert_eq!(
        made["config"],
        json!({"url": URL, "content_type": "json", "insecure_ssl": "0", "secret": secret}),
        "what GitHub was told"
    );

    let again = desk.created(&[]);
    assert_eq!((&again["outcome"], &again["id"]), (&json!("unchanged"), &report["id"]));
    assert_eq!((github.hooks().len(), desk.secret()), (1, Some(secret)));
    assert!(desk.wrong(&[]).is_empty());
    let ran = desk.run("check", &[]);
    assert!(ran.stdout.contains("2026-01-02T03:04:05Z   ping    202      the commit event"), "{}", ran.stdout);
}

#[test]
fn what_is_not_as_expected_is_named_and_then_corrected() {
    let github = Github::start();
    let desk = github.desk();
    assert_eq!(desk.wrong(&[]), ["webhook"]);
    let made = desk.created(&[]);
    github.change(|state| {
        let hook = &mut state.hooks[0];
        (hook["active"], hook["events"]) = (json!(false), json!(["issues"]));
        hook["config"] = json!({"url": URL, "content_type": "form", "insecure_ssl": "1"});
    });
    assert_eq!(desk.wrong(&[]), ["active", "events", "content type", "secret", "TLS verification"]);
    let again = desk.created(&[]);
    assert_eq!((&again["outcome"], &again["id"]), (&json!("updated"), &made["id"]));
    assert_eq!(again["corrected"].as_array().unwrap().len(), 5);
    assert!(desk.wrong(&[]).is_empty());
    assert_eq!(github.hooks()[0]["config"]["secret"].as_str(), desk.secret().as_deref());

    desk.created(&["--no-verify-tls"]);
    assert_eq!(github.hooks()[0]["config"]["insecure_ssl"], "1");
    assert!(desk.wrong(&["--no-verify-tls"]).is_empty());
    assert_eq!(desk.wrong(&[]), ["TLS verification"]);
}

#[test]
fn another_secret_shows_in_the_deliveries() {
    let github = Github::start();
    let desk = github.desk();
    github.change(|state| state.receiver = 401);
    let ran = desk.create(&[]);
    assert_eq!(ran.code, 0, "the hook is there: {}", ran.stderr);
    assert!(ran.stdout.contains("test delivery: 401: ") && ran.stdout.contains("receiver.toml"), "{}", ran.stdout);
    assert_eq!(desk.wrong(&[]), ["last delivery"]);
    github.change(|state| {
        state.receiver = 0;
        state.deliver("push");
    });
    let ran = desk.run("check", &[]);
    assert!(ran.stdout.contains("no answer from the receiver: failed to connect"), "{}", ran.stdout);
    github.change(|state| {
        state.receiver = 202;
        state.deliver("push");
    });
    assert!(desk.wrong(&[]).is_empty());
}

#[test]
fn a_hook_is_found_on_any_page() {
    let github = Github::start();
    let desk = github.desk();
    github.change(|state| {
        state.hooks = (1..=5).map(|id| hook(id, &format!("https://other.example/{id}"))).collect();
        state.hooks.push(hook(6, URL));
    });
    assert!(desk.wrong(&[]).is_empty());
    assert_eq!(desk.created(&["--no-test"])["id"], 6);
    assert_eq!(github.writes(), ["PATCH /6"]);
}

#[test]
fn of_several_none_is_touched() {
    let github = Github::start();
    let desk = github.desk();
    github.change(|state| state.hooks = vec![hook(1, URL), hook(2, "https://hooks.example/other"), hook(3, URL)]);
    for ran in [desk.create(&[]), desk.run("delete", &[])] {
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        assert!(ran.stderr.contains("ids 1, 3"), "{}", ran.stderr);
    }
    assert!(desk.secret().is_none(), "nothing was made");
    assert_eq!(desk.wrong(&[]), ["webhook"]);
    assert!(github.writes().is_empty());

    assert_eq!(desk.run("delete", &["--id", "2"]).code, 1, "it has another address");
    assert_eq!(desk.run("delete", &["--id", "3"]).code, 0);
    assert_eq!(github.hooks().len(), 2);
    github.change(|state| state.hooks.push(hook(4, URL)));
    let ran = desk.run("delete", &["--all"]);
    assert!(ran.stdout.contains("deleted: webhook 1, 4"), "{}", ran.stdout);
    let ran = desk.run("delete", &[]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("there is none"), "{}", ran.stderr);
    let ran = desk.run("check", &[]);
    assert!(ran.stdout.contains("https://hooks.example/other (id 2)"), "{}", ran.stdout);
}

#[test]
fn a_hook_is_not_replaced_by_a_second_one_with_its_address() {
    let github = Github::start();
    let desk = github.desk();
    github.change(|state| state.hooks = vec![hook(1, URL)]);
    desk.place.write("secret", "another\n");
    let report = desk.created(&["--replace", "--no-test"]);
    assert_eq!((&report["outcome"], &report["id"]), (&json!("updated"), &json!(1)));
    assert_eq!(github.writes(), ["PATCH /1"]);
    assert_eq!(github.hooks()[0]["config"]["secret"], "another");
}

#[test]
fn an_organisation_has_hooks_too() {
    let github = Github::start();
    let desk = github.desk();
    assert_eq!(desk.created(&["--org", "org"])["place"], "org");
    assert!(desk.wrong(&["--org", "org"]).is_empty());
    assert_eq!(desk.run("delete", &["--org", "org"]).code, 0);
    assert!(github.hooks().is_empty());
}

#[test]
fn a_secret_that_is_there_is_used() {
    let github = Github::start();
    let desk = github.desk();
    desk.place.write("secret", "It's a \"Secret\" to Everybody\r\n");
    assert_eq!(desk.created(&[])["secretMade"], false);
    assert_eq!(github.hooks()[0]["config"]["secret"], "It's a \"Secret\" to Everybody");
}
