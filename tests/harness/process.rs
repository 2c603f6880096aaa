//! One started program: its process group, its log, its end. Bound to no runtime, so that a part can outlive the
//! test that first asked for it. Knows no particular program.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::failure::{Doing, Failure};
use crate::guard;
use crate::wait::wait_until;

/// How much of a log an error shows.
const TAIL_LINES: usize = 40;
/// How long the threads of a program may take to stop: each of them a moment, of which a busy machine has few to give.
const STOPPED_PATIENCE: Duration = Duration::from_secs(30);

pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts the command with its output in `log`. Its stdin is empty.
    pub fn spawn(name: &str, command: &Command, log: &Path) -> Result<Self, Failure> {
        let doing = || format!("start {name}");
        let file = File::create(log).doing(doing)?;
        let child = guard::registering(command)
            .stdin(Stdio::null())
            .stdout(file.try_clone().doing(doing)?)
            .stderr(file)
            .spawn()
            .doing(doing)?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Memory that it holds now, without the memory of its children; 0 when it has ended.
    pub fn resident_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// The most memory it has held so far; 0 when it has ended.
    pub fn peak_resident_bytes(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    fn status_bytes(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() * 1024
    }

    pub fn log_path(&self) -> &Path {
        &self.log
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last lines of the log, for an error.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// `None` while it runs.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// An error, with the end of the log, if it has ended by itself.
    pub fn check_runs(&mut self) -> Result<(), Failure> {
        match self.exit_status() {
            None => Ok(()),
            Some(status) => Err(Failure::new(
                format!("keep {} running", self.name),
                format!("it ended with {status}; the end of its log:\n{}", self.log_tail()),
            )),
        }
    }

    /// SIGKILL to the whole group; returns when it is gone.
    pub fn kill(mut self) {
        self.end();
    }

    /// SIGTERM, and the exit status; a failure (and SIGKILL) when the deadline passes.
    pub async fn terminate(self, deadline: Duration) -> Result<ExitStatus, Failure> {
        self.signal(Signal::TERM);
        self.ended(deadline).await
    }

    /// The exit status of a process that was told to end; a failure (and SIGKILL) when the deadline passes.
    pub async fn ended(mut self, deadline: Duration) -> Result<ExitStatus, Failure> {
        let what = format!("{} ends after SIGTERM", self.name);
        let ended = wait_until(&what, deadline, async || self.exit_status().ok_or_else(|| "it runs".to_owned())).await;
        ended.map_err(|failure| Failure::new("end a process", format!("{failure}; its log:\n{}", self.log_tail())))
    }

    /// SIGSTOP: it holds its connections and does nothing. Returns when that is so: the kernel stops one thread after the other,
    /// and a server of many threads can still answer meanwhile.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        let deadline = Instant::now() + STOPPED_PATIENCE;
        while !self.is_stopped() {
            assert!(Instant::now() < deadline, "{} does not stop", self.name);
            std::thread::yield_now();
        }
    }

    /// Whether no thread of it runs: all are stopped, or it has ended.
    fn is_stopped(&self) -> bool {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", self.pid())) else { return true };
        let state = |stat: String| stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        let states = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
        states.filter_map(state).all(|state| matches!(state, 'T' | 't' | 'Z' | 'X'))
    }

    /// SIGCONT: it goes on after [`Process::stop`].
    pub fn cont(&self) {
        self.signal(Signal::CONT);
    }

    pub fn signal(&self, signal: Signal) {
        // The child is not reaped before `end`, so the id is still its own; it may only have ended already.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    fn end(&mut self) {
        let pid = Pid::from_child(&self.child);
        // Before the wait, while the id cannot be another's; the group may hold children that outlive their parent.
        let _ = kill_process_group(pid, Signal::KILL);
        let _ = kill_process(pid, Signal::KILL);
        let _ = self.child.wait();
        guard::unregister(self.child.id());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}
