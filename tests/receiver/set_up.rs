//! `towline webhook create`, `check` and `delete` with a real Gitea and a real receiver: what the command sets up is what the
//! receiver accepts. Knows Gitea's API only to break what was set up.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use harness::config::{Hook, ReceiverConfig};
use harness::gitea::{Gitea, USER};
use harness::guard;
use harness::nats::Nats;
use harness::ports::Port;
use harness::repo::Repo;
use harness::towline::{Daemon, cli, field};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::PATIENCE;

const PATH: &str = "/hooks/gitea";

/// A Gitea, NATS, and an address where a receiver will be.
struct Desk {
    gitea: Gitea,
    nats: Nats,
    port: Port,
    dir: PathBuf,
}

impl Desk {
    async fn new() -> Self {
        let (gitea, nats) = (Gitea::start().await.unwrap(), Nats::start_with_streams().await.unwrap());
        let (port, dir) = (Port::reserve().unwrap(), guard::scratch("webhooks"));
        fs::write(dir.join("token"), gitea.token()).unwrap();
        Self { gitea, nats, port, dir }
    }

    fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    fn url(&self) -> String {
        format!("http://{}{PATH}", self.port.address())
    }

    /// One of the commands, and its report.
    async fn towline(&self, command: &str, whose: [&str; 2], more: &[&str]) -> (i32, Value) {
        let (url, token, api) = (self.url(), self.file("token"), self.gitea.url());
        let needed = ["--provider", "gitea", "--url", &url, "--token-file", &token, "--api", &api, "-o", "json"];
        let arguments = [&["webhook", command], &needed[..], &whose, more].concat();
        let Output { status, stdout, stderr } = cli(&arguments, &[]).await.unwrap();
        let shown = String::from_utf8_lossy(&[stdout.clone(), stderr].concat()).into_owned();
        assert!(!shown.contains(self.gitea.token()), "the token is shown: {shown}");
        (status.code().unwrap(), serde_json::from_slice(&stdout).unwrap_or(Value::Null))
    }

    async fn create(&self, whose: [&str; 2], more: &[&str]) -> Value {
        let secret = self.file("secret");
        let (code, report) = self.towline("create", whose, &[&["--secret-file", &secret], more].concat()).await;
        assert_eq!(code, 0, "{report}");
        report
    }

    /// The settings that are wrong; the exit code has to agree.
    async fn wrong(&self, whose: [&str; 2], more: &[&str]) -> Vec<String> {
        let (code, report) = self.towline("check", whose, more).await;
        let findings = report["findings"].as_array().unwrap().iter().filter(|finding| finding["deviation"] == true);
        let wrong: Vec<String> = findings.map(|finding| finding["setting"].as_str().unwrap().to_owned()).collect();
        assert_eq!(code, i32::from(!wrong.is_empty()), "{report}");
        wrong
    }

    /// The receiver, with the secret that `create` made.
    async fn receiver(&self) -> Daemon {
        let secret = fs::read_to_string(self.file("secret")).unwrap();
        let hook = Hook::new("gitea", &self.gitea.host(), &secret);
        let mut config = ReceiverConfig::new(self.nats.access("receiver"), vec![hook]);
        config.listen = self.port.address().to_string();
        Daemon::receiver(&config).await.unwrap()
    }

    /// Pushes, and waits until the receiver has answered so.
    async fn push(&self, repo: &Repo, receiver: &mut Daemon, content: &str, status: u64) {
        let after = repo.commit(&[("file", content)]).await.unwrap();
        let answered = |line: &Value| {
            let number = |name| line.get(name).or_else(|| line.get("fields")?.get(name)).and_then(Value::as_u64);
            // A delivery that is refused is not read, so its commit is unknown.
            number("status") == Some(status) && (status == 401 || field(line, "after") == Some(&after))
        };
        let what = format!("the push of {content} is answered with {status}");
        receiver.wait_for_log(&what, PATIENCE, answered).await.unwrap();
    }

    async fn api(&self, method: Method, path: &str, body: Value) -> Value {
        self.gitea.api(method, path, Some(&body)).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repositorys_webhook_delivers_what_the_receiver_accepts() {
    let desk = Desk::new().await;
    let repo = desk.gitea.repository("app", false).await.unwrap();
    let name = format!("{USER}/app");
    let (whose, hooks) = (["--repo", name.as_str()], format!("/repos/{name}/hooks"));
    let made = desk.create(whose, &[]).await;
    assert_eq!((&made["outcome"], &made["secretMade"]), (&json!("created"), &json!(true)));
    let mut receiver = desk.receiver().await;
    desk.push(&repo, &mut receiver, "first", 202).await;

    let (secret, again) = (desk.file("secret"), desk.create(whose, &[]).await);
    assert_eq!((&again["outcome"], &again["id"]), (&json!("unchanged"), &made["id"]));
    assert!(desk.wrong(whose, &["--secret-file", &secret]).await.is_empty());
    fs::write(desk.dir.join("other"), "not the receiver's").unwrap();
    assert_eq!(desk.wrong(whose, &["--secret-file", &desk.file("other")]).await, ["receiver"]);

    // Broken in every way that Gitea shows, and set right again.
    let broken = json!({"events": ["issues"], "active": false, "branch_filter": "release/*", "config": {"content_type": "form"}});
    desk.api(Method::PATCH, &format!("{hooks}/{}", made["id"]), broken).await;
    assert_eq!(desk.wrong(whose, &[]).await, ["active", "events", "branch filter", "content type"]);
    assert_eq!(desk.create(whose, &[]).await["outcome"], "updated");
    assert!(desk.wrong(whose, &[]).await.is_empty());
    desk.push(&repo, &mut receiver, "second", 202).await;

    // A secret that is another one is not to be seen; a new hook has the right one.
    let hook = json!({"type": "gitea", "active": true, "events": ["push"],
        "config": {"url": desk.url(), "content_type": "json", "secret": "another"}});
    desk.towline("delete", whose, &[]).await;
    desk.api(Method::POST, &hooks, hook.clone()).await;
    desk.push(&repo, &mut receiver, "third", 401).await;
    assert_eq!(desk.create(whose, &[]).await["outcome"], "unchanged");
    assert_eq!(desk.create(whose, &["--replace"]).await["outcome"], "updated");
    desk.push(&repo, &mut receiver, "fourth", 202).await;

    desk.api(Method::POST, &hooks, hook).await;
    assert_eq!(desk.wrong(whose, &[]).await, ["webhook"]);
    assert_eq!(desk.towline("delete", whose, &[]).await.0, 1, "there are two");
    assert_eq!(desk.towline("delete", whose, &["--all"]).await.0, 0);
    assert_eq!(desk.towline("delete", whose, &[]).await.0, 1, "there is none");
    assert_eq!(desk.gitea.api(Method::GET, &hooks, None).await.unwrap(), json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organisations_webhook_is_for_all_its_repositories() {
    let desk = Desk::new().await;
    desk.api(Method::POST, "/orgs", json!({"username": "crew"})).await;
    desk.api(Method::POST, "/orgs/crew/repos", json!({"name": "app", "default_branch": "main"})).await;
    let push_url = desk.gitea.push_url("app").replace(&format!("/{USER}/app"), "/crew/app");
    let (repo, whose) = (Repo::with_remote(&push_url).await.unwrap(), ["--org", "crew"]);
    // More hooks than a page of Gitea's has.
    for number in 0..51 {
        let config = json!({"url": format!("https://other.example/{number}"), "content_type": "json"});
        desk.api(Method::POST, "/orgs/crew/hooks", json!({"type": "gitea", "config": config})).await;
    }
    let made = desk.create(whose, &[]).await;
    assert_eq!((&made["outcome"], &made["test"]["result"]), (&json!("created"), &json!("not-offered")));
    let mut receiver = desk.receiver().await;
    desk.push(&repo, &mut receiver, "first", 202).await;
    assert_eq!(desk.create(whose, &[]).await["outcome"], "unchanged");
    desk.api(Method::PATCH, &format!("/orgs/crew/hooks/{}", made["id"]), json!({"events": ["create"]})).await;
    assert_eq!(desk.wrong(whose, &[]).await, ["events"]);
    assert_eq!(desk.create(whose, &[]).await["outcome"], "updated");
    desk.push(&repo, &mut receiver, "second", 202).await;
    assert_eq!(desk.towline("delete", whose, &[]).await.0, 0);
}
