//! The secrets of one hook over time: which are good now, and what a change of their files makes of them. Knows the
//! moment only as an argument; who looks at the files, and when, is [`crate::reload`]'s business.
//!
//! A file that became bad keeps the secret that it held before: a mistake with a file must not shut senders out. So a
//! secret is revoked by writing another one over it, not by emptying or removing its file. A secret that was replaced
//! stays good for the overlap, for what was signed with it and is still on its way, and is forgotten then.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use towline_daemon::watched::{Ask, Files, Looked, Reading, Watch};

use crate::provider::Provider;
use crate::secret::{FILE_BYTES_MAX, Secret, SecretError};

/// Secrets that were replaced and are not forgotten yet. One replacement in a moment is usual; this many at once is
/// somebody trying out.
const REPLACED_MAX: usize = 16;

/// The secrets of one hook, one for each of its files.
pub struct Secrets {
    provider: Provider,
    files: Files,
    kept: RwLock<Kept>,
    ask: OnceLock<Ask>,
}

struct Kept {
    /// By file.
    current: Vec<Secret>,
    replaced: Vec<(Secret, Instant)>,
    /// Both, for those who verify.
    good: Arc<[Secret]>,
}

/// A file whose content cannot be used, by its path, and why.
pub type BadFile = (PathBuf, SecretError);

impl Secrets {
    /// Reads all files; the results are theirs, in order. What is made with a bad file among them is not whole.
    pub fn read(provider: Provider, paths: Vec<PathBuf>) -> (Self, Vec<Result<(), SecretError>>) {
        let (files, readings) = Files::read(paths, FILE_BYTES_MAX);
        let mut kept = Kept { current: Vec::new(), replaced: Vec::new(), good: Arc::new([]) };
        let mut results = Vec::new();
        for reading in readings {
            results.push(parse(provider, reading).map(|secret| kept.current.push(secret)));
        }
        kept.publish();
        (Self { provider, files, kept: RwLock::new(kept), ask: OnceLock::new() }, results)
    }

    /// All that are good now; never locked for longer than it takes to copy a pointer.
    pub fn good(&self) -> Arc<[Secret]> {
        Arc::clone(&self.kept.read().unwrap_or_else(PoisonError::into_inner).good)
    }

    pub fn paths(&self) -> &[PathBuf] {
        self.files.paths()
    }

    /// Begins to watch the files: [`Secrets::look_again`] works from now on. Once only.
    pub fn watch(&self) -> Watch {
        let (watch, ask) = self.files.watch();
        let _first_wins = self.ask.set(ask);
        watch
    }

    /// The files are looked at now, because a delivery matches none of `tried`. True if other secrets are good by then:
    /// who changed a file and then the Git host's form must not wait until the files are looked at the next time, for
    /// GitHub does not send a refused delivery again.
    pub async fn look_again(&self, tried: &Arc<[Secret]>) -> bool {
        if let Some(ask) = self.ask.get() {
            ask.look().await;
        }
        !Arc::ptr_eq(tried, &self.good())
    }

    /// Takes what the files hold now, all of them in one step. Returns those that cannot be used.
    pub fn take(&self, looked: Vec<Looked>, now: Instant, overlap: Duration) -> Vec<BadFile> {
        // Parsed before the lock is taken.
        let parsed = looked.into_iter().map(|file| file.changed.then(|| parse(self.provider, file.reading)));
        let parsed: Vec<_> = parsed.collect();
        let mut bad = Vec::new();
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        let Kept { current, replaced, .. } = &mut *kept;
        for ((path, secret), result) in self.files.paths().iter().zip(current).zip(parsed) {
            match result {
                Some(Ok(new)) => replaced.push((std::mem::replace(secret, new), now + overlap)),
                Some(Err(error)) => bad.push((path.clone(), error)),
                None => {}
            }
        }
        let too_many = kept.replaced.len().saturating_sub(REPLACED_MAX);
        kept.replaced.drain(..too_many);
        kept.replaced.retain(|(_, until)| *until > now);
        kept.publish();
        bad
    }

    /// Forgets the replaced secrets whose overlap is over; true if there were any.
    pub fn forget_replaced(&self, now: Instant) -> bool {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        let before = kept.replaced.len();
        kept.replaced.retain(|(_, until)| *until > now);
        let any = kept.replaced.len() < before;
        if any {
            kept.publish();
        }
        any
    }
}

impl Kept {
    fn publish(&mut self) {
        self.good = self.current.iter().chain(self.replaced.iter().map(|(secret, _)| secret)).cloned().collect();
    }
}

fn parse(provider: Provider, reading: Reading) -> Result<Secret, SecretError> {
    Secret::parse(provider, &reading?)
}

/// A secret file that others than its owner and group can read, if that can be found out.
pub fn is_readable_by_everybody(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}
