//! The mirror of one repository: a bare, shallow copy on disk, fetched over smart HTTP and read without a checkout.
//!
//! Knows Git: refs, commits, trees, packs. It alone imports `gix`. Must not know what a Sync or a manifest means, nor when to
//! look: it blocks its caller's thread until done, out of time or interrupted (never call it on a thread that drives async
//! tasks), and never retries.
//!
//! In the order in which a revision travels:
//!
//! 1. [`Mirror::open`] makes sure that a repository is there (`open`, `store`): what is not ours or not whole is rebuilt.
//! 2. [`Mirror::resolve`] asks for one ref (`ls_refs`), [`Mirror::newest_tag`] for the newest of a range (`tags`), [`Mirror::fetch`] brings its commit and what is below it (`fetch`). Both
//!    hold a conversation (`conversation`) over HTTP (`wire`, `exchange`, `rest`) with an
//!    [`Access`](crate::access::Access), in which every wait ends at a deadline (`halt`). A
//!    lock (`lock`) keeps two fetches apart, also between processes.
//!    What was brought has to be within [`Limits`] (`limits`) before anybody hears of it.
//! 3. [`Mirror::holds`] walks what a commit reaches (`reach`); [`Mirror::read`] and [`Mirror::object_id`] take it from the object
//!    database (`read`, `links`).
//! 4. [`Mirror::pin`] says what a source was given: it may go on with that, and with nothing else that is here (`pins`).
//! 5. Packs that pile up become one (`repack`); what is pinned survives.
//!
//! Where it keeps what: `<storage>/mirrors/<token>` is the repository, `<token>.lock` its lock, `<token>.new` and `<token>.old` a
//! rebuild that is under way. All of it may be lost at the price of a fetch.

use std::path::PathBuf;

mod conversation;
mod exchange;
mod fetch;
mod halt;
mod limits;
mod links;
mod lock;
mod ls_refs;
mod open;
mod pins;
mod raw;
mod reach;
mod read;
mod repack;
mod rest;
mod store;
mod tags;
mod tip;
mod wire;

#[cfg(test)]
mod tests;

pub use conversation::FetchError;
pub use limits::{Exceeded, Limits};
pub use open::OpenError;
pub use pins::PinError;
pub use raw::Raw;
pub use read::ReadError;
pub use tip::Tip;

/// A handle on the mirror of one repository: cheap to clone, holds nothing open.
#[derive(Clone)]
pub struct Mirror {
    /// The bare repository.
    directory: PathBuf,
    /// Whose mirror it is: what the directory is named after.
    identity: towline_proto::RepositoryId,
    /// Without a user: this one is logged, stored and shown.
    url: String,
    /// What its conversations cost so far; clones count together.
    traffic: std::sync::Arc<wire::Traffic>,
    /// How large its repository may be.
    limits: Limits,
}

impl Mirror {
    /// Where it fetches from, without credentials.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The server's name.
    pub fn host(&self) -> &str {
        self.identity.as_str().split('/').next().unwrap_or_default()
    }

    /// With other bounds than the usual ones.
    #[must_use]
    pub fn within(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Requests and received bytes since it was opened.
    pub fn traffic(&self) -> (u64, u64) {
        self.traffic.sum()
    }

    /// Which repository it mirrors, as commit events call it.
    pub fn repository(&self) -> &towline_proto::RepositoryId {
        &self.identity
    }
}

impl std::fmt::Debug for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mirror").field("directory", &self.directory).field("url", &self.url).finish_non_exhaustive()
    }
}
