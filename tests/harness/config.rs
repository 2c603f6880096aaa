//! The configuration files of Towline's daemons, as TOML. Writes them; starts nothing.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::{Doing, Failure};
use crate::nats::NatsAccess;

/// One `[[hooks]]` table of the receiver.
#[derive(Debug, Clone)]
pub struct Hook {
    pub path: String,
    pub provider: String,
    pub host: String,
    /// Between host and repository: Azure DevOps' organisation.
    pub prefix: Option<String>,
    pub secrets: Vec<String>,
    /// Empty: every repository.
    pub repositories: Vec<String>,
}

impl Hook {
    /// At `/hooks/<provider>`, for every repository of the host.
    pub fn new(provider: &str, host: &str, secret: &str) -> Self {
        Self {
            path: format!("/hooks/{provider}"),
            provider: provider.to_owned(),
            host: host.to_owned(),
            prefix: None,
            secrets: vec![secret.to_owned()],
            repositories: Vec::new(),
        }
    }
}

#[derive(Debug, Clone)]
pub struct ReceiverConfig {
    /// Port 0 unless it has to stay the same over a restart.
    pub listen: String,
    pub nats: NatsAccess,
    pub hooks: Vec<Hook>,
    /// `TOWLINE_LOG`, where it is not for whoever runs the tests.
    pub log: Option<String>,
    /// More top-level keys, or tables, as TOML.
    pub extra_keys: String,
    pub extra_tables: String,
}

impl ReceiverConfig {
    pub fn new(nats: NatsAccess, hooks: Vec<Hook>) -> Self {
        let extra = String::new;
        let listen = "127.0.0.1:0".to_owned();
        Self { listen, nats, hooks, log: None, extra_keys: extra(), extra_tables: extra() }
    }

    /// Writes `receiver.toml` and the secrets' files.
    pub fn write(&self, dir: &Path) -> Result<PathBuf, Failure> {
        let mut text = format!("listen = {:?}\nadmin = \"127.0.0.1:0\"\n{}\n", self.listen, self.extra_keys);
        text += &nats(&self.nats);
        for (number, hook) in self.hooks.iter().enumerate() {
            let mut secrets = Vec::new();
            for (index, secret) in hook.secrets.iter().enumerate() {
                secrets.push(write(&dir.join(format!("hook-{number}-secret-{index}")), secret)?);
            }
            let Hook { path, provider, host, .. } = hook;
            text += &format!(
                "[[hooks]]\npath = {path:?}\nprovider = {provider:?}\nhost = {host:?}\nsecrets = {secrets:?}\n"
            );
            if let Some(prefix) = &hook.prefix {
                text += &format!("prefix = {prefix:?}\n");
            }
            if !hook.repositories.is_empty() {
                text += &format!("repositories = {:?}\n", hook.repositories);
            }
        }
        write(&dir.join("receiver.toml"), &(text + &self.extra_tables))
    }
}

#[derive(Debug, Clone)]
pub struct AgentConfig {
    pub cluster: String,
    /// `None`: it polls only.
    pub nats: Option<NatsAccess>,
    pub kubeconfig: PathBuf,
    /// Empty: all.
    pub namespaces: Vec<String>,
    /// More keys of `[kubernetes]`, as TOML.
    pub kubernetes_keys: String,
    /// Mirrors and the spool; kept over restarts. `None`: a folder of the process' own.
    pub storage: Option<PathBuf>,
    /// `TOWLINE_LOG`, where it is not for whoever runs the tests.
    pub log: Option<String>,
    /// More top-level keys, or tables, as TOML.
    pub extra_keys: String,
    pub extra_tables: String,
}

impl AgentConfig {
    pub fn new(cluster: &str, kubeconfig: &Path) -> Self {
        Self {
            cluster: cluster.to_owned(),
            nats: None,
            kubeconfig: kubeconfig.to_owned(),
            namespaces: Vec::new(),
            kubernetes_keys: String::new(),
            storage: None,
            log: None,
            extra_keys: String::new(),
            extra_tables: String::new(),
        }
    }

    /// Writes `agent.toml`.
    pub fn write(&self, dir: &Path) -> Result<PathBuf, Failure> {
        let storage = self.storage.clone().unwrap_or_else(|| dir.join("storage"));
        fs::create_dir_all(&storage).doing(|| format!("make {}", storage.display()))?;
        let text = format!(
            "cluster = {:?}\nadmin = \"127.0.0.1:0\"\n{}\n{}\
             [kubernetes]\nkubeconfig = {:?}\nnamespaces = {:?}\n{}\n\
             [storage]\ndir = {storage:?}\n{}",
            self.cluster,
            self.extra_keys,
            self.nats.as_ref().map(nats).unwrap_or_default(),
            self.kubeconfig,
            self.namespaces,
            self.kubernetes_keys,
            self.extra_tables,
        );
        write(&dir.join("agent.toml"), &text)
    }
}

fn nats(access: &NatsAccess) -> String {
    format!("[nats]\nurl = {:?}\nnkey = {:?}\n", access.url, access.nkey)
}

fn write(path: &Path, text: &str) -> Result<PathBuf, Failure> {
    fs::write(path, text).doing(|| format!("write {}", path.display()))?;
    Ok(path.to_owned())
}
