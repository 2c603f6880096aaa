//! Secrets that are replaced while deliveries come in: nobody who is right is refused, and what is replaced is dead soon.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use towline_daemon::admin::Readiness;
use towline_daemon::shutdown::Shutdown;
use towline_daemon::tasks::Tasks;
use towline_receiver::metrics::Metrics;
use towline_receiver::publish::Publisher;
use towline_receiver::reload::{self, ReloadMetrics};
use towline_receiver::serve::Server;
use towline_receiver::{Provider, Secret, config, listener, sign};

/// A slow machine is no failure.
const DEADLINE: Duration = Duration::from_secs(60);

struct Edge {
    address: SocketAddr,
    shutdown: Shutdown,
    registry: Registry,
    folder: tempfile::TempDir,
    tasks: Tasks,
}

impl Edge {
    /// A hook whose files are `key`, a link through a folder that can be swapped, and `other`.
    async fn start(overlap_ms: u64) -> Self {
        towline_daemon::tls::install_crypto_provider();
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        fs::create_dir(dir.join("..0")).unwrap();
        fs::write(dir.join("..0/key"), "key-0\n").unwrap();
        symlink("..0", dir.join("..data")).unwrap();
        symlink("..data/key", dir.join("key")).unwrap();
        fs::write(dir.join("other"), "other-0").unwrap();
        let text = format!(
            "listen = \"127.0.0.1:0\"\n[nats]\nurl = \"nats://127.0.0.1:1\"\n[limits]\nsecret_overlap_ms = {overlap_ms}\n\
             [[hooks]]\npath = \"/hook\"\nprovider = \"github\"\nhost = \"github.com\"\nsecrets = [\"{0}/key\", \"{0}/other\"]\n",
            dir.display()
        );
        fs::write(dir.join("receiver.toml"), text).unwrap();
        let config = config::load(Some(&dir.join("receiver.toml"))).unwrap();
        let (shutdown, tasks, mut registry) = (Shutdown::new(), Tasks::new(), Registry::default());
        let publisher =
            Publisher::connect(config.nats(), Readiness::new(), config.limits().publish_timeout, 8).await.unwrap();
        let server = Arc::new(Server::new(&config, publisher, Metrics::register(&mut registry), shutdown.clone()));
        reload::spawn(&tasks, &config, &ReloadMetrics::register(&mut registry), &shutdown);
        let port = listener::bind(config.listen()).await.unwrap();
        let address = port.local_addr().unwrap();
        let public = listener::run(port, None, server, shutdown.clone());
        tasks.spawn("public", towline_daemon::tasks::WhenItEnds::StopsProcess, public);
        Self { address, shutdown, registry, folder, tasks }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn end(self) {
        self.shutdown.request();
        self.tasks.run_until_shutdown(self.shutdown, DEADLINE).await.unwrap();
    }

    fn metric(&self, line: &str) -> bool {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text.lines().any(|found| found == line)
    }

    async fn wait_for(&self, what: &str, condition: impl AsyncFn() -> bool) {
        let met = async {
            while !condition().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(tokio::time::timeout(DEADLINE, met).await.is_ok(), "{what}");
    }
}

/// A ping, signed; its status.
async fn ping(address: SocketAddr, key: &str) -> u16 {
    let secret = Secret::parse(Provider::Github, key.as_bytes()).unwrap();
    let signed = sign::sign(Provider::Github, &secret, "ping", Bytes::from("{}"), "an-id", Timestamp::UNIX_EPOCH);
    let mut request = "POST /hook HTTP/1.1\r\nhost: x\r\nconnection: close\r\n".to_owned();
    request.push_str(&format!("content-length: {}\r\n", signed.body.len()));
    for (name, value) in &signed.headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&[request.as_bytes(), b"\r\n", &signed.body].concat()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// A kubelet's way: a new folder, a link to it, a rename over the old link.
fn swap_folder(dir: &Path, version: &str, key: &str) {
    fs::create_dir(dir.join(version)).unwrap();
    fs::write(dir.join(version).join("key"), key).unwrap();
    symlink(version, dir.join("..data_tmp")).unwrap();
    fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
}

fn replace(dir: &Path, name: &str, key: &str) {
    fs::write(dir.join("new"), key).unwrap();
    fs::rename(dir.join("new"), dir.join(name)).unwrap();
}

#[tokio::test]
async fn who_changes_the_key_after_the_file_is_never_refused() {
    let edge = Edge::start(5000).await;
    let dir = edge.folder.path();
    let (key, current) = watch::channel("key-0".to_owned());
    let (accepted, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let sender = async || {
        while !done.load(Ordering::Relaxed) {
            let key = current.borrow().clone();
            assert_eq!(ping(edge.address, &key).await, 200, "a delivery signed with {key} was refused");
            accepted.fetch_add(1, Ordering::Relaxed);
        }
    };
    let rotations = async {
        let more = async || {
            let before = accepted.load(Ordering::Relaxed);
            edge.wait_for("deliveries go on", async || accepted.load(Ordering::Relaxed) >= before + 50).await;
        };
        more().await;
        // From one moment to the next, in the three ways in which files change.
        swap_folder(dir, "..1", "key-1\n");
        key.send_replace("key-1".to_owned());
        more().await;
        replace(dir, "other", "key-2");
        key.send_replace("key-2".to_owned());
        more().await;
        fs::write(dir.join("..1/key"), "key-3").unwrap();
        key.send_replace("key-3".to_owned());
        more().await;
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(sender(), sender(), sender(), rotations);
    for dead in ["key-0", "key-1", "other-0"] {
        edge.wait_for("a replaced secret dies", async || ping(edge.address, dead).await == 401).await;
    }
    for good in ["key-2", "key-3"] {
        assert_eq!(ping(edge.address, good).await, 200);
    }
    assert!(edge.metric("towline_receiver_secret_reloads_total{hook=\"/hook\"} 3"));
    edge.end().await;
}

#[tokio::test]
async fn a_file_that_became_bad_keeps_its_secret_and_the_other_file_is_taken() {
    let edge = Edge::start(0).await;
    let dir = edge.folder.path();
    let unusable = |count: u8| format!("towline_receiver_secret_files_unusable{{hook=\"/hook\"}} {count}");
    fs::remove_file(edge.path("..data")).unwrap();
    replace(dir, "other", "other-1");
    edge.wait_for("the other file is taken", async || ping(edge.address, "other-1").await == 200).await;
    edge.wait_for("the absence shows", async || edge.metric(&unusable(1))).await;
    assert_eq!(ping(edge.address, "key-0").await, 200);
    assert_eq!(ping(edge.address, "other-0").await, 401, "there is no overlap");

    fs::write(edge.path("other"), "\n").unwrap();
    edge.wait_for("the empty file shows", async || edge.metric(&unusable(2))).await;
    assert_eq!(ping(edge.address, "other-1").await, 200);
    swap_folder(dir, "..1", "key-1");
    replace(dir, "other", "other-2");
    for good in ["key-1", "other-2"] {
        edge.wait_for("good files are taken", async || ping(edge.address, good).await == 200).await;
    }
    for dead in ["key-0", "other-1"] {
        assert_eq!(ping(edge.address, dead).await, 401);
    }
    assert!(edge.metric(&unusable(0)));
    assert!(edge.metric("towline_receiver_secret_reload_failures_total{hook=\"/hook\"} 2"));
    edge.end().await;
}
