//! A repository made by `git`, a server for it, and a mirror of it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use towline_plan::tree::Limits;
use towline_proto::{CommitId, RefName};

use super::server::Server;
use crate::access::Access;
use crate::mirror::{FetchError, Mirror, Tip};

/// Far above what anything here takes, so that only a hang is caught by it.
pub(super) const GENEROUS: Duration = Duration::from_secs(60);

pub(super) struct Lab {
    pub(super) server: Server,
    pub(super) storage: PathBuf,
    work: PathBuf,
    // Last, so that it is removed last.
    pub(super) folder: TempDir,
}

/// An environment in which nobody's Git configuration plays a part, and all clocks stand still.
pub(super) fn hermetic<'a>(command: &'a mut Command, home: &Path) -> &'a mut Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    command
        .env_clear()
        .env("PATH", path)
        .env("HOME", home)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    for (role, name) in [("AUTHOR", "Ada Author"), ("COMMITTER", "Carl Committer")] {
        command.env(format!("GIT_{role}_NAME"), name).env(format!("GIT_{role}_EMAIL"), "someone@example.org");
        command.env(format!("GIT_{role}_DATE"), "2026-01-02T03:04:05Z");
    }
    command
}

impl Lab {
    /// With one commit on main: `apps/web.yaml`, `apps/README.md`, `infra/dns.yaml`.
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("served");
        fs::create_dir_all(&root).unwrap();
        let lab = Self {
            server: Server::start(&root),
            storage: folder.path().join("storage"),
            work: folder.path().join("work"),
            folder,
        };
        lab.git_in(&root, ["init", "--quiet", "--bare", "--initial-branch=main", "org/fleet.git"]);
        lab.git_in(lab.folder.path(), ["init", "--quiet", "--initial-branch=main", "work"]);
        lab.git(["remote", "add", "origin", lab.bare().to_str().unwrap()]);
        lab.write("apps/web.yaml", "kind: Web\n");
        lab.write("apps/README.md", "about\n");
        lab.write("infra/dns.yaml", "kind: Dns\n");
        lab.commit("first");
        lab
    }

    pub(super) fn bare(&self) -> PathBuf {
        self.folder.path().join("served/org/fleet.git")
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/org/fleet.git", self.server.address)
    }

    pub(super) fn git<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> String {
        self.git_in(&self.work, arguments)
    }

    pub(super) fn git_in<A: AsRef<OsStr>>(&self, folder: &Path, arguments: impl IntoIterator<Item = A>) -> String {
        let mut command = Command::new("git");
        let output = hermetic(&mut command, self.folder.path()).current_dir(folder).args(arguments).output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(super) fn write(&self, path: &str, contents: &str) {
        let path = self.work.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    pub(super) fn work(&self) -> &Path {
        &self.work
    }

    /// All of the work tree, pushed to main.
    pub(super) fn commit(&self, message: &str) -> CommitId {
        self.git(["add", "--all"]);
        self.git(["commit", "--quiet", "--allow-empty", "-m", message]);
        self.git(["push", "--quiet", "--force", "origin", "HEAD:refs/heads/main"]);
        self.head()
    }

    pub(super) fn head(&self) -> CommitId {
        self.git(["rev-parse", "HEAD"]).parse().unwrap()
    }

    pub(super) fn mirror(&self) -> Mirror {
        Mirror::open(&self.storage, &self.url()).unwrap()
    }

    /// Where the mirror lives.
    pub(super) fn directory(&self) -> PathBuf {
        self.storage.join("mirrors").join(self.mirror().repository().token().as_str())
    }
}

pub(super) fn name(reference: &str) -> RefName {
    reference.parse().unwrap()
}

pub(super) fn never() -> Arc<AtomicBool> {
    Arc::default()
}

pub(super) fn within(time: Duration) -> Instant {
    Instant::now() + time
}

pub(super) fn fetch(mirror: &Mirror, reference: &str) -> Result<Tip, FetchError> {
    mirror.fetch(&name(reference), &Access::default(), within(GENEROUS), &never())
}

pub(super) fn fetch_main(mirror: &Mirror) -> Tip {
    fetch(mirror, "refs/heads/main").unwrap()
}

pub(super) fn resolve(mirror: &Mirror, reference: &str) -> Result<Option<CommitId>, FetchError> {
    mirror.resolve(&name(reference), &Access::default(), within(GENEROUS), &never())
}

/// Paths and contents.
pub(super) fn files(mirror: &Mirror, commit: &CommitId, path: &str) -> Vec<(String, String)> {
    let tree = mirror.read(commit, path, &Limits::default()).unwrap();
    tree.files.into_iter().map(|file| (file.path, String::from_utf8(file.contents).unwrap())).collect()
}

/// Text that does not compress to nothing.
pub(super) fn noise(seed: u64, bytes: usize) -> String {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + (state % 26) as u8)
    };
    (0..bytes).map(next).collect()
}
