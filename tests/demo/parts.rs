//! The parts on the stage: a control plane, NATS, a Git host, a receiver and an agent, each a real process. Knows how they are
//! started, connected and ended; must not know what is played on them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use harness::Failure;
use harness::config::{AgentConfig, Hook, ReceiverConfig};
use harness::control_plane::{ControlPlane, Options};
use harness::failure::Doing as _;
use harness::git_server::GitServer;
use harness::guard;
use harness::nats::Nats;
use harness::repo::Repo;
use harness::towline::{Daemon, cli};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ApiResource;
use towline_agent::api::Sync;

use crate::screen::say;
use crate::watch::Window;

/// The namespace of the GitSource and the Sync.
pub(crate) const FLEET_NAMESPACE: &str = "default";
/// The namespace of what Git brings.
pub(crate) const SHOP: &str = "shop";
/// What the hook's host calls the repository, and what the GitSource names for its events.
pub(crate) const REPOSITORY: &str = "org/fleet";
pub(crate) const HOST: &str = "git.demo";
/// Where the receiver takes GitHub's deliveries.
pub(crate) const HOOK_PATH: &str = "/hooks/github";
/// The hook's secret.
pub(crate) const SECRET: &str = "correct horse battery staple";

/// A daemon that has nothing to do ends at once; one in a pass gets this long.
const GRACE: Duration = Duration::from_secs(15);
/// Lines of the log of a daemon that did not end well: what it said after it was asked to.
const LAST_WORDS: usize = 10;

pub(crate) struct Parts {
    // Ended in this order if a scene fails.
    pub(crate) window: Window,
    pub(crate) agent: Daemon,
    pub(crate) receiver: Daemon,
    pub(crate) nats: Nats,
    pub(crate) git: GitServer,
    pub(crate) repo: Repo,
    pub(crate) plane: ControlPlane,
    pub(crate) client: kube::Client,
    pub(crate) hook_url: String,
    pub(crate) secret_file: PathBuf,
}

impl Parts {
    pub(crate) async fn start() -> Result<Self, Failure> {
        say("The parts");
        let plane = timed("etcd, kube-apiserver, controller manager", ControlPlane::start(Options::default()));
        let (plane, (nats, git, repo)) = tokio::try_join!(plane, network())?;
        let client = plane.client().await?;
        let hooks = vec![Hook::new("github", HOST, SECRET)];
        let config = ReceiverConfig::new(nats.access("receiver"), hooks);
        let mut receiver = timed("towline-receiver", Daemon::receiver(&config)).await?;
        let mut config = AgentConfig::new("demo", plane.kubeconfig());
        config.nats = Some(nats.access("agent"));
        let agent = timed("towline-agent", Daemon::agent(&config)).await?;
        let hook_url = receiver.public_url(HOOK_PATH).await?;
        let mut window = Window::default();
        window.open(&client, SHOP, &ApiResource::erase::<Deployment>(&()));
        window.open(&client, SHOP, &ApiResource::erase::<ConfigMap>(&()));
        window.open(&client, FLEET_NAMESPACE, &ApiResource::erase::<Sync>(&()));
        let secret_file = write_secret()?;
        Ok(Self { window, agent, receiver, nats, git, repo, plane, client, hook_url, secret_file })
    }

    /// Of the two daemons, by name.
    pub(crate) fn resident_bytes(&mut self) -> Vec<(&'static str, u64)> {
        let daemons = [("towline-receiver", &mut self.receiver), ("towline-agent", &mut self.agent)];
        let bytes = |daemon: &mut Daemon| daemon.process().map_or(0, |process| process.resident_bytes());
        daemons.into_iter().map(|(name, daemon)| (name, bytes(daemon))).collect()
    }

    /// Ends the daemons as an operator would and everything else at once. Nothing is left running.
    pub(crate) async fn end(mut self) -> Result<(), Failure> {
        for (name, daemon) in [("towline-agent", &mut self.agent), ("towline-receiver", &mut self.receiver)] {
            let status = daemon.terminate(GRACE).await?;
            if !status.success() {
                let log = daemon.log();
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n");
                return Err(Failure::new(format!("end {name} cleanly"), format!("{status}\n{tail}")));
            }
        }
        Ok(())
    }
}

/// NATS with its streams, and a Git host with an empty repository.
async fn network() -> Result<(Nats, GitServer, Repo), Failure> {
    let nats = timed("nats-server with JetStream", Nats::start()).await?;
    timed("`towline fleet init`: the streams", init_streams(&nats)).await?;
    let git = GitServer::start().await?;
    let repo = timed("a Git host over smart HTTP", git.repository("fleet")).await?;
    Ok((nats, git, repo))
}

async fn init_streams(nats: &Nats) -> Result<(), Failure> {
    let access = nats.access("admin");
    let nkey = access.nkey.to_string_lossy();
    let output = cli(&["fleet", "init", "--nats", &access.url, "--nkey", &nkey], &[]).await?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Failure::new("run `towline fleet init`", String::from_utf8_lossy(&output.stderr))),
    }
}

async fn timed<T>(name: &str, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let started = Instant::now();
    let done = work.await?;
    say(format!("  {name:<44} {:>8.1} s", started.elapsed().as_secs_f64()));
    Ok(done)
}

fn write_secret() -> Result<PathBuf, Failure> {
    let path: &Path = &guard::scratch("hook").join("secret");
    std::fs::write(path, SECRET).doing(|| format!("write {}", path.display()))?;
    Ok(path.to_owned())
}
