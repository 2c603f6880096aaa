//! A repository that a test writes to: a work copy and the remote it pushes to. Runs the real git, with nothing of
//! the user's own configuration. Knows no server: pushes go to a folder, so that a server's faults do not
//! stop a test from writing; or to a URL, where the push itself is the point.

use std::fs;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::failure::{Doing, Failure};
use crate::guard;

pub struct Repo {
    work: PathBuf,
    remote: String,
}

impl Repo {
    /// A bare repository at `<root>/<name>.git`, configured like a real host's, and an empty work copy on `main`.
    pub async fn create(root: &Path, name: &str) -> Result<Self, Failure> {
        let bare = root.join(format!("{name}.git"));
        fs::create_dir_all(&bare).doing(|| format!("make {}", bare.display()))?;
        git(&bare, &["init", "--quiet", "--bare", "--initial-branch=main"]).await?;
        for (key, value) in [
            ("http.receivepack", "true"),
            ("uploadpack.allowFilter", "true"),
            ("uploadpack.allowAnySHA1InWant", "true"),
            // Tests delete the default branch, too.
            ("receive.denyDeleteCurrent", "ignore"),
            // A repack in the background would outlive the test.
            ("receive.autogc", "false"),
        ] {
            git(&bare, &["config", key, value]).await?;
        }
        Self::with_remote(&bare.to_string_lossy()).await
    }

    /// An empty work copy on `main` that pushes to a URL (with credentials in it, if it wants some).
    pub async fn with_remote(url: &str) -> Result<Self, Failure> {
        let work = guard::scratch("work");
        let repo = Self { work, remote: url.to_owned() };
        repo.git(&["init", "--quiet", "--initial-branch=main"]).await?;
        repo.git(&["remote", "add", "origin", url]).await?;
        Ok(repo)
    }

    /// The work copy; files put here are part of the next commit.
    pub fn work(&self) -> &Path {
        &self.work
    }

    pub fn remote(&self) -> &str {
        &self.remote
    }

    /// Writes files, commits everything that changed and pushes. The commit's id.
    pub async fn commit(&self, files: &[(&str, &str)]) -> Result<String, Failure> {
        for (path, text) in files {
            let path = self.work.join(path);
            let doing = || format!("write {}", path.display());
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).doing(doing)?;
            }
            fs::write(&path, text).doing(doing)?;
        }
        let what = files.iter().map(|(path, _)| *path).collect::<Vec<_>>().join(" ");
        self.commit_all(&format!("write {what}")).await?;
        self.push().await
    }

    /// Removes a file or folder, commits and pushes.
    pub async fn remove(&self, path: &str) -> Result<String, Failure> {
        self.git(&["rm", "-r", "--quiet", "--", path]).await?;
        self.commit_all(&format!("remove {path}")).await?;
        self.push().await
    }

    /// Reverts the newest commit and pushes.
    pub async fn revert(&self) -> Result<String, Failure> {
        self.git(&["revert", "--no-edit", "HEAD"]).await?;
        self.push().await
    }

    /// Moves the branch back (or elsewhere) and force-pushes.
    pub async fn force_push(&self, commit: &str) -> Result<String, Failure> {
        self.git(&["reset", "--quiet", "--hard", commit]).await?;
        self.push().await
    }

    /// Switches to a new branch; the next commit is pushed there.
    pub async fn branch(&self, name: &str) -> Result<(), Failure> {
        self.git(&["checkout", "--quiet", "-B", name]).await.map(drop)
    }

    /// Deletes a branch of the remote; the work copy keeps it.
    pub async fn delete_branch(&self, name: &str) -> Result<(), Failure> {
        self.git(&["push", "--quiet", "origin", "--delete", name]).await.map(drop)
    }

    /// Sets a tag on the newest commit and pushes it.
    pub async fn tag(&self, name: &str) -> Result<(), Failure> {
        self.git(&["tag", "--force", name]).await?;
        self.git(&["push", "--quiet", "--force", "origin", &format!("refs/tags/{name}")]).await.map(drop)
    }

    /// Pushes the current branch as it is. The commit's id.
    pub async fn push(&self) -> Result<String, Failure> {
        self.git(&["push", "--quiet", "--force", "origin", "HEAD"]).await?;
        self.head().await
    }

    pub async fn head(&self) -> Result<String, Failure> {
        self.git(&["rev-parse", "HEAD"]).await
    }

    /// Any git command in the work copy; what it printed.
    pub async fn git(&self, arguments: &[&str]) -> Result<String, Failure> {
        git(&self.work, arguments).await
    }

    async fn commit_all(&self, message: &str) -> Result<(), Failure> {
        self.git(&["add", "--all"]).await?;
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]).await.map(drop)
    }
}

/// Any git command in a folder, with no configuration but the repository's; what it printed.
pub async fn git(folder: &Path, arguments: &[&str]) -> Result<String, Failure> {
    let doing = || format!("run `git {}` in {}", arguments.join(" "), folder.display());
    let mut command = Command::new("git");
    command.current_dir(folder).args(["-c", "gc.auto=0", "-c", "maintenance.auto=false"]).args(arguments);
    isolate(&mut command).kill_on_drop(true);
    let output = command.output().await.doing(doing)?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(Failure::new(doing(), format!("{}\n{}", output.status, String::from_utf8_lossy(&output.stderr))))
    }
}

/// Makes git the same on every machine: none of the caller's `GIT_*`, no configuration, no proxy, one author.
pub(crate) fn isolate(command: &mut Command) -> &mut Command {
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy().to_ascii_lowercase();
        if name.starts_with("git_") || name.ends_with("_proxy") || name == "ssh_askpass" {
            command.env_remove(variable);
        }
    }
    command.envs([
        ("HOME", "/nonexistent"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_AUTHOR_NAME", "Towline Tests"),
        ("GIT_AUTHOR_EMAIL", "tests@towline.dev"),
        ("GIT_COMMITTER_NAME", "Towline Tests"),
        ("GIT_COMMITTER_EMAIL", "tests@towline.dev"),
        ("LC_ALL", "C"),
    ])
}
