//! `[[hooks]]`: one route each, and who may send to it. Knows secrets and names; not what a delivery is.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use towline_daemon::config::Mistakes;
use towline_proto::RepositoryId;
use towline_proto::repository::RepositoryError;

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
    repositories: Option<Vec<String>>,
    deliveries_per_second: Option<u64>,
    deliveries_burst: Option<u64>,
}

/// One route, and who may send to it.
pub struct Hook {
    path: String,
    provider: Provider,
    host: String,
    prefix: Option<String>,
    /// What the hook's identities begin with: the host and what becomes of the prefix.
    place: String,
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
    check_host(&raw, key, mistakes);
    let secrets = secrets(&raw, key, mistakes);
    let allowed = allowed(&raw, key, mistakes);
    let rate = limits::of_hook(key, (raw.deliveries_per_second, raw.deliveries_burst), mistakes);
    let place = place(&raw);
    Hook { path: raw.path, provider: raw.provider, host: raw.host, prefix: raw.prefix, place, secrets, allowed, rate }
}

/// Asked of an identity, and not put together: hosts have second names, and some prefixes are left out or moved.
fn place(raw: &RawHook) -> String {
    const PROBE: &str = "probe-a/probe-b";
    let identity = RepositoryId::from_hook(&raw.host, raw.prefix.as_deref(), PROBE).ok();
    identity.and_then(|identity| identity.as_str().strip_suffix(PROBE).map(str::to_owned)).unwrap_or_default()
}

fn check_host(raw: &RawHook, key: &str, mistakes: &mut Mistakes) {
    // A name that no host refuses shows whether host and prefix can be part of an identity.
    let identity = RepositoryId::from_hook(&raw.host, raw.prefix.as_deref(), "org/app");
    if raw.host.contains(['/', '@']) {
        let host = raw.host.rsplit("://").next().unwrap_or_default();
        let host = host.split('/').next().and_then(|host| host.rsplit('@').next()).unwrap_or_default();
        let problem = "is the name of the Git host alone, without scheme, user and path";
        match RepositoryId::from_hook(host, None, "org/app") {
            Ok(_) => mistakes.add(format!("{key}.host"), format!("{problem}: write `{host}`")),
            Err(_) => mistakes.add(format!("{key}.host"), problem),
        }
    } else {
        mistakes.check(format!("{key}.host"), identity);
    }
    // Its deliveries name project and repository; in a URL the organisation (or collection) comes before them.
    let names_organisation = raw.prefix.is_some() || raw.host.ends_with(".visualstudio.com");
    if raw.provider == Provider::AzureDevops && !names_organisation {
        let problem =
            "is missing: the organisation, the first part of the path in https://dev.azure.com/ORGANISATION/…";
        mistakes.add(format!("{key}.prefix"), problem);
    }
}

fn secrets(raw: &RawHook, key: &str, mistakes: &mut Mistakes) -> Secrets {
    if raw.secrets.is_empty() {
        mistakes.add(format!("{key}.secrets"), "there is none: a hook without a secret would believe everybody");
    }
    // Not read, and not shown: it may be the secret itself that was written here.
    for (index, _) in raw.secrets.iter().enumerate().filter(|(_, file)| !file.is_absolute()) {
        let problem = "must be the absolute path of a file that holds the secret (not the secret itself)";
        mistakes.add(format!("{key}.secrets[{index}]"), problem);
    }
    for (index, file) in raw.secrets.iter().enumerate().filter(|(_, file)| file.is_absolute()) {
        if let Some(other) = raw.secrets[..index].iter().position(|other| other == file) {
            mistakes.add(format!("{key}.secrets[{index}]"), format!("is the same file as {key}.secrets[{other}]"));
        }
    }
    let (secrets, results) = Secrets::read(raw.provider, raw.secrets.clone());
    for (index, (file, result)) in secrets.paths().iter().zip(results).enumerate() {
        if file.is_absolute() {
            mistakes.check(format!("{key}.secrets[{index}] ({})", file.display()), result);
        }
    }
    secrets
}

fn allowed(raw: &RawHook, key: &str, mistakes: &mut Mistakes) -> AllowList {
    let mut allowed = AllowList::default();
    let Some(globs) = &raw.repositories else { return allowed };
    if globs.is_empty() {
        mistakes.add(format!("{key}.repositories"), "is empty: leave it out to allow all repositories, or name some");
    }
    for (index, glob) in globs.iter().enumerate() {
        let key = format!("{key}.repositories[{index}]");
        match glob.strip_prefix(&raw.host).and_then(|rest| rest.strip_prefix('/')) {
            Some(name) => mistakes.add(key, format!("is matched against org/app, without the host: write `{name}`")),
            None => drop(mistakes.check(key, allowed.add(glob))),
        }
    }
    allowed
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

    /// Which repositories it speaks for; empty: all of the host.
    pub fn allowed(&self) -> &AllowList {
        &self.allowed
    }

    /// A repository of this hook, by its full name.
    pub fn repository(&self, full_name: &str) -> Result<RepositoryId, RepositoryError> {
        RepositoryId::from_hook(&self.host, self.prefix.as_deref(), full_name)
    }

    pub fn allows(&self, full_name: &str) -> bool {
        self.repository(full_name).is_ok_and(|repository| self.allows_repository(&repository))
    }

    /// Whether it may speak for this one of its repositories. The identity is looked at and not the name that was sent:
    /// one repository has many names, and a glob must not take one of them for another repository's.
    pub fn allows_repository(&self, repository: &RepositoryId) -> bool {
        let identity = repository.as_str();
        let path = || identity.split_once('/').map_or(identity, |(_, path)| path);
        self.allowed.allows(identity.strip_prefix(&self.place).unwrap_or_else(path))
    }
}
