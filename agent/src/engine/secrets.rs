//! Secrets of sources within the engine: which are watched, and whose change wakes a source.
//!
//! Knows versions only. A source is woken once for each version that its last fetch did not read.

use std::collections::{BTreeMap, BTreeSet};

use super::credentials::Named;
use super::members::Role;
use super::{Action, Engine, Moment, SourceKey};
use crate::access::Data;
use crate::cluster::{Cluster, RequestError, SecretKey, SecretSeen};

/// Versions of Secrets; `None` stands for one that is not there.
pub(super) type Versions = BTreeMap<SecretKey, Option<String>>;

/// Reads a Secret, and enters into `into` which version that was, also if there is none.
pub(super) async fn read(
    cluster: &Cluster,
    secret: &SecretKey,
    into: &mut Versions,
) -> Result<Option<Data>, RequestError> {
    let (version, data) = cluster.secret(secret).await?.unzip();
    into.insert(secret.clone(), version);
    Ok(data)
}

/// What is known of the Secrets that sources name.
#[derive(Default)]
pub(super) struct Secrets {
    watched: BTreeSet<SecretKey>,
    /// What the watches show.
    seen: Versions,
    /// What each source's last fetch read.
    read: BTreeMap<SourceKey, Versions>,
    /// For which version a source was woken last.
    woken: BTreeMap<(SourceKey, SecretKey), Option<String>>,
}

impl Secrets {
    /// Whether a source is to look again because of what is seen of a Secret.
    fn is_news(&mut self, source: &SourceKey, secret: &SecretKey) -> bool {
        let (Some(seen), Some(read)) = (self.seen.get(secret), self.read.get(source).and_then(|read| read.get(secret)))
        else {
            // What was not read yet is read by the first fetch; what is not seen yet will be.
            return false;
        };
        // The watch may be behind what was read: once for each version, it never goes round.
        seen != read && self.woken.insert((source.clone(), secret.clone()), seen.clone()).as_ref() != Some(seen)
    }
}

impl Engine {
    /// A watch shows a Secret.
    pub(super) fn secret_seen(&mut self, seen: SecretSeen, at: Moment) {
        if !self.secrets.watched.contains(&seen.secret) {
            return;
        }
        self.secrets.seen.insert(seen.secret.clone(), seen.version);
        let sources: Vec<SourceKey> = self.secrets.read.keys().cloned().collect();
        for source in sources {
            self.look_for_secret(&source, &seen.secret, at);
        }
    }

    /// A fetch has read its Secrets.
    pub(super) fn secrets_read(&mut self, source: &SourceKey, number: u64, read: Versions, at: Moment) {
        if self.sources.get(source).is_some_and(|entry| entry.fetch == number) {
            let secrets: Vec<SecretKey> = read.keys().cloned().collect();
            self.secrets.read.insert(source.clone(), read);
            for secret in secrets {
                self.look_for_secret(source, &secret, at);
            }
        }
    }

    fn look_for_secret(&mut self, source: &SourceKey, secret: &SecretKey, at: Moment) {
        if let Some(entry) = self.sources.get_mut(source)
            && self.secrets.is_news(source, secret)
        {
            tracing::info!(%source, %secret, "a Secret of the source has changed");
            entry.schedule.wake(None, at.now);
        }
    }

    /// Has the Secrets watched that sources of this replica name, and no others.
    pub(super) fn watch_secrets(&mut self, actions: &mut Vec<Action>) {
        let fetching = self
            .sources
            .iter()
            .filter(|(_, entry)| entry.role != Role::None && entry.invalid.is_none() && !entry.object.spec.suspend);
        let wanted: BTreeSet<SecretKey> =
            fetching.flat_map(|(key, entry)| Named::of(key, &entry.object.spec).all()).collect();
        if wanted != self.secrets.watched {
            self.secrets.seen.retain(|secret, _| wanted.contains(secret));
            self.secrets.woken.retain(|(_, secret), _| wanted.contains(secret));
            self.secrets.read.retain(|source, _| self.sources.contains_key(source));
            self.secrets.watched.clone_from(&wanted);
            actions.push(Action::WatchSecrets(wanted));
        }
    }
}
