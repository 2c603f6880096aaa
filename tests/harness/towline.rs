//! Towline's own binaries as processes: started, killed, started again, and their logs read. Knows their command
//! line and the form of their log, nothing of what they do.

use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::config::{AgentConfig, ReceiverConfig};
use crate::failure::{Doing, Failure};
use crate::guard;
use crate::process::Process;
use crate::wait::wait_until;

/// For what a daemon does at once when nothing is wrong.
const SOON: Duration = Duration::from_secs(60);

/// A running (or stopped) `towline-receiver` or `towline-agent`.
pub struct Daemon {
    name: String,
    command: Command,
    dir: PathBuf,
    process: Option<Process>,
    logs: Vec<PathBuf>,
}

impl Daemon {
    /// Returns when its public port is open.
    pub async fn receiver(config: &ReceiverConfig) -> Result<Self, Failure> {
        let dir = guard::scratch("receiver");
        let file = config.write(&dir)?;
        let log = config.log.as_ref().map(|level| ("TOWLINE_LOG", level.as_str()));
        let mut daemon = Self::start_with("towline-receiver", &binary("towline-receiver")?, dir, &file, log)?;
        daemon.address("public").await?;
        Ok(daemon)
    }

    /// Returns when its admin port is open.
    pub async fn agent(config: &AgentConfig) -> Result<Self, Failure> {
        let dir = guard::scratch("agent");
        let file = config.write(&dir)?;
        let log = config.log.as_ref().map(|level| ("TOWLINE_LOG", level.as_str()));
        let mut daemon = Self::start_with("towline-agent", &binary("towline-agent")?, dir, &file, log)?;
        daemon.address("admin").await?;
        Ok(daemon)
    }

    /// Starts a daemon with a configuration file of any content. Waits for nothing.
    pub fn start(name: &str, dir: PathBuf, config: &Path) -> Result<Self, Failure> {
        Self::start_program(name, &binary(name)?, dir, config)
    }

    /// The same for a program at any path.
    pub fn start_program(name: &str, program: &Path, dir: PathBuf, config: &Path) -> Result<Self, Failure> {
        Self::start_with(name, program, dir, config, None)
    }

    fn start_with(
        name: &str,
        program: &Path,
        dir: PathBuf,
        config: &Path,
        environment: Option<(&str, &str)>,
    ) -> Result<Self, Failure> {
        let mut command = Command::new(program);
        command.arg("--config").arg(config);
        for (variable, _) in env::vars_os() {
            let name = variable.to_string_lossy().to_ascii_uppercase();
            // Settings by environment; `TOWLINE_LOG` is for whoever runs the tests.
            if name.ends_with("_PROXY") || name.starts_with("TOWLINE__") || name == "KUBECONFIG" {
                command.env_remove(variable);
            }
        }
        command.envs(environment);
        let mut daemon = Self { name: name.to_owned(), command, dir, process: None, logs: Vec::new() };
        daemon.resume()?;
        Ok(daemon)
    }

    /// Starts it again with the same configuration, after [`Daemon::kill`] or [`Daemon::terminate`].
    pub fn resume(&mut self) -> Result<(), Failure> {
        let log = self.dir.join(format!("log-{}", self.logs.len()));
        self.process = Some(Process::spawn(&self.name, &self.command, &log)?);
        self.logs.push(log);
        Ok(())
    }

    /// A variable for its next start.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.command.env(name, value);
    }

    /// SIGKILL and a new start.
    pub fn restart(&mut self) -> Result<(), Failure> {
        self.kill();
        self.resume()
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill(&mut self) {
        drop(self.process.take());
    }

    /// SIGTERM; the exit status.
    pub async fn terminate(&mut self, deadline: Duration) -> Result<ExitStatus, Failure> {
        self.begin_to_terminate();
        self.ended(deadline).await
    }

    /// SIGTERM, without waiting. A second one would end it at once.
    pub fn begin_to_terminate(&self) {
        self.process.as_ref().inspect(|process| process.signal(Signal::TERM));
    }

    /// The exit status, after [`Daemon::begin_to_terminate`].
    pub async fn ended(&mut self, deadline: Duration) -> Result<ExitStatus, Failure> {
        let process = self.process.take().ok_or_else(|| Failure::new("end a daemon", "it does not run"))?;
        process.ended(deadline).await
    }

    /// The running process, for SIGSTOP, its id, or its end by itself.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// The folder with its configuration, storage and logs.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The address of a listener (`public` or `admin`), once the log says it.
    pub async fn address(&mut self, what: &str) -> Result<SocketAddr, Failure> {
        let open = |line: &Value| field(line, "message") == Some("listening") && field(line, "what") == Some(what);
        let line = self.wait_for_log(&format!("the {what} port is open"), SOON, open).await?;
        let address = field(&line, "address").unwrap_or_default();
        address.parse().doing(|| format!("read the {what} address {address:?}"))
    }

    /// `http://<public address><path>`.
    pub async fn public_url(&mut self, path: &str) -> Result<String, Failure> {
        Ok(format!("http://{}{path}", self.address("public").await?))
    }

    pub async fn admin_url(&mut self, path: &str) -> Result<String, Failure> {
        Ok(format!("http://{}{path}", self.address("admin").await?))
    }

    /// The first line of this life's log that fits; a failure as soon as the process ends without it.
    pub async fn wait_for_log(
        &mut self,
        what: &str,
        deadline: Duration,
        fits: impl Fn(&Value) -> bool,
    ) -> Result<Value, Failure> {
        let what = format!("{}: {what}", self.name);
        let process = self.process.as_mut().ok_or_else(|| Failure::new(format!("see {what}"), "it does not run"))?;
        wait_until(&what, deadline, async || {
            // In this order, so that the last words of a process that has just ended are read.
            let dead = process.check_runs();
            match lines(&process.log()).into_iter().find(|line| fits(line)) {
                Some(line) => Ok(Ok(line)),
                None => dead.map_or_else(|dead| Ok(Err(dead)), |()| Err(format!("the log:\n{}", process.log_tail()))),
            }
        })
        .await?
    }

    /// Every line of every life so far; one that is no JSON is left out.
    pub fn log_lines(&self) -> Vec<Value> {
        lines(&self.log())
    }

    /// The text of all logs so far, one after the other.
    pub fn log(&self) -> String {
        self.logs.iter().filter_map(|log| std::fs::read_to_string(log).ok()).collect()
    }

    /// The end of this life's log, for a test's own error.
    pub fn log_tail(&self) -> String {
        self.process.as_ref().map(Process::log_tail).unwrap_or_default()
    }
}

/// A field of a log line, at its top or under `fields`.
pub fn field<'l>(line: &'l Value, name: &str) -> Option<&'l str> {
    line.get(name).or_else(|| line.get("fields")?.get(name))?.as_str()
}

/// Runs the CLI `towline` to its end.
pub async fn cli(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Output, Failure> {
    let mut command = tokio::process::Command::new(binary("towline")?);
    command.env_remove("KUBECONFIG").args(arguments).envs(environment.iter().copied()).kill_on_drop(true);
    command.output().await.doing(|| format!("run `towline {}`", arguments.join(" ")))
}

/// A binary of the profile that the running test was built with.
pub fn binary(name: &str) -> Result<PathBuf, Failure> {
    let doing = || format!("find the binary {name}");
    let exe = env::current_exe().doing(doing)?;
    let found = exe.ancestors().skip(1).take(2).map(|dir| dir.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| Failure::new(doing(), "run `cargo build --workspace --bins`"))
}

fn lines(log: &str) -> Vec<Value> {
    log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
