//! The table of parts, and the version each is pinned to. Versions live in `tests/tools/*/go.mod` only.
//! Reads go.mod and go.sum; starts no process.

use std::fs;
use std::path::Path;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::ToolsError;

/// One program and how it is built and recognised.
pub(super) struct Tool {
    pub(super) name: &'static str,
    /// The folder under `tests/tools/` with its go.mod.
    pub(super) part: &'static str,
    pub(super) module: &'static str,
    pub(super) package: &'static str,
    /// `-X` settings of the linker; `{version}`, `{major}` and `{minor}` are the pinned ones, without a `v`.
    pub(super) link_settings: &'static [&'static str],
    pub(super) tags: &'static str,
    /// Links C code, so that a C compiler is needed.
    pub(super) cgo: bool,
    /// Folders of the module that the program reads when it runs; copied to `target/tools/<name>-static`.
    pub(super) static_folders: &'static [&'static str],
    /// Part of what `KUBEBUILDER_ASSETS` promises.
    pub(super) in_assets: bool,
    /// What makes the program print its version.
    pub(super) version_args: &'static [&'static str],
    pub(super) same: Same,
}

/// How much of the version of a program found elsewhere must equal the pin.
#[derive(Clone, Copy)]
pub(super) enum Same {
    Major,
    MajorMinor,
}

const KUBE_LINK_SETTINGS: &[&str] = &[
    "k8s.io/component-base/version.gitVersion=v{version}",
    "k8s.io/component-base/version.gitMajor={major}",
    "k8s.io/component-base/version.gitMinor={minor}",
    "k8s.io/component-base/version.gitTreeState=clean",
    "k8s.io/component-base/version.gitCommit=v{version}",
];

const PLAIN: Tool = Tool {
    name: "",
    part: "",
    module: "",
    package: "",
    link_settings: &[],
    tags: "",
    cgo: false,
    static_folders: &[],
    in_assets: false,
    version_args: &["--version"],
    same: Same::MajorMinor,
};

const KUBE: Tool = Tool {
    part: "kubernetes",
    module: "k8s.io/kubernetes",
    link_settings: KUBE_LINK_SETTINGS,
    in_assets: true,
    ..PLAIN
};

/// Quick ones first: what waits for NATS alone need not wait for Kubernetes.
pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "nats-server",
        part: "nats",
        module: "github.com/nats-io/nats-server/v2",
        package: "github.com/nats-io/nats-server/v2",
        ..PLAIN
    },
    Tool {
        name: "etcd",
        part: "etcd",
        module: "go.etcd.io/etcd/server/v3",
        package: "go.etcd.io/etcd/server/v3",
        in_assets: true,
        ..PLAIN
    },
    Tool { name: "kube-apiserver", package: "k8s.io/kubernetes/cmd/kube-apiserver", ..KUBE },
    Tool {
        name: "kube-controller-manager",
        package: "k8s.io/kubernetes/cmd/kube-controller-manager",
        in_assets: false,
        ..KUBE
    },
    Tool { name: "kubectl", package: "k8s.io/kubernetes/cmd/kubectl", version_args: &["version", "--client"], ..KUBE },
    Tool {
        name: "gitea",
        part: "gitea",
        module: "code.gitea.io/gitea",
        package: "code.gitea.io/gitea",
        link_settings: &["main.Version={version}"],
        tags: "sqlite sqlite_unlock_notify",
        cgo: true,
        static_folders: &["options", "public", "templates"],
        ..PLAIN
    },
    Tool {
        name: "kustomize",
        part: "kustomize",
        module: "sigs.k8s.io/kustomize/kustomize/v5",
        package: "sigs.k8s.io/kustomize/kustomize/v5",
        link_settings: &["sigs.k8s.io/kustomize/api/provenance.version=v{version}"],
        version_args: &["version"],
        same: Same::Major,
        ..PLAIN
    },
    Tool {
        name: "helm",
        part: "helm",
        module: "helm.sh/helm/v4",
        package: "helm.sh/helm/v4/cmd/helm",
        link_settings: &["helm.sh/helm/v4/internal/version.version=v{version}"],
        version_args: &["version", "--template={{.Version}}"],
        same: Same::Major,
        ..PLAIN
    },
];

/// The part of that name.
pub(super) fn by_name(name: &str) -> Result<&'static Tool, ToolsError> {
    TOOLS.iter().find(|tool| tool.name == name).ok_or_else(|| ToolsError::Unknown {
        name: name.to_owned(),
        known: TOOLS.iter().map(|tool| tool.name).collect::<Vec<_>>().join(", "),
    })
}

/// What a part is pinned to.
pub(super) struct Pin {
    /// As in go.mod: `v1.37.2`.
    pub(super) version: String,
    /// Of everything a build depends on: go.mod, go.sum, linker settings and tags.
    pub(super) digest: String,
}

impl Pin {
    pub(super) fn read(tool: &Tool, pins: &Path) -> Result<Self, String> {
        let read = |file: &str| {
            let path = pins.join(tool.part).join(file);
            fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
        };
        let (go_mod, go_sum) = (read("go.mod")?, read("go.sum")?);
        let version = required_version(&go_mod, tool.module)
            .ok_or_else(|| format!("tests/tools/{}/go.mod requires no {}", tool.part, tool.module))?;
        let recipe = format!("{:?} {} {}", tool.link_settings, tool.tags, tool.package);
        let digest = Sha256::new().chain_update(&go_mod).chain_update(&go_sum).chain_update(recipe).finalize();
        Ok(Self { version: version.to_owned(), digest: HEXLOWER.encode(&digest) })
    }

    /// Fills in the placeholders of a linker setting.
    pub(super) fn fill(&self, setting: &str) -> String {
        let (major, minor) = numbers(&self.version).unwrap_or_default();
        setting
            .replace("{version}", self.version.trim_start_matches('v'))
            .replace("{major}", &major.to_string())
            .replace("{minor}", &minor.to_string())
    }
}

fn required_version<'m>(go_mod: &'m str, module: &str) -> Option<&'m str> {
    go_mod.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word == "require");
        (words.next() == Some(module)).then(|| words.next()).flatten().filter(|version| version.starts_with('v'))
    })
}

/// The first `<major>.<minor>` in a program's output.
pub(super) fn numbers(text: &str) -> Option<(u32, u32)> {
    let words = text.split(|c: char| !(c.is_ascii_digit() || c == '.'));
    words.filter_map(|word| word.split_once('.')).find_map(|(major, rest)| {
        let minor = rest.split('.').next()?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_has_its_pin() {
        let pins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/tools");
        for tool in TOOLS {
            let pin = Pin::read(tool, &pins).unwrap();
            assert!(numbers(&pin.version).is_some(), "{} is pinned to {}", tool.name, pin.version);
        }
    }

    #[test]
    fn versions_are_found_in_what_programs_say() {
        assert_eq!(numbers("Kubernetes v1.37.2"), Some((1, 37)));
        assert_eq!(numbers("etcd Version: 3.7.3\nGit SHA: Not provided"), Some((3, 7)));
        assert_eq!(numbers("nats-server: v2.15.2"), Some((2, 15)));
        assert_eq!(numbers("gitea version 1.26.0 built with go1.26.8"), Some((1, 26)));
        assert_eq!(numbers("no version here."), None);
    }
}
