//! `[[hooks]]`: one route each, and who may send to it. Knows secrets and names; not what a delivery is.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use towline_daemon::config::Mistakes;
use towline_proto::RepositoryId;

use crate::allow::AllowList;
use crate::limits;
use crate::provider::Provider;
use crate::rate::Rate;
use crate::secrets::Secrets;

#[derive(Debug, Deserialize)]
pub(super) struct RawHook {
    path: String,
    provider: Provider,
    host: String,
    prefix: Option<String>,
    #[serde(default)]
    secrets: Vec<PathBuf>,
    #[serde(default)]
    repositories: Vec<String>,
    deliveries_per_second: Option<u64>,
    deliveries_burst: Option<u64>,
}

/// One route, and who may send to it.
pub struct Hook {
    path: String,
    provider: Provider,
    host: String,
    prefix: Option<String>,
    secrets: Secrets,
    allowed: AllowList,
    rate: Option<Rate>,
}

/// All hooks; what is wrong with them is noted.
pub(super) fn validate(raw: Vec<RawHook>, mistakes: &mut Mistakes) -> Vec<Arc<Hook>> {
    if raw.is_empty() {
        mistakes.add("hooks", "there is none: a receiver without a hook receives nothing");
    }
    let mut hooks: Vec<Arc<Hook>> = Vec::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let key = format!("hooks[{index}]");
        if let Some(other) = hooks.iter().position(|hook| hook.path == raw.path) {
            mistakes.add(format!("{key}.path"), format!("is also the path of hooks[{other}]"));
        }
        hooks.push(Arc::new(hook(raw, &key, mistakes)));
    }
    hooks
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
    let (secrets, results) = Secrets::read(raw.provider, raw.secrets);
    for (index, (file, result)) in secrets.paths().iter().zip(results).enumerate() {
        mistakes.check(format!("{key}.secrets[{index}] ({})", file.display()), result);
    }
    let mut allowed = AllowList::default();
    for (index, glob) in raw.repositories.iter().enumerate() {
        mistakes.check(format!("{key}.repositories[{index}]"), allowed.add(glob));
    }
    let rate = limits::of_hook(key, (raw.deliveries_per_second, raw.deliveries_burst), mistakes);
    Hook { path: raw.path, provider: raw.provider, host: raw.host, prefix: raw.prefix, secrets, allowed, rate }
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

    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Its own rate of verified deliveries, where it has one.
    pub fn rate(&self) -> Option<Rate> {
        self.rate
    }

    pub fn allows(&self, full_name: &str) -> bool {
        self.allowed.allows(full_name)
    }
}
