//! Which tag of a repository is the newest in a range of versions: asked of the server, which lists its tags and sends nothing else.
//!
//! Must not change the mirror, so it needs no lock.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use towline_plan::tag_range::{Newest, TagRange};
use towline_proto::RefName;

use super::Mirror;
use super::conversation::{Conversation, FetchError};
use super::halt::Halt;
use crate::access::Access;

/// All tags, and where they would go if they were fetched, which they are not.
const TAGS: &str = "+refs/tags/*:refs/towline/listed/*";

impl Mirror {
    /// The newest tag in the range, by its full name. The list of tags may have 32 MiB.
    ///
    /// # Errors
    /// The server does not answer as it should, or none of its tags is in the range.
    pub fn newest_tag(
        &self,
        range: &TagRange,
        access: &Access,
        deadline: Instant,
        interrupt: &Arc<AtomicBool>,
    ) -> Result<RefName, FetchError> {
        let halt = Halt { deadline, interrupt: Arc::clone(interrupt) };
        let prefix = RefName::parse("refs/tags").map_err(|_| self.invalid("refs/tags"))?;
        let conversation = Conversation::new(self, &prefix, access, &halt)?;
        let names = list(&conversation).map_err(|error| conversation.error(&error))?;
        conversation.is_an_answer()?;
        let Newest { tag, versions, highest } = range.newest(names.iter().map(String::as_str));
        let Some(tag) = tag else {
            let (range, url) = (range.to_string(), self.url.clone());
            return Err(FetchError::NoTag { range, url, versions, highest });
        };
        let name = format!("refs/tags/{tag}");
        RefName::parse(&name).map_err(|_| self.invalid(&name))
    }

    fn invalid(&self, reference: &str) -> FetchError {
        FetchError::RefInvalid { reference: reference.to_owned(), url: self.url.clone() }
    }
}

fn list(conversation: &Conversation<'_>) -> gix::Result<Vec<String>> {
    let repository = conversation.mirror.repository_now()?;
    let remote = repository.remote_at_without_url_rewrite(conversation.mirror.url.as_str())?;
    let remote = remote.with_fetch_tags(gix::remote::fetch::Tags::None);
    let remote = remote.with_refspecs([TAGS], gix::remote::Direction::Fetch)?;
    let (map, _handshake) = conversation.connect(&remote)?.ref_map(gix::progress::Discard, Default::default())?;
    let names = map.remote_refs.iter().map(|listed| listed.unpack().0.to_string());
    Ok(names.filter_map(|name| name.strip_prefix("refs/tags/").map(str::to_owned)).collect())
}
