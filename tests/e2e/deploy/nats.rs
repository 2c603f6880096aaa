//! The NATS server as `deploy/base/nats` configures it: the Job's command creates the streams, and each user may do what it
//! has to and not what the others do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::{Client, ConnectOptions};
use harness::guard;
use harness::ports::Port;
use harness::process::Process;
use harness::tools::tool;
use harness::towline::cli;
use harness::wait_until;
use serde_json::Value;

use super::{deploy, secrets};

const SOON: Duration = Duration::from_secs(30);
const COMMIT: &str = "towline.commit.repo.ref";

struct Server {
    secrets: PathBuf,
    url: String,
    _port: Port,
    _process: Process,
}

impl Server {
    async fn start() -> Self {
        let (folder, secrets, port) = (guard::scratch("nats"), secrets(), Port::reserve().expect("a port"));
        fs::create_dir(folder.join("auth")).expect("make the folder");
        fs::copy(secrets.join("passwords.conf"), folder.join("auth/passwords.conf")).expect("copy the passwords");
        let text = fs::read_to_string(deploy().join("base/nats/nats.conf")).expect("read the configuration");
        let store = format!("{:?}", folder.join("data"));
        let text = text
            .replace("\"0.0.0.0:4222\"", &format!("\"{}\"", port.address()))
            .replace("http: \"0.0.0.0:8222\"", "")
            .replace("store_dir: /data", &format!("store_dir: {store}"));
        fs::write(folder.join("nats.conf"), text).expect("write the configuration");
        let mut command = Command::new(tool("nats-server").expect("nats-server"));
        command.arg("--config").arg(folder.join("nats.conf"));
        let process = Process::spawn("nats-server", &command, &folder.join("log")).expect("start nats-server");
        let url = format!("nats://{}", port.address());
        let server = Self { secrets, url, _port: port, _process: process };
        wait_until("nats-server takes users", SOON, async || server.connect("admin").await.map(drop))
            .await
            .expect("NATS");
        server
    }

    fn password(&self, user: &str) -> PathBuf {
        self.secrets.join(user)
    }

    async fn connect(&self, user: &str) -> Result<Client, String> {
        let password = fs::read_to_string(self.password(user)).map_err(|error| error.to_string())?;
        let inbox = if user == "agent" { "_INBOX_local" } else { "_INBOX" };
        let options = ConnectOptions::with_user_and_password(user.to_owned(), password).custom_inbox_prefix(inbox);
        let options = options.request_timeout(Some(Duration::from_secs(2)));
        options.connect(&self.url).await.map_err(|error| error.to_string())
    }

    async fn fleet_init(&self, user: &str, password: &Path) -> std::process::Output {
        let password = password.display().to_string();
        let arguments =
            ["fleet", "init", "--nats", &self.url, "--user", user, "--password-file", &password, "--output", "json"];
        cli(&arguments, &[]).await.expect("run towline")
    }
}

fn outcomes(stdout: &[u8]) -> Vec<String> {
    let report: Value = serde_json::from_slice(stdout).expect("a report");
    let all = report.as_array().expect("a list").iter();
    all.map(|stream| format!("{} {}", stream["stream"], stream["outcome"]).replace('"', "")).collect()
}

#[tokio::test]
async fn the_streams_are_made_by_the_administrator_only_and_once() {
    let server = Server::start().await;
    let refused = server.fleet_init("agent", &server.password("agent")).await;
    assert_eq!(refused.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Permissions Violation"), "{refused:?}");
    assert_eq!(server.fleet_init("admin", &server.password("agent")).await.status.code(), Some(3));

    let all = |outcome: &str| ["COMMITS", "STATUS", "EVENTS", "HEARTBEAT"].map(|name| format!("{name} {outcome}"));
    let first = server.fleet_init("admin", &server.password("admin")).await;
    assert_eq!(outcomes(&first.stdout), all("created"), "{first:?}");
    let again = server.fleet_init("admin", &server.password("admin")).await;
    assert_eq!(outcomes(&again.stdout), all("unchanged"), "{again:?}");

    let admin = jetstream::new(server.connect("admin").await.unwrap());
    let mut config = admin.get_stream("STATUS").await.unwrap().cached_info().config.clone();
    config.max_bytes /= 2;
    admin.update_stream(config).await.unwrap();
    admin.delete_stream("HEARTBEAT").await.unwrap();
    let config = jetstream::stream::Config {
        name: "HEARTBEAT".to_owned(),
        subjects: vec!["towline.heartbeat.*".to_owned()],
        max_consumers: 7,
        ..jetstream::stream::Config::default()
    };
    admin.create_stream(config).await.unwrap();
    let mended = server.fleet_init("admin", &server.password("admin")).await;
    assert_eq!(mended.status.code(), Some(1), "{mended:?}");
    assert_eq!(outcomes(&mended.stdout)[1], "STATUS updated");
    assert_eq!(outcomes(&mended.stdout)[3], "HEARTBEAT differs");
    let report: Value = serde_json::from_slice(&mended.stdout).unwrap();
    assert_eq!(report[3]["cannotChange"][0], "max_consumers: is 7, should be 64");
}

#[tokio::test]
async fn each_user_may_do_its_own_work() {
    let server = Server::start().await;
    assert!(server.fleet_init("admin", &server.password("admin")).await.status.success());
    let receiver = jetstream::new(server.connect("receiver").await.unwrap());
    receiver.get_stream("COMMITS").await.unwrap();
    receiver.publish(COMMIT, "event".into()).await.unwrap().await.unwrap();
    assert!(receiver.get_stream("STATUS").await.is_err());

    let client = server.connect("agent").await.unwrap();
    let last = client.request(format!("$JS.API.DIRECT.GET.COMMITS.{COMMIT}"), "".into()).await.unwrap();
    assert_eq!(&last.payload[..], b"event");
    let agent = jetstream::new(client);
    for own in ["towline.status.local.ns.sync", "towline.event.local.applied", "towline.heartbeat.local"] {
        agent.publish(own, "report".into()).await.unwrap().await.unwrap();
    }
    for others in [COMMIT, "towline.status.prod.ns.sync", "towline.heartbeat.prod"] {
        assert!(agent.publish(others, "forged".into()).await.unwrap().await.is_err(), "{others}");
    }
}
