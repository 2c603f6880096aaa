//! No process and no file outlives the test process, however it ends: by return, panic, abort or SIGKILL.
//!
//! A plain `sh` in a process group of its own reads a pipe whose only writer is this process. At its end of file
//! it kills every registered process group and removes the scratch folder. A part registers itself, before
//! it becomes the real program, so there is no moment in which it runs and is not known. Knows no part.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Keeps the scratch folder, with all logs, when set to anything.
const KEEP: &str = "TOWLINE_TESTS_KEEP";

/// `$1`: the scratch folder. `closed` is written first: whoever registers too late sees it and gives up.
/// The second `rm` is for files that a dying process still wrote during the first.
const WATCHDOG: &str = r#"
trap '' HUP INT TERM
while read -r _; do :; done
: >"$1/closed"
for file in "$1"/pids/*; do
    [ -e "$file" ] && kill -s KILL -- "-${file##*/}"
done
[ -n "$TOWLINE_TESTS_KEEP" ] || rm -rf -- "$1" || { sleep 1; rm -rf -- "$1"; }
"#;

/// `$0`: the scratch folder; the rest: the program and its arguments.
const REGISTER: &str = r#": >"$0/pids/$$" && [ ! -e "$0/closed" ] && exec "$@""#;

struct Guard {
    scratch: PathBuf,
    // Held open until this process is gone; a static is never dropped.
    _pipe: Option<ChildStdin>,
    _watchdog: Child,
}

static GUARD: LazyLock<Guard> = LazyLock::new(|| {
    let scratch = tempfile::Builder::new().prefix("towline-").tempdir().expect("a temporary folder can be made").keep();
    fs::create_dir(scratch.join("pids")).expect("the scratch folder can be written to");
    let mut watchdog = Command::new("sh")
        .args(["-c", WATCHDOG, "towline-watchdog"])
        .arg(&scratch)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("`sh` starts as the watchdog");
    if std::env::var_os(KEEP).is_some() {
        eprintln!("{KEEP} is set: logs stay in {}", scratch.display());
    }
    Guard { scratch, _pipe: watchdog.stdin.take(), _watchdog: watchdog }
});

/// A new folder of that name (made unique) that is removed after this process.
pub fn scratch(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let dir = GUARD.scratch.join(format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
    fs::create_dir_all(&dir).expect("the scratch folder can be written to");
    dir
}

/// The same command, in its own process group, registering itself before it starts.
pub(crate) fn registering(command: &Command) -> Command {
    let mut wrapped = Command::new("sh");
    wrapped.args(["-c", REGISTER]).arg(&GUARD.scratch).arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(key, value),
            None => wrapped.env_remove(key),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        wrapped.current_dir(dir);
    }
    wrapped.process_group(0);
    wrapped
}

/// To be called once the process is reaped, or a later process of that id would be killed in its place.
pub(crate) fn unregister(pid: u32) {
    // It never registered when it could not start.
    let _ = fs::remove_file(pid_file(&GUARD.scratch, pid));
}

fn pid_file(scratch: &Path, pid: u32) -> PathBuf {
    scratch.join("pids").join(pid.to_string())
}
