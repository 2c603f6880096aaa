//! `agent.toml` to a [`Config`] that can be used as it is. All mistakes are reported at once. Opens nothing.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use towline_daemon::config::{self as files, ConfigError, Mistakes};
use towline_daemon::nats;
use towline_proto::ClusterName;

use crate::access::PlainHttp;
use crate::api::{GitRef, GitSourceSpec, PrunePolicy, SecretReference, SourceKind, SourceReference, SyncSpec};
use crate::cluster::ConnectSettings;
use crate::engine::FETCHES_PER_HOST;
use crate::mirror::Limits;

/// What is written, before anybody looked at it.
#[derive(Debug, Deserialize)]
struct Raw {
    cluster: String,
    admin: Option<String>,
    nats: Option<nats::Settings>,
    #[serde(default)]
    report: RawReport,
    #[serde(default)]
    kubernetes: RawKubernetes,
    storage: RawStorage,
    bootstrap: Option<RawBootstrap>,
    #[serde(default)]
    git: RawGit,
    #[serde(default)]
    replicas: RawReplicas,
}

#[derive(Debug, Default, Deserialize)]
struct RawGit {
    #[serde(default)]
    plain_http_hosts: Vec<String>,
    fetches_per_host: Option<usize>,
    received_bytes_max: Option<u64>,
    unpacked_bytes_max: Option<u64>,
    files_max: Option<u64>,
    file_bytes_max: Option<u64>,
    path_bytes_max: Option<usize>,
    depth_max: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
struct RawReplicas {
    namespace: Option<String>,
    lease_seconds: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
struct RawReport {
    key: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
struct RawKubernetes {
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
    #[serde(default)]
    namespaces: Vec<String>,
    default_service_account: Option<String>,
    #[serde(default)]
    allow_cross_namespace_references: bool,
}

#[derive(Debug, Deserialize)]
struct RawStorage {
    dir: PathBuf,
}

#[derive(Debug, Deserialize)]
struct RawBootstrap {
    url: String,
    #[serde(rename = "ref")]
    reference: Option<RawRef>,
    #[serde(default)]
    path: String,
    namespace: Option<String>,
    name: Option<String>,
    secret_ref: Option<String>,
    #[serde(default = "yes")]
    prune: bool,
}

#[derive(Debug, Deserialize)]
struct RawRef {
    branch: Option<String>,
    tag: Option<String>,
    semver: Option<String>,
    name: Option<String>,
}

fn yes() -> bool {
    true
}

/// The source and Sync that bring in all others.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    pub namespace: String,
    pub name: String,
    pub source: GitSourceSpec,
    pub sync: SyncSpec,
}

/// A configuration that was checked. Made by [`load`] only.
#[derive(Debug)]
pub struct Config {
    pub(crate) cluster: ClusterName,
    pub(crate) admin: Option<SocketAddr>,
    /// Without it the agent only polls.
    pub(crate) nats: Option<nats::Settings>,
    /// The seed of the key that signs reports; without it one is made in the storage folder.
    pub(crate) report_key: Option<PathBuf>,
    pub(crate) kubernetes: ConnectSettings,
    /// Where Syncs are looked for; empty: everywhere.
    pub(crate) namespaces: Vec<String>,
    /// The account of its own namespace as which a Sync acts that names none; without it, as the agent.
    pub(crate) default_service_account: Option<String>,
    /// Whether a Sync may name sources and dependencies of other namespaces.
    pub(crate) allow_cross_namespace_references: bool,
    pub(crate) storage: PathBuf,
    pub(crate) bootstrap: Option<Bootstrap>,
    /// Git hosts to which credentials may go without TLS.
    pub(crate) plain_http: PlainHttp,
    /// How many fetches run at one host at once.
    pub(crate) fetches_per_host: usize,
    /// How large a repository may be.
    pub(crate) limits: Limits,
    pub(crate) replicas: Replicas,
}

/// How replicas of this agent find each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replicas {
    /// Where their Leases are. Without it: the Pod's namespace; where there is no Pod, there are no replicas.
    pub namespace: Option<String>,
    /// How long others wait for one that says nothing.
    pub lease: Duration,
}

/// What client-go's leader election has, so that people know it.
const LEASE_SECONDS: u64 = 15;
/// Below, a slow answer or two ends a Lease; above, nobody wants to wait that long for the work of a replica that died.
const LEASE_SECONDS_BOUNDS: std::ops::RangeInclusive<u64> = 4..=300;

/// Folders are walked by a function that calls itself.
const DEPTH_MOST: usize = 256;
/// A file is in memory while its pack is looked through.
const FILE_BYTES_MOST: u64 = 2 << 30;
/// Each holds a thread and a pack's worth of memory.
const FETCHES_PER_HOST_BOUNDS: std::ops::RangeInclusive<usize> = 1..=32;

/// Reads, checks, and reports everything that is wrong.
///
/// # Errors
/// An unreadable file, unknown keys, values of the wrong type or out of bounds: each with its key.
pub fn load(path: Option<&Path>) -> Result<Config, ConfigError> {
    let raw: Raw = files::load(path)?;
    let mut mistakes = Mistakes::new(path);
    let cluster = mistakes.check("cluster", ClusterName::parse(&raw.cluster));
    let admin = raw.admin.map(|text| mistakes.check("admin", text.parse::<SocketAddr>()));
    if let Some(nats) = &raw.nats {
        mistakes.check("nats", nats.check());
    }
    let bootstrap = raw.bootstrap.map(|raw| bootstrap(raw, &mut mistakes));
    if raw.storage.dir.as_os_str().is_empty() {
        mistakes.add("storage.dir", "is empty: name a folder for mirrors, as /var/lib/towline");
    }
    let RawKubernetes { kubeconfig, context, namespaces, default_service_account, allow_cross_namespace_references } =
        raw.kubernetes;
    if default_service_account.as_deref().is_some_and(|name| !is_account_name(name)) {
        let key = "kubernetes.default_service_account";
        mistakes.add(key, "is no name of a service account: small letters, digits, - and ., as in deployer");
    }
    check_namespaces(&namespaces, bootstrap.as_ref().and_then(Option::as_ref), &mut mistakes);
    let plain_http = mistakes.check("git.plain_http_hosts", PlainHttp::parse(&raw.git.plain_http_hosts));
    let fetches_per_host = raw.git.fetches_per_host.unwrap_or(FETCHES_PER_HOST);
    if !FETCHES_PER_HOST_BOUNDS.contains(&fetches_per_host) {
        let (least, most) = FETCHES_PER_HOST_BOUNDS.into_inner();
        mistakes.add("git.fetches_per_host", format!("{fetches_per_host} is not within {least} to {most}"));
    }
    let limits = limits(&raw.git, &mut mistakes);
    let replicas = replicas(raw.replicas, &mut mistakes);
    let Some(cluster) = cluster else { return Err(ConfigError::Mistakes(mistakes)) };
    mistakes.finish(Config {
        cluster,
        admin: admin.flatten(),
        nats: raw.nats,
        report_key: raw.report.key,
        kubernetes: ConnectSettings { kubeconfig, context },
        namespaces,
        default_service_account,
        allow_cross_namespace_references,
        storage: raw.storage.dir,
        bootstrap: bootstrap.flatten(),
        plain_http: plain_http.unwrap_or_default(),
        fetches_per_host,
        limits,
        replicas,
    })
}

/// One that is named twice would be waited for twice, and listed once.
fn check_namespaces(namespaces: &[String], bootstrap: Option<&Bootstrap>, mistakes: &mut Mistakes) {
    let key = "kubernetes.namespaces";
    for (n, name) in namespaces.iter().enumerate() {
        let is_label = name.len() <= 63 && !name.contains('.') && is_account_name(name);
        if !is_label {
            mistakes.add(key, format!("{name:?} is no name of a namespace: at most 63 small letters, digits and -"));
        } else if namespaces.iter().take(n).any(|before| before == name) {
            mistakes.add(key, format!("names {name} twice"));
        }
    }
    if let Some(Bootstrap { namespace, .. }) = bootstrap
        && !namespaces.is_empty()
        && !namespaces.contains(namespace)
    {
        let problem = format!("{namespace} is none of kubernetes.namespaces: nobody would look at what is made in it");
        mistakes.add("bootstrap.namespace", problem);
    }
}

/// As the API server has it for the names of service accounts.
fn is_account_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let ends = !name.starts_with(['-', '.']) && !name.ends_with(['-', '.']);
    (1..=253).contains(&name.len()) && name.bytes().all(inner) && ends
}

fn limits(raw: &RawGit, mistakes: &mut Mistakes) -> Limits {
    let usual = Limits::default();
    let limits = Limits {
        received_bytes: raw.received_bytes_max.unwrap_or(usual.received_bytes),
        unpacked_bytes: raw.unpacked_bytes_max.unwrap_or(usual.unpacked_bytes),
        files: raw.files_max.unwrap_or(usual.files),
        file_bytes: raw.file_bytes_max.unwrap_or(usual.file_bytes),
        path_bytes: raw.path_bytes_max.unwrap_or(usual.path_bytes),
        depth: raw.depth_max.unwrap_or(usual.depth),
    };
    let Limits { received_bytes, unpacked_bytes, files, file_bytes, .. } = limits;
    let all = [
        ("received_bytes_max", received_bytes),
        ("unpacked_bytes_max", unpacked_bytes),
        ("files_max", files),
        ("file_bytes_max", file_bytes),
        ("path_bytes_max", limits.path_bytes as u64),
        ("depth_max", limits.depth as u64),
    ];
    for (key, _) in all.iter().filter(|(_, value)| *value == 0) {
        mistakes.add(format!("git.{key}"), "is 0: nothing could be fetched");
    }
    if limits.depth > DEPTH_MOST {
        mistakes.add("git.depth_max", format!("{} is more than {DEPTH_MOST}", limits.depth));
    }
    if file_bytes > FILE_BYTES_MOST {
        mistakes.add("git.file_bytes_max", format!("{file_bytes} is more than {FILE_BYTES_MOST}"));
    }
    limits
}

fn replicas(raw: RawReplicas, mistakes: &mut Mistakes) -> Replicas {
    let seconds = raw.lease_seconds.unwrap_or(LEASE_SECONDS);
    if !LEASE_SECONDS_BOUNDS.contains(&seconds) {
        let (least, most) = LEASE_SECONDS_BOUNDS.into_inner();
        mistakes.add("replicas.lease_seconds", format!("{seconds} is not within {least} to {most}"));
    }
    if raw.namespace.as_ref().is_some_and(String::is_empty) {
        mistakes.add("replicas.namespace", "is empty: name a namespace, or leave it out for the Pod's own");
    }
    Replicas { namespace: raw.namespace, lease: Duration::from_secs(seconds) }
}

fn bootstrap(raw: RawBootstrap, mistakes: &mut Mistakes) -> Option<Bootstrap> {
    if !raw.url.starts_with("http://") && !raw.url.starts_with("https://") {
        mistakes.add("bootstrap.url", format!("{:?} is not an http:// or https:// URL", raw.url));
    }
    let reference = match raw.reference {
        None => GitRef::default(),
        Some(RawRef { branch, tag, semver, name }) => GitRef { branch, tag, semver, name },
    };
    if raw.secret_ref.as_ref().is_some_and(String::is_empty) {
        mistakes.add("bootstrap.secret_ref", "is empty: name a Secret, or leave it out");
    }
    if !reference.is_one() {
        mistakes.add("bootstrap.ref", "needs exactly one of branch, tag, semver and name");
    }
    let minutes = |n: u64| std::time::Duration::from_secs(n * 60).into();
    let name = raw.name.unwrap_or_else(|| "bootstrap".to_owned());
    Some(Bootstrap {
        namespace: raw.namespace.unwrap_or_else(|| "towline-system".to_owned()),
        source: GitSourceSpec {
            url: raw.url,
            reference,
            interval: minutes(5),
            timeout: minutes(1),
            verify: None,
            event_repository: None,
            secret_ref: raw.secret_ref.map(|name| SecretReference { name }),
            proxy_secret_ref: None,
            wake_spread: None,
            suspend: false,
        },
        sync: SyncSpec {
            deletion_policy: Default::default(),
            source_ref: SourceReference { kind: SourceKind::GitSource, name: name.clone(), namespace: None },
            path: raw.path,
            interval: minutes(10),
            retry_interval: minutes(1),
            timeout: minutes(5),
            prune: raw.prune,
            prune_policy: PrunePolicy::default(),
            target_namespace: None,
            service_account_name: None,
            depends_on: Vec::new(),
            wait: false,
            health_checks: Vec::new(),
            health_check_exprs: Vec::new(),
            drift_detection: None,
            suspend: false,
        },
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        std::fs::write(&path, text).unwrap();
        load(Some(&path))
    }

    #[test]
    fn the_least_that_is_needed() {
        let config = load_text("cluster = \"prod-eu-1\"\n[storage]\ndir = \"/var/lib/towline\"\n").unwrap();
        assert_eq!(config.cluster.as_str(), "prod-eu-1");
        assert!(config.nats.is_none() && config.admin.is_none() && config.bootstrap.is_none());
    }

    #[test]
    fn every_mistake_is_named_with_its_key() {
        let text = "cluster = \"Prod.EU\"\nadmin = \"here\"\n[replicas]\nlease_seconds = 1\nnamespace = \"\"\n[git]\nfetches_per_host = 0\nfiles_max = 0\ndepth_max = 1000\nplain_http_hosts = [\"http://x\"]\n[kubernetes]\ndefault_service_account = \"ns:name\"\n[storage]\ndir = \"\"\n[bootstrap]\nurl = \"git@host:x\"\nref = {branch = \"a\", tag = \"b\"}\n";
        let error = towline_daemon::error::chain(&load_text(text).unwrap_err());
        for key in [
            "cluster",
            "admin",
            "kubernetes.default_service_account",
            "storage.dir",
            "bootstrap.url",
            "bootstrap.ref",
            "git.plain_http_hosts",
            "git.fetches_per_host",
            "git.files_max",
            "git.depth_max",
            "replicas.lease_seconds",
            "replicas.namespace",
        ] {
            assert!(error.contains(key), "{key}: {error}");
        }
    }

    #[test]
    fn namespaces_are_named_once_and_the_bootstrap_is_in_one_of_them() {
        let with = |namespaces: &str, bootstrap: &str| {
            load_text(&format!(
                "cluster = \"c\"\n[storage]\ndir = \"/x\"\n[kubernetes]\nnamespaces = {namespaces}\n\
                 [bootstrap]\nurl = \"https://git.example/x\"\npath = \".\"\n{bootstrap}"
            ))
        };
        with("[\"apps\", \"towline-system\"]", "").unwrap();
        with("[\"apps\"]", "namespace = \"apps\"").unwrap();
        with("[]", "namespace = \"apps\"").unwrap();
        let mistakes = [
            ("[\"apps\", \"towline-system\", \"apps\"]", "names apps twice"),
            ("[\"towline-system\", \"\"]", "\"\" is no name"),
            ("[\"towline-system\", \"a.b\"]", "\"a.b\" is no name"),
            ("[\"apps\"]", "bootstrap.namespace: towline-system is none of"),
        ];
        for (namespaces, expected) in mistakes {
            let error = towline_daemon::error::chain(&with(namespaces, "").unwrap_err());
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }

    #[test]
    fn a_misspelt_key_names_the_nearest() {
        let error = load_text("cluster = \"c\"\n[storage]\ndirectory = \"/x\"\n").unwrap_err();
        assert!(towline_daemon::error::chain(&error).contains("dir"), "{error}");
    }
}
