//! One writer per mirror, also between processes.
//!
//! Knows a lock file. Must not know what is done under it. The kernel frees the lock when its holder dies, however it dies: a
//! lock file that counts by existing would outlive a SIGKILL and stop every later fetch.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::thread;

use super::halt::{Halt, LOOK_EVERY, Stop};

/// Held as long as it lives.
pub(super) struct Lock {
    file: File,
}

/// Why there is no lock.
#[derive(Debug)]
pub(super) enum LockError {
    /// Somebody else held it until it was time to stop.
    Stopped(Stop),
    Io(io::Error),
}

impl Lock {
    /// `None` if somebody else holds it.
    pub(super) fn try_take(path: &Path) -> io::Result<Option<Self>> {
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Waits its turn.
    pub(super) fn take(path: &Path, halt: &Halt) -> Result<Self, LockError> {
        loop {
            if let Some(lock) = Self::try_take(path).map_err(LockError::Io)? {
                return Ok(lock);
            }
            if let Some(stop) = halt.reached() {
                return Err(LockError::Stopped(stop));
            }
            // Nothing tells us when another process lets go, so this looks again, at the rate of all other waits.
            thread::park_timeout(LOOK_EVERY);
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child that another thread forks at this moment has the file open until it runs its program,
        // and with it the lock. It fails only where there is no lock, and then there is nothing to give back.
        let _ = self.file.unlock();
    }
}
