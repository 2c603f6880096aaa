//! A real Gitea: a private instance with an administrator, his token, repositories and webhooks. It delivers its own
//! signed webhooks. Knows its API and command line, and nothing of who receives the webhooks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::certs;
use crate::failure::{Doing, Failure};
use crate::guard;
use crate::ports::Port;
use crate::process::Process;
use crate::repo::Repo;
use crate::tools::{static_folder, tool};
use crate::wait::wait_until;

/// Its first start makes the database: 5 s on two idle cores.
const READY: Duration = Duration::from_secs(120);

/// The administrator, who also owns the repositories.
pub const USER: &str = "towline";
const PASSWORD: &str = "towline-tests-0";

pub struct Gitea {
    dir: PathBuf,
    port: Port,
    token: String,
    http: Client,
    process: Mutex<Process>,
}

impl Gitea {
    pub async fn start() -> Result<Self, Failure> {
        certs::install_provider();
        let dir = guard::scratch("gitea");
        let port = Port::reserve()?;
        let program = tool("gitea")?;
        let config = dir.join("app.ini");
        fs::write(&config, configuration(&dir, &port)).doing(|| format!("write {}", config.display()))?;
        let mut web = command(&program, &dir);
        web.arg("web");
        let mut process = Process::spawn("gitea", &web, &dir.join("gitea.log"))?;
        let http = Client::builder().no_proxy().build().doing(|| "make an HTTP client".to_owned())?;
        let health = format!("http://{}/api/healthz", port.address());
        let ready = wait_until("gitea is ready", READY, async || {
            if let Err(dead) = process.check_runs() {
                return Ok(Err(dead));
            }
            let answer = http.get(&health).send().await.map_err(|error| error.to_string())?;
            if answer.status().is_success() { Ok(Ok(())) } else { Err(answer.status().to_string()) }
        });
        ready.await.map_err(|failure| Failure::new("start gitea", format!("{failure}\n{}", process.log_tail())))??;
        let token = make_administrator(&program, &dir).await?;
        Ok(Self { dir, port, token, http, process: Mutex::new(process) })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.port.address())
    }

    /// `127.0.0.1:<port>`: what a hook of the receiver calls this host.
    pub fn host(&self) -> String {
        self.port.address().to_string()
    }

    /// The administrator's API token; also a password for Git.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Makes an empty repository of [`USER`] and a work copy that pushes to it over HTTP.
    pub async fn repository(&self, name: &str, private: bool) -> Result<Repo, Failure> {
        let body = json!({ "name": name, "private": private, "auto_init": false, "default_branch": "main" });
        self.api(Method::POST, "/user/repos", Some(&body)).await?;
        Repo::with_remote(&self.push_url(name)).await
    }

    /// What agents fetch from.
    pub fn clone_url(&self, name: &str) -> String {
        format!("{}/{USER}/{name}.git", self.url())
    }

    /// The same with credentials.
    pub fn push_url(&self, name: &str) -> String {
        format!("http://{USER}:{}@{}/{USER}/{name}.git", self.token, self.port.address())
    }

    /// A webhook of Gitea's own kind, for pushes.
    pub async fn webhook(&self, repository: &str, url: &str, secret: &str) -> Result<(), Failure> {
        let body = json!({
            "type": "gitea",
            "active": true,
            "events": ["push"],
            "config": { "url": url, "content_type": "json", "secret": secret },
        });
        self.api(Method::POST, &format!("/repos/{USER}/{repository}/hooks"), Some(&body)).await.map(drop)
    }

    /// Any call of Gitea's API v1; the answer's body, `null` when it is empty.
    pub async fn api(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let doing = || format!("call gitea: {method} {path}");
        let mut request = self.http.request(method.clone(), format!("{}/api/v1{path}", self.url()));
        request = request.header("authorization", format!("token {}", self.token));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.doing(doing)?;
        let (status, text) = (answer.status(), answer.text().await.doing(doing)?);
        if !status.is_success() {
            return Err(Failure::new(doing(), format!("{status}: {text}")));
        }
        if text.is_empty() { Ok(Value::Null) } else { serde_json::from_str(&text).doing(doing) }
    }

    pub fn log_tail(&self) -> String {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).log_tail()
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

async fn make_administrator(program: &Path, dir: &Path) -> Result<String, Failure> {
    let email = format!("{USER}@example.test");
    let create = ["create", "--admin", "--username", USER, "--password", PASSWORD, "--email", &email];
    administer(program, dir, &[&create[..], &["--must-change-password=false"]].concat()).await?;
    let token = ["generate-access-token", "--username", USER, "--token-name", "tests", "--scopes", "all", "--raw"];
    let printed = administer(program, dir, &token).await?;
    let token = printed.lines().last().unwrap_or_default().trim();
    if token.is_empty() { Err(Failure::new("make gitea's token", "nothing was printed")) } else { Ok(token.to_owned()) }
}

async fn administer(program: &Path, dir: &Path, arguments: &[&str]) -> Result<String, Failure> {
    let doing = || format!("run `gitea admin user {}`", arguments.first().copied().unwrap_or_default());
    let mut command = tokio::process::Command::from(command(program, dir));
    let output = command.args(["admin", "user"]).args(arguments).kill_on_drop(true).output().await.doing(doing)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let both = [output.stdout, output.stderr].concat();
    Err(Failure::new(doing(), format!("{}\n{}", output.status, String::from_utf8_lossy(&both))))
}

fn command(program: &Path, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(dir)
        .arg("--config")
        .arg(dir.join("app.ini"))
        .env("GITEA_WORK_DIR", dir)
        .env("HOME", dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        // Containers are often root; the hooks that it starts inherit this.
        .env("GITEA_I_AM_BEING_UNSAFE_RUNNING_AS_ROOT", "true");
    command
}

fn configuration(dir: &Path, port: &Port) -> String {
    let templates = static_folder("gitea").map(|folder| format!("STATIC_ROOT_PATH = {}\n", folder.display()));
    format!(
        "WORK_PATH = {dir}\nRUN_MODE = prod\n\
         [server]\nHTTP_ADDR = 127.0.0.1\nHTTP_PORT = {port}\nROOT_URL = http://127.0.0.1:{port}/\n\
         DISABLE_SSH = true\nOFFLINE_MODE = true\n{templates}\
         [database]\nDB_TYPE = sqlite3\nPATH = {dir}/gitea.db\n\
         [security]\nINSTALL_LOCK = true\nSECRET_KEY = only-for-tests\n\
         [service]\nDISABLE_REGISTRATION = true\n\
         [webhook]\nALLOWED_HOST_LIST = *\n\
         [indexer]\nISSUE_INDEXER_TYPE = db\n\
         [cron]\nENABLED = false\n\
         [actions]\nENABLED = false\n\
         [session]\nPROVIDER = memory\n\
         [log]\nMODE = console\nLEVEL = Info\n",
        dir = dir.display(),
        port = port.number(),
        templates = templates.unwrap_or_default(),
    )
}
