//! The only place that starts tasks. Every task has an owner (the [`Tasks`] it was spawned on), a name, and a declared
//! end: what it means when the task is over. A task whose death nobody notices cannot be written with this.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::BoxError;
use crate::shutdown::Shutdown;

/// What it means when a task ends before shutdown was requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenItEnds {
    /// The process cannot do its work without it: any end, also a good one, stops the process with an error.
    StopsProcess,
    /// The task was expected to end. An error or a panic is logged.
    IsFine,
}

/// Why a process stopped, or did not stop in time.
#[derive(Debug, thiserror::Error)]
pub enum TaskFailure {
    #[error("task {name} failed")]
    Failed { name: String, source: BoxError },
    #[error("task {name} panicked")]
    Panicked { name: String },
    #[error("task {name} ended, which it must not before shutdown")]
    Ended { name: String },
    #[error("tasks did not end within {drain:?} of shutdown: {}", .names.join(", "))]
    DidNotEnd { names: Vec<String>, drain: Duration },
}

/// The tasks of one owner. Clones are handles to the same set.
#[derive(Clone, Default)]
pub struct Tasks {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    last_id: u64,
    running: BTreeMap<u64, Running>,
    ended: Vec<Ended>,
}

struct Running {
    name: String,
    /// None in the moment between the entry and the spawn.
    abort: Option<AbortHandle>,
}

struct Ended {
    name: String,
    when: WhenItEnds,
    how: How,
}

enum How {
    Returned(Result<(), BoxError>),
    Panicked,
}

impl Tasks {
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task. Must be called inside a tokio runtime.
    pub fn spawn<F, E>(&self, name: impl Into<Cow<'static, str>>, when: WhenItEnds, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let name = name.into().into_owned();
        let id = self.shared.enter(&name);
        let record = Record { shared: Arc::clone(&self.shared), id, when, how: None };
        let abort = start(async move {
            let result = task.await;
            record.returned(result.map_err(Into::into));
        });
        if let Some(running) = self.shared.lock().running.get_mut(&id) {
            running.abort = Some(abort);
        }
    }

    /// Names of the tasks that run now.
    pub fn names(&self) -> Vec<String> {
        self.shared.lock().running.values().map(|task| task.name.clone()).collect()
    }

    /// Runs until shutdown is requested, by a signal or by the end of a task that must not end; then waits at most
    /// `drain` for all tasks, and names those that are left. The process exits with the first failure.
    pub async fn run_until_shutdown(&self, shutdown: Shutdown, drain: Duration) -> Result<(), TaskFailure> {
        let mut first_failure = None;
        while !shutdown.is_requested() {
            tokio::select! {
                () = shutdown.requested() => {}
                () = self.shared.changed.notified() => {
                    // A task may see the request before we do, and end because of it.
                    first_failure = self.judge_ended(shutdown.is_requested());
                    if first_failure.is_some() {
                        shutdown.request();
                    }
                }
            }
        }
        let drained = tokio::time::timeout(drain, self.wait_for_all(&mut first_failure)).await;
        if drained.is_err() {
            let names = self.abort_all();
            tracing::error!(tasks = ?names, drain_seconds = drain.as_secs_f64(), "tasks did not end in time");
            first_failure.get_or_insert(TaskFailure::DidNotEnd { names, drain });
        }
        first_failure.map_or(Ok(()), Err)
    }

    async fn wait_for_all(&self, first_failure: &mut Option<TaskFailure>) {
        loop {
            let changed = self.shared.changed.notified();
            if let Some(failure) = self.judge_ended(true) {
                first_failure.get_or_insert(failure);
            }
            if self.shared.lock().running.is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// Logs each ended task; returns the first that is a reason to stop.
    fn judge_ended(&self, shutting_down: bool) -> Option<TaskFailure> {
        let ended = std::mem::take(&mut self.shared.lock().ended);
        let mut failure = None;
        for task in ended {
            let (must_stop, name) = (task.when == WhenItEnds::StopsProcess, task.name);
            let found = match task.how {
                How::Returned(Ok(())) if must_stop && !shutting_down => TaskFailure::Ended { name },
                How::Returned(Ok(())) => {
                    tracing::debug!(task = name, "task ended");
                    continue;
                }
                How::Returned(Err(source)) => TaskFailure::Failed { name, source },
                How::Panicked => TaskFailure::Panicked { name },
            };
            tracing::error!(error = crate::error::chain(&found), stops_process = must_stop, "task failed");
            if must_stop && failure.is_none() {
                failure = Some(found);
            }
        }
        failure
    }

    fn abort_all(&self) -> Vec<String> {
        let state = self.shared.lock();
        state.running.values().filter_map(|task| task.abort.as_ref()).for_each(AbortHandle::abort);
        state.running.values().map(|task| task.name.clone()).collect()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is valid after each statement, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, name: &str) -> u64 {
        let mut state = self.lock();
        state.last_id += 1;
        let id = state.last_id;
        state.running.insert(id, Running { name: name.to_owned(), abort: None });
        id
    }
}

/// Travels inside the task and reports its end however it comes: return, panic or abort.
struct Record {
    shared: Arc<Shared>,
    id: u64,
    when: WhenItEnds,
    how: Option<How>,
}

impl Record {
    fn returned(mut self, result: Result<(), BoxError>) {
        self.how = Some(How::Returned(result));
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let how = match self.how.take() {
            Some(how) => how,
            None if std::thread::panicking() => How::Panicked,
            // Aborted, by us or by the runtime's end: not an end of its own.
            None => How::Returned(Ok(())),
        };
        let mut state = self.shared.lock();
        if let Some(running) = state.running.remove(&self.id) {
            state.ended.push(Ended { name: running.name, when: self.when, how });
        }
        drop(state);
        self.shared.changed.notify_one();
    }
}

/// A task that belongs to the process itself and ends with it (the signal handler).
pub(crate) fn start_for_process(task: impl Future<Output = ()> + Send + 'static) {
    start(task);
}

fn start(task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
    #[expect(clippy::disallowed_methods, reason = "the one place that starts tasks: they are named and owned here")]
    let handle = tokio::spawn(task);
    handle.abort_handle()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAIN: Duration = Duration::from_millis(50);

    async fn until(shutdown: Shutdown) -> Result<(), BoxError> {
        shutdown.requested().await;
        Ok(())
    }

    #[tokio::test]
    async fn ends_well_when_all_tasks_do() {
        let (tasks, shutdown) = (Tasks::new(), Shutdown::new());
        tasks.spawn("server", WhenItEnds::StopsProcess, until(shutdown.clone()));
        tasks.spawn("job", WhenItEnds::IsFine, async { Err::<(), BoxError>("not important".into()) });
        shutdown.request();
        assert!(tasks.run_until_shutdown(shutdown, DRAIN).await.is_ok());
    }

    #[tokio::test]
    async fn a_failure_stops_the_process_and_is_its_error() {
        let (tasks, shutdown) = (Tasks::new(), Shutdown::new());
        tasks.spawn("server", WhenItEnds::StopsProcess, until(shutdown.clone()));
        tasks.spawn("port", WhenItEnds::StopsProcess, async { Err::<(), BoxError>("address in use".into()) });
        let failure = tasks.run_until_shutdown(shutdown.clone(), DRAIN).await.unwrap_err();
        assert_eq!(crate::error::chain(&failure), "task port failed: address in use");
        assert!(shutdown.is_requested() && tasks.names().is_empty());
    }

    #[tokio::test]
    async fn a_panic_and_a_silent_end_stop_the_process() {
        let (tasks, shutdown) = (Tasks::new(), Shutdown::new());
        tasks.spawn("loop", WhenItEnds::StopsProcess, async {
            assert!(DRAIN.is_zero(), "a panic on purpose");
            Ok::<(), BoxError>(())
        });
        let failure = tasks.run_until_shutdown(shutdown, DRAIN).await.unwrap_err();
        assert!(matches!(failure, TaskFailure::Panicked { name } if name == "loop"));

        let (tasks, shutdown) = (Tasks::new(), Shutdown::new());
        tasks.spawn("loop", WhenItEnds::StopsProcess, async { Ok::<(), BoxError>(()) });
        let failure = tasks.run_until_shutdown(shutdown, DRAIN).await.unwrap_err();
        assert!(matches!(failure, TaskFailure::Ended { name } if name == "loop"));
    }

    #[tokio::test]
    async fn names_what_did_not_end() {
        let (tasks, shutdown) = (Tasks::new(), Shutdown::new());
        tasks.spawn("deaf", WhenItEnds::IsFine, std::future::pending::<Result<(), BoxError>>());
        shutdown.request();
        let failure = tasks.run_until_shutdown(shutdown, DRAIN).await.unwrap_err();
        assert!(matches!(failure, TaskFailure::DidNotEnd { names, .. } if names == ["deaf"]));
    }
}
