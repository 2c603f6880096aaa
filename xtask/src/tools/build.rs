//! Builds one part with Go from its pinned modules. Writes under `target/tools` only, each file by rename, so that
//! a part is either whole or not there.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Output};

use super::find::{built_path, stamp_path, static_path};
use super::table::{Pin, Tool};
use super::{Places, ToolsError};

/// How much of Go's output an error shows: compilers put the cause last.
const TAIL_LINES: usize = 30;

/// Why a part could not be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error(
        "there is no `go` to build it with. Ways out:\n  \
         - install Go 1.26 or newer and have it on PATH;\n  \
         - set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver and kubectl of the pinned minor version;\n  \
         - put a binary `{name}` {version} on PATH"
    )]
    NoGo { name: &'static str, version: String },
    #[error("failed to start go: {0}")]
    Start(io::Error),
    #[error("go failed ({status}); the end of its output:\n{tail}")]
    Go { status: process::ExitStatus, tail: String },
    #[error("failed to write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Keeps two processes from building at once; freed when dropped, also by a killed process.
pub(super) fn lock(out: &Path) -> Result<File, ToolsError> {
    let path = out.join("lock");
    let take = || {
        fs::create_dir_all(out)?;
        let file = File::create(&path)?;
        if file.try_lock().is_err() {
            eprintln!("tools: waiting for another process that builds them …");
            file.lock()?;
        }
        Ok(file)
    };
    take().map_err(|source| ToolsError::Lock { path: path.clone(), source })
}

/// Builds the part and returns its path.
pub(super) fn build(tool: &'static Tool, pin: &Pin, places: &Places) -> Result<PathBuf, BuildError> {
    let to = built_path(tool, places);
    let stamp = stamp_path(tool, places);
    for path in [&to, &stamp] {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(|source| BuildError::Write { path: dir.to_owned(), source })?;
        }
    }
    let write = |path: &Path, result: io::Result<()>| {
        result.map_err(|source| BuildError::Write { path: path.to_owned(), source })
    };
    // Until the new stamp is written the part counts as missing.
    if stamp.exists() {
        write(&stamp, fs::remove_file(&stamp))?;
    }
    let fresh = to.with_file_name(format!(".{}.{}", tool.name, process::id()));
    let mut go = go(tool, places);
    go.args(["build", "-trimpath", "-mod=readonly", "-buildvcs=false", "-o"]).arg(&fresh);
    if !tool.tags.is_empty() {
        go.args(["-tags", tool.tags]);
    }
    let settings: String = tool.link_settings.iter().map(|setting| format!(" -X {}", pin.fill(setting))).collect();
    go.arg(format!("-ldflags=-s -w{settings}")).arg(tool.package);
    run(go, tool, pin)?;
    if !tool.static_folders.is_empty() {
        copy_static_folders(tool, pin, places)?;
    }
    write(&to, fs::rename(&fresh, &to))?;
    write(&stamp, fs::write(&stamp, &pin.digest))?;
    Ok(to)
}

fn go(tool: &Tool, places: &Places) -> Command {
    let mut go = Command::new("go");
    go.current_dir(places.pins.join(tool.part)).env("GOWORK", "off");
    if tool.cgo {
        go.env("CGO_ENABLED", "1");
    }
    go
}

fn run(mut go: Command, tool: &'static Tool, pin: &Pin) -> Result<Output, BuildError> {
    let output = go.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => BuildError::NoGo { name: tool.name, version: pin.version.clone() },
        _ => BuildError::Start(error),
    })?;
    if output.status.success() {
        return Ok(output);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
    Err(BuildError::Go { status: output.status, tail })
}

/// The module cache may be emptied while `target/` stays (and the other way round on CI), hence copies.
fn copy_static_folders(tool: &'static Tool, pin: &Pin, places: &Places) -> Result<(), BuildError> {
    let mut list = go(tool, places);
    list.args(["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", tool.module]);
    let output = run(list, tool, pin)?;
    let module = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let to = static_path(tool, places);
    let copy = || {
        if to.exists() {
            fs::remove_dir_all(&to)?;
        }
        tool.static_folders.iter().try_for_each(|folder| copy_folder(&module.join(folder), &to.join(folder)))
    };
    copy().map_err(|source| BuildError::Write { path: to.clone(), source })
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
