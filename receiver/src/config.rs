//! `receiver.toml` to a [`Config`] that can be used as it is: addresses parsed, secrets and certificates read, names
//! checked. All mistakes are reported at once. Opens no connection and no port.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use towline_daemon::config::{self as files, ConfigError, Mistakes};
use towline_daemon::nats;
use towline_proto::RepositoryId;

use crate::allow::AllowList;
use crate::limits::{Limits, RawLimits};
use crate::provider::Provider;
use crate::secret::Secret;
use crate::tls::{self, Tls};

/// What is written, before anybody looked at it.
#[derive(Debug, Deserialize)]
struct Raw {
    listen: String,
    admin: Option<String>,
    tls: Option<RawTls>,
    nats: nats::Settings,
    #[serde(default)]
    hooks: Vec<RawHook>,
    #[serde(default)]
    limits: RawLimits,
}

#[derive(Debug, Deserialize)]
struct RawTls {
    cert: PathBuf,
    key: PathBuf,
}

#[derive(Debug, Deserialize)]
struct RawHook {
    path: String,
    provider: Provider,
    host: String,
    prefix: Option<String>,
    #[serde(default)]
    secrets: Vec<PathBuf>,
    #[serde(default)]
    repositories: Vec<String>,
}

/// A configuration that was checked. Made by [`load`] only.
pub struct Config {
    listen: SocketAddr,
    admin: Option<SocketAddr>,
    tls: Option<Tls>,
    nats: nats::Settings,
    hooks: Vec<Arc<Hook>>,
    limits: Limits,
}

/// One route, and who may send to it.
pub struct Hook {
    path: String,
    provider: Provider,
    host: String,
    prefix: Option<String>,
    secrets: Vec<Secret>,
    allowed: AllowList,
}

/// Reads, checks, and reports everything that is wrong.
pub fn load(path: Option<&Path>) -> Result<Config, ConfigError> {
    let raw: Raw = files::load(path)?;
    validate(raw, Mistakes::new(path))
}

fn validate(raw: Raw, mut mistakes: Mistakes) -> Result<Config, ConfigError> {
    let listen = mistakes.check("listen", raw.listen.parse::<SocketAddr>());
    let admin = raw.admin.map(|text| mistakes.check("admin", text.parse::<SocketAddr>()));
    let tls = raw.tls.map(|raw| certificate(&raw, &mut mistakes));
    mistakes.check("nats", raw.nats.check());
    let limits = raw.limits.validate(&mut mistakes);
    if raw.hooks.is_empty() {
        mistakes.add("hooks", "there is none: a receiver without a hook receives nothing");
    }
    let mut hooks: Vec<Arc<Hook>> = Vec::new();
    for (index, raw) in raw.hooks.into_iter().enumerate() {
        let key = format!("hooks[{index}]");
        if let Some(other) = hooks.iter().position(|hook| hook.path == raw.path) {
            mistakes.add(format!("{key}.path"), format!("is also the path of hooks[{other}]"));
        }
        hooks.push(Arc::new(hook(raw, &key, &mut mistakes)));
    }
    let (Some(listen), admin, tls) = (listen, admin.flatten(), tls.flatten()) else {
        return Err(ConfigError::Mistakes(mistakes));
    };
    mistakes.finish(Config { listen, admin, tls, nats: raw.nats, hooks, limits })
}

fn certificate(raw: &RawTls, mistakes: &mut Mistakes) -> Option<Tls> {
    let chain = mistakes.check("tls.cert", tls::read_certificates(&raw.cert));
    let key = mistakes.check("tls.key", tls::read_key(&raw.key));
    mistakes.check("tls", Tls::new(chain?, key?))
}

fn hook(raw: RawHook, key: &str, mistakes: &mut Mistakes) -> Hook {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    if !raw.path.starts_with('/') || raw.path.len() < 2 || !raw.path.bytes().all(plain) {
        mistakes.add(format!("{key}.path"), "must start with / and have only letters, digits and / - . _ ~");
    }
    // A name that no host refuses shows whether host and prefix can be part of an identity.
    mistakes.check(format!("{key}.host"), RepositoryId::from_hook(&raw.host, raw.prefix.as_deref(), "org/app"));
    if raw.secrets.is_empty() {
        mistakes.add(format!("{key}.secrets"), "there is none: a hook without a secret would believe everybody");
    }
    let mut secrets = Vec::new();
    for (index, file) in raw.secrets.iter().enumerate() {
        let name = format!("{key}.secrets[{index}] ({})", file.display());
        secrets.extend(mistakes.check(name, Secret::read(raw.provider, file)));
    }
    let mut allowed = AllowList::default();
    for (index, glob) in raw.repositories.iter().enumerate() {
        mistakes.check(format!("{key}.repositories[{index}]"), allowed.add(glob));
    }
    Hook { path: raw.path, provider: raw.provider, host: raw.host, prefix: raw.prefix, secrets, allowed }
}

impl Config {
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    pub fn nats(&self) -> &nats::Settings {
        &self.nats
    }

    pub fn hooks(&self) -> &[Arc<Hook>] {
        &self.hooks
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }
}

impl Hook {
    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// The Git host whose repositories this hook speaks for.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }

    pub fn secrets(&self) -> &[Secret] {
        &self.secrets
    }

    pub fn allows(&self, full_name: &str) -> bool {
        self.allowed.allows(full_name)
    }
}
