//! Fetching one ref: the conversation, what is done with what it brought, and what if the mirror itself is the trouble.
//!
//! Knows the order: nothing is believed before everything below the commit was seen to be there. Must not decide when to try again.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use gix::ObjectId;
use gix::remote::fetch::Shallow;
use towline_proto::RefName;

use super::conversation::{Conversation, FetchError, stopped};
use super::halt::Halt;
use super::limits::Objection;
use super::lock::{Lock, LockError};
use super::reach::reach;
use super::{Mirror, Tip, store};
use crate::access::Access;

/// Why an attempt brought nothing.
enum Attempt {
    /// The server, the way to it, or the time.
    Failed(FetchError),
    /// Perhaps the mirror: starting afresh may help.
    Suspect(FetchError),
}

impl Mirror {
    /// Brings the commit a ref names, without its history, and only those of its objects that are not here yet. Earlier commits
    /// stay readable, also if this fails; a ref that vanished at the server leaves its last tip alone.
    ///
    /// A mirror that turns out to be damaged is fetched anew beside the old one, which is replaced when that succeeded.
    pub fn fetch(
        &self,
        reference: &RefName,
        access: &Access,
        deadline: Instant,
        interrupt: &Arc<AtomicBool>,
    ) -> Result<Tip, FetchError> {
        let halt = Halt { deadline, interrupt: Arc::clone(interrupt) };
        let lock = self.lock(&halt)?;
        store::sweep(&self.directory);
        self.put_in_order_locked(&lock).map_err(|error| self.disk(&error))?;
        let tip = if self.is_damaged() {
            self.fetch_anew(reference, access, &halt)?
        } else {
            match self.fetch_into(&self.directory, reference, access, &halt) {
                Ok(tip) => tip,
                Err(Attempt::Failed(error)) => return Err(error),
                // In an empty mirror it would be the same again.
                Err(Attempt::Suspect(error)) if self.is_empty() => return Err(error),
                Err(Attempt::Suspect(error)) => {
                    tracing::warn!(mirror = %self.directory.display(), %error, "fetching into a new mirror");
                    self.fetch_anew(reference, access, &halt)?
                }
            }
        };
        halt.watch(|stop| self.repack_if_needed(stop));
        Ok(tip)
    }

    fn lock(&self, halt: &Halt) -> Result<Lock, FetchError> {
        let url = || self.url.clone();
        if let Some(parent) = self.directory.parent() {
            fs::create_dir_all(parent).map_err(|error| self.disk(&error))?;
        }
        Lock::take(&self.lock_file(), halt).map_err(|error| match error {
            LockError::Io(error) => self.disk(&error),
            LockError::Stopped(super::halt::Stop::Deadline) => FetchError::Busy { url: url() },
            LockError::Stopped(stop) => stopped(stop, url()),
        })
    }

    fn fetch_anew(&self, reference: &RefName, access: &Access, halt: &Halt) -> Result<Tip, FetchError> {
        let (fresh, old) = (self.directory.with_extension("new"), self.directory.with_extension("old"));
        self.create(&fresh).map_err(|error| self.disk(&error))?;
        let tip = self
            .fetch_into(&fresh, reference, access, halt)
            .map_err(|(Attempt::Failed(error) | Attempt::Suspect(error))| error);
        let swap = |_: &Tip| -> io::Result<()> {
            store::remove(&old)?;
            fs::rename(&self.directory, &old)?;
            fs::rename(&fresh, &self.directory)?;
            store::remove(&old)
        };
        tip.and_then(|tip| swap(&tip).map(|()| tip).map_err(|error| self.disk(&error)))
    }

    /// The repository is opened anew for each fetch: gix reserves slots for packs when it opens one, and runs out of them.
    fn fetch_into(&self, directory: &Path, reference: &RefName, access: &Access, halt: &Halt) -> Result<Tip, Attempt> {
        let conversation = Conversation::new(self, reference, access, halt).map_err(Attempt::Failed)?;
        let received = self.receive(directory, &conversation, halt);
        let target = received.map_err(|error| conversation.attempt(error))?;
        let suspect = |cause: String| Attempt::Suspect(FetchError::Protocol { url: self.url.clone(), cause });
        let repository = self.repository_at(directory).map_err(|error| suspect(store::explain(&error)))?;
        let commit = whole_commit(&repository, target).map_err(suspect)?.ok_or_else(|| {
            Attempt::Failed(FetchError::NotACommit { reference: reference.to_string(), url: self.url.clone() })
        })?;
        let tree = commit.tree_id().map_err(|error| suspect(store::explain(&error)))?.detach();
        self.judge(directory, &repository, tree).map_err(|objection| match objection {
            Objection::Unreadable(cause) => suspect(cause),
            Objection::Exceeded(limit) => Attempt::Failed(FetchError::Exceeded { url: self.url.clone(), limit }),
        })?;
        Tip::of(&commit, target, conversation.wire.received_bytes()).map_err(suspect)
    }

    /// After this our ref names what the server's names, and the objects should be here.
    fn receive(&self, directory: &Path, conversation: &Conversation<'_>, halt: &Halt) -> Result<ObjectId, Trouble> {
        let repository = self.repository_at(directory)?;
        let local = store::tip_ref(conversation.reference);
        let remote = conversation.remote(&repository, &local)?;
        let connection = conversation.connect(&remote)?;
        let prepared = connection.prepare_fetch(gix::progress::Discard, Default::default())?;
        let target = conversation.listed(prepared.ref_map())?.target;
        keep_previous(&repository, conversation.reference, &local, target)?;
        if whole_commit(&repository, target).is_ok_and(|commit| commit.is_some()) {
            store::set_ref(&repository, &local, target)?;
            return Ok(target);
        }
        conversation.wire.allow_pack(self.limits.received_bytes);
        halt.watch(|stop| {
            prepared.with_shallow(Shallow::DepthAtRemote(NonZeroU32::MIN)).receive(gix::progress::Discard, stop)
        })?;
        Ok(target)
    }

    fn is_empty(&self) -> bool {
        self.repository_now().and_then(|repository| store::references(&repository)).is_ok_and(|ids| ids.is_empty())
    }

    fn disk(&self, error: &io::Error) -> FetchError {
        FetchError::Disk { url: self.url.clone(), cause: error.to_string() }
    }
}

/// What ended a conversation: an answer we understood, or an error of gix.
enum Trouble {
    Known(FetchError),
    Gix(gix::Error),
}

impl From<FetchError> for Trouble {
    fn from(error: FetchError) -> Self {
        Self::Known(error)
    }
}

impl From<gix::Error> for Trouble {
    fn from(error: gix::Error) -> Self {
        Self::Gix(error)
    }
}

impl Conversation<'_> {
    /// What broke without the wire, the time, the disk or the server's refusal being to blame may be the mirror's fault.
    fn attempt(&self, trouble: Trouble) -> Attempt {
        let error = match trouble {
            Trouble::Known(error) => return Attempt::Failed(error),
            Trouble::Gix(error) => self.error(&error),
        };
        match error {
            FetchError::Protocol { .. } if self.wire.failure().is_none() => Attempt::Suspect(error),
            error => Attempt::Failed(error),
        }
    }
}

/// A pass may be reading the tip that is being replaced; a repack keeps the one before the newest, too.
fn keep_previous(repository: &gix::Repository, reference: &RefName, local: &str, target: ObjectId) -> gix::Result<()> {
    let current = repository.try_find_reference(local)?.and_then(|tip| tip.try_id().map(gix::Id::detach));
    match current {
        Some(id) if id != target => store::set_ref(repository, &store::ref_name("previous", reference.as_str()), id),
        _ => Ok(()),
    }
}

/// The commit that `target` is, or names as a tag, if all below it is here; `None` if it names something else.
fn whole_commit(repository: &gix::Repository, target: ObjectId) -> Result<Option<gix::Commit<'_>>, String> {
    reach(repository, target, &mut HashSet::new())?;
    let object = repository.find_object(target).map_err(|error| store::explain(&error))?;
    let peeled = object.peel_tags_to_end().map_err(|error| store::explain(&error))?;
    Ok(peeled.try_into_commit().ok())
}
