//! When to stop: a deadline, or an interruption by the caller.
//!
//! Knows both and how to notice them in time. Must not know what is being waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How often a wait looks at the caller's flag: a person does not notice it, and twenty wake-ups a second cost nothing.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What ends an operation early.
#[derive(Debug, Clone)]
pub(super) struct Halt {
    pub(super) deadline: Instant,
    pub(super) interrupt: Arc<AtomicBool>,
}

/// Which of the two it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Deadline,
    Interrupted,
}

impl Halt {
    /// Whether to stop now.
    pub(super) fn reached(&self) -> Option<Stop> {
        if self.interrupt.load(Ordering::Relaxed) {
            return Some(Stop::Interrupted);
        }
        (Instant::now() >= self.deadline).then_some(Stop::Deadline)
    }

    /// Runs `work` with a flag that is raised when it is time to stop: gix knows interruption, but no deadline.
    pub(super) fn watch<T>(&self, work: impl FnOnce(&AtomicBool) -> T) -> T {
        let flag = AtomicBool::new(false);
        let stop = &flag;
        let (working, ended) = channel::<()>();
        thread::scope(|scope| {
            // Ends when `work` does (the channel closes) or when it raised the flag.
            scope.spawn(move || {
                while ended.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                    if self.reached().is_some() {
                        return stop.store(true, Ordering::Relaxed);
                    }
                }
            });
            let outcome = work(stop);
            drop(working);
            outcome
        })
    }
}
