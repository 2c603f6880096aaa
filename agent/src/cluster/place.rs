//! Where this process runs: what a Pod is told of itself, and what a machine is called.
//!
//! Knows environment variables of the Deployment and the files every Pod has. Asks no API server.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// What the kubelet puts into every Pod that has a service account.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// Of an object's name (253), after what makes it unique.
const NAME_BYTES_MAX: usize = 200;

/// Where a process runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The Pod's namespace; `None` outside of a cluster.
    pub namespace: Option<String>,
    /// The Pod, where the Deployment says it (`POD_NAME`): of a Pod's containers only one runs this program at a time.
    pub pod: Option<String>,
    /// The Pod's name or the machine's.
    pub host: String,
}

impl Place {
    /// Here.
    #[must_use]
    pub fn here() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let file = |path| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        // In a cluster, and not only on a machine that happens to have such a file.
        let in_cluster = variable("KUBERNETES_SERVICE_HOST").is_some();
        let namespace = variable("POD_NAMESPACE").or_else(|| file(NAMESPACE_FILE).filter(|_| in_cluster));
        let pod = variable("POD_NAME");
        let host = pod.clone().or_else(|| file("/proc/sys/kernel/hostname"));
        Self { namespace, pod, host: host.unwrap_or_else(|| "agent".to_owned()) }
    }

    /// A name for what belongs to this process alone: another one at each start.
    #[must_use]
    pub fn unique_name(&self) -> String {
        let random = RandomState::new().build_hasher().finish();
        unique(&self.host, random)
    }
}

fn unique(host: &str, random: u64) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let host: String = host.chars().map(plain).take(NAME_BYTES_MAX).collect();
    let host = Some(host.trim_matches('-')).filter(|host| !host.is_empty()).unwrap_or("agent");
    let ours = if host.starts_with("towline") { "" } else { "towline-" };
    format!("{ours}{host}-{random:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_an_object_may_have() {
        assert_eq!(unique("towline-agent-5b8c-x7", 1), "towline-agent-5b8c-x7-0000000000000001");
        assert_eq!(unique("Build_Host.example.", 255), "towline-build-host-example-00000000000000ff");
        assert_eq!(unique("__", 0), "towline-agent-0000000000000000");
        assert!(unique(&"a".repeat(1_000), u64::MAX).len() <= 253);
        let place = Place::here();
        assert_ne!(place.unique_name(), place.unique_name());
    }
}
