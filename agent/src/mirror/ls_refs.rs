//! Asking what a ref names, without fetching anything: what a poll costs.
//!
//! Knows Git's ls-refs. Must not change the mirror, so it needs no lock.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use towline_proto::{CommitId, RefName};

use super::Mirror;
use super::conversation::{Conversation, FetchError};
use super::halt::Halt;
use super::store;
use crate::access::Access;

impl Mirror {
    /// The commit a ref names at the server now, `None` if there is no such ref. An annotated tag answers with what it names.
    pub fn resolve(
        &self,
        reference: &RefName,
        access: &Access,
        deadline: Instant,
        interrupt: &Arc<AtomicBool>,
    ) -> Result<Option<CommitId>, FetchError> {
        let halt = Halt { deadline, interrupt: Arc::clone(interrupt) };
        let conversation = Conversation::new(self, reference, access, &halt)?;
        let map = list(&conversation).map_err(|error| conversation.error(&error))?;
        match conversation.listed(&map) {
            Ok(listed) => Ok(CommitId::parse(&listed.peeled.to_string()).ok()),
            Err(FetchError::RefNotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn list(conversation: &Conversation<'_>) -> gix::Result<gix::remote::fetch::RefMap> {
    let repository = conversation.mirror.repository_now()?;
    let remote = conversation.remote(&repository, &store::tip_ref(conversation.reference))?;
    let (map, _handshake) = conversation.connect(&remote)?.ref_map(gix::progress::Discard, Default::default())?;
    Ok(map)
}
