//! What the watches of one identity show, and the verdicts remembered about it.
//!
//! A plain index, driven by what watches, applies and lists say: which objects carry owner labels, how healthy they are, and
//! which of them were found equal to what Git wants. An object whose fingerprint moves away from its verdict has drifted. What
//! one identity may see is not shown to another: each has an index of its own. Must not know watches.

mod scope;
mod verdict;

pub use scope::Scope;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::health::Health;
use crate::object::{ObjectId, SyncKey};
use crate::observed::{Found, Judgement, Live};
use verdict::{Verdict, is_newer};

/// An object as a watch shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub live: Live,
    /// `None` for a kind whose objects are well by being there; see [`crate::health::has_rule`].
    pub health: Option<Box<Health>>,
    /// What Syncs that watch it by name make of it with expressions of their own.
    pub judged_for: Vec<(SyncKey, Health)>,
    /// A Job or a Pod that has run to its end.
    pub finished: bool,
}

impl Shown {
    /// An object of which only metadata is known.
    #[must_use]
    pub fn plain(live: Live) -> Self {
        Self { live, health: None, judged_for: Vec::new(), finished: false }
    }
}

/// Whom a change concerns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct News {
    /// Syncs whose object moved away from what Git says, or ran to its end: each is named once until its next verdict.
    pub drifted: BTreeSet<SyncKey>,
    /// Syncs whose object changed its health, or is gone.
    pub progressed: BTreeSet<SyncKey>,
    /// An object that is watched by name did: whoever watches it.
    pub named: bool,
}

/// Live objects and verdicts, as one identity sees them.
#[derive(Debug, Default)]
pub struct Watched {
    scopes: HashMap<Scope, Watch>,
    verdicts: HashMap<ObjectId, Verdict>,
    /// Jobs and Pods that were seen to have run to their end, by their uid, also when they are gone since.
    finished: HashMap<ObjectId, String>,
}

#[derive(Debug, Default)]
struct Watch {
    objects: HashMap<ObjectId, Entry>,
    /// A list is complete and the watch goes on.
    synced: bool,
    /// It failed, and that was told.
    lost: bool,
    /// Syncs whose objects are judged by other rules since: what is shown of them counts after the next list; whether that
    /// has begun.
    rejudged: BTreeMap<SyncKey, bool>,
    /// Told when the list under way is complete: of its objects all would be news.
    listing: Option<News>,
    /// Counts lists: what the newest has not named is gone.
    round: u32,
}

#[derive(Debug)]
struct Entry {
    shown: Shown,
    round: u32,
}

impl Watched {
    /// A list begins: at the start, or after a watch was lost.
    pub fn begin_list(&mut self, scope: &Scope) {
        let watch = self.scopes.entry(scope.clone()).or_default();
        watch.round = watch.round.wrapping_add(1);
        watch.listing.get_or_insert_default();
        watch.rejudged.values_mut().for_each(|begun| *begun = true);
        for (_, verdict) in self.verdicts.iter_mut().filter(|(id, _)| scope.covers(id)) {
            verdict.newer_than_list = false;
        }
    }

    /// The list is complete: what it did not name is gone.
    pub fn end_list(&mut self, scope: &Scope) -> News {
        let watch = self.scopes.entry(scope.clone()).or_default();
        let was_synced = std::mem::replace(&mut watch.synced, true);
        watch.lost = false;
        let Some(mut news) = watch.listing.take() else { return News::default() };
        let rejudged: Vec<_> = watch.rejudged.extract_if(.., |_, begun| *begun).collect();
        match scope.name {
            Some(_) => news.named |= !rejudged.is_empty(),
            None => news.progressed.extend(rejudged.into_iter().map(|(sync, _)| sync)),
        }
        for (_, entry) in watch.objects.extract_if(|_, entry| entry.round != watch.round) {
            match scope.name {
                Some(_) => news.named = true,
                None => news.progressed.extend(entry.shown.live.owner),
            }
        }
        let gone = self
            .verdicts
            .iter_mut()
            .filter(|(id, v)| scope.covers(id) && !watch.objects.contains_key(*id) && !v.newer_than_list)
            // That it is not there is known.
            .filter(|(_, v)| v.left.as_deref() != Some(&Judgement::Absent));
        news.drifted.extend(gone.filter_map(|(_, verdict)| verdict.mark()));
        match was_synced {
            true => news,
            false => self.all_of(scope, news),
        }
    }

    /// Whether what the watch shows is all there is, as it is now: it may fail for a while, and go on from where it was. That
    /// either begins is news to everybody who relies on it.
    pub fn is_current(&mut self, scope: &Scope, is_current: bool) -> News {
        let Some(watch) = self.scopes.get_mut(scope) else { return News::default() };
        watch.synced = is_current;
        match std::mem::replace(&mut watch.lost, !is_current) == is_current {
            true => self.all_of(scope, News::default()),
            false => News::default(),
        }
    }

    /// A Sync's objects are judged by other rules from the next list on; until then their health is not known.
    pub fn rejudge(&mut self, scope: &Scope, sync: &SyncKey) {
        self.scopes.entry(scope.clone()).or_default().rejudged.insert(sync.clone(), false);
    }

    /// News to everybody who relies on a watch.
    fn all_of(&self, scope: &Scope, mut news: News) -> News {
        if scope.name.is_some() {
            return News { named: true, ..news };
        }
        let objects = self.scopes.get(scope).into_iter().flat_map(|watch| watch.objects.values());
        news.progressed.extend(objects.filter_map(|entry| entry.shown.live.owner.clone()));
        let verdicts = self.verdicts.iter().filter(|(id, _)| scope.covers(id));
        news.progressed.extend(verdicts.map(|(_, verdict)| verdict.sync.clone()));
        news
    }

    /// The watch ended for good: nothing is known of what it showed. Answers with the Syncs that had verdicts about it: they
    /// must look for themselves.
    pub fn unwatch(&mut self, scope: &Scope) -> BTreeSet<SyncKey> {
        self.scopes.remove(scope);
        self.finished.retain(|id, _| !scope.covers(id));
        let dropped = self.verdicts.extract_if(|id, _| scope.covers(id));
        dropped.map(|(_, verdict)| verdict.sync).collect()
    }

    /// An object is as given.
    pub fn applied(&mut self, scope: &Scope, id: ObjectId, shown: Shown) -> News {
        let mut news = News::default();
        if scope.name.is_none() {
            // Of what has no health nothing is waited for.
            if shown.health.is_some() {
                news.progressed.extend(self.catches_up(&id, &shown.live));
            }
            news.drifted.extend(self.compared(&id, &shown.live));
            news.drifted.extend(self.has_finished(&id, &shown));
        }
        let watch = self.scopes.entry(scope.clone()).or_default();
        let old = watch.objects.get(&id).map(|entry| &entry.shown);
        if old.is_none_or(|old| is_other(old, &shown)) {
            match scope.name {
                Some(_) => news.named = true,
                None => news.progressed.extend(shown.live.owner.clone()),
            }
        }
        let round = watch.round;
        watch.objects.insert(id, Entry { shown, round });
        match &mut watch.listing {
            // Drift is said at once; that all objects of a first list are as they are is said when it is whole.
            Some(held) => {
                held.progressed.append(&mut news.progressed);
                held.named |= std::mem::take(&mut news.named);
                news
            }
            None => news,
        }
    }

    /// What more is known of the health of an object that is still the same one.
    pub fn judged(&mut self, scope: &Scope, id: &ObjectId, uid: &str, health: Health) -> News {
        let mut news = News::default();
        let entry = self.scopes.get_mut(scope).and_then(|watch| watch.objects.get_mut(id));
        let Some(shown) = entry.map(|entry| &mut entry.shown).filter(|shown| shown.live.uid == uid) else {
            return news;
        };
        let health = Some(Box::new(health));
        let new = Shown { health, ..shown.clone() };
        if is_other(shown, &new) {
            match scope.name {
                Some(_) => news.named = true,
                None => news.progressed.extend(new.live.owner.clone()),
            }
        }
        *shown = new;
        news
    }

    /// Answers with the object's Sync if this is the first that the watch shows of what was applied: until then its health was
    /// not known, and now it is, also if it is what it was before.
    fn catches_up(&self, id: &ObjectId, live: &Live) -> Option<SyncKey> {
        let verdict = self.verdicts.get(id)?;
        let behind = |seen: &Live| is_newer(&verdict.resource_version, &seen.resource_version);
        let was_behind = self.live(id).is_none_or(behind);
        (was_behind && !behind(live)).then(|| verdict.sync.clone())
    }

    /// Answers with the object's Sync if it has drifted by being so.
    fn compared(&mut self, id: &ObjectId, live: &Live) -> Option<SyncKey> {
        let verdict = self.verdicts.get_mut(id)?;
        // The watch runs behind our own writes: what it says of an older state is history.
        if !is_newer(&live.resource_version, &verdict.resource_version) {
            return None;
        }
        if verdict.is_of(live) {
            verdict.resource_version.clone_from(&live.resource_version);
            return None;
        }
        verdict.mark()
    }

    /// Answers with the Sync of a Job or Pod that was not known to have run to its end. It is to be recorded before it goes.
    fn has_finished(&mut self, id: &ObjectId, shown: &Shown) -> Option<SyncKey> {
        let known = self.finished.get(id).is_some_and(|uid| *uid == shown.live.uid);
        if known || !shown.finished {
            // Another of the same name has not run yet.
            if !known {
                self.finished.remove(id);
            }
            return None;
        }
        self.finished.insert(id.clone(), shown.live.uid.clone());
        self.verdicts.get(id).filter(|v| v.uid == shown.live.uid).map(|v| v.sync.clone())
    }

    /// An object is gone, or lost its owner labels; `last` is what it was then.
    pub fn deleted(&mut self, scope: &Scope, id: &ObjectId, last: &Shown) -> News {
        let mut news = News::default();
        let owner =
            self.scopes.get_mut(scope).and_then(|watch| watch.objects.remove(id)).and_then(|e| e.shown.live.owner);
        if scope.name.is_some() {
            news.named = true;
            return news;
        }
        news.progressed.extend(owner);
        if last.finished && self.may_matter(id, last) {
            self.finished.insert(id.clone(), last.live.uid.clone());
        } else {
            self.finished.remove(id);
        }
        // Of a predecessor with the same name, or of labels that a pass has put back since: history, both.
        let verdict = self.verdicts.get_mut(id).filter(|verdict| {
            verdict.uid == last.live.uid && is_newer(&last.live.resource_version, &verdict.resource_version)
        });
        news.drifted.extend(verdict.and_then(Verdict::mark));
        news
    }

    /// Whether a pass may still ask whether what is gone had finished: of what it looked at, and of everything where it has not
    /// looked at anything yet. What it let go of it does not ask for, and would never be taken out again.
    fn may_matter(&self, id: &ObjectId, last: &Shown) -> bool {
        let of_its_sync = |verdict: &Verdict| last.live.owner.as_ref().is_some_and(|owner| verdict.sync == *owner);
        self.verdicts.get(id).is_some_and(|verdict| verdict.uid == last.live.uid)
            || !self.verdicts.values().any(of_its_sync)
    }

    /// Whether a list is complete, and the watch goes on from there.
    #[must_use]
    pub fn is_synced(&self, scope: &Scope) -> bool {
        self.scopes.get(scope).is_some_and(|watch| watch.synced)
    }

    /// What is known of one of a Sync's own objects.
    #[must_use]
    pub fn live(&self, id: &ObjectId) -> Option<&Live> {
        self.shown(id).map(|shown| &shown.live)
    }

    fn shown(&self, id: &ObjectId) -> Option<&Shown> {
        self.watch_of(id)?.objects.get(id).map(|entry| &entry.shown)
    }

    /// The watch of own objects in which one would show.
    fn watch_of(&self, id: &ObjectId) -> Option<&Watch> {
        let scope = |namespace| Scope { kind: id.kind.clone(), namespace, name: None };
        let inner = id.namespace.as_ref().and_then(|namespace| self.scopes.get(&scope(Some(namespace.clone()))));
        inner.or_else(|| self.scopes.get(&scope(None)))
    }

    /// How healthy an object of the Sync is, as it was applied last; `None` while its watch has not shown that, or cannot.
    #[must_use]
    pub fn health(&self, id: &ObjectId) -> Option<Health> {
        let watch = self.watch_of(id).filter(|watch| watch.synced)?;
        let verdict = self.verdicts.get(id);
        match watch.objects.get(id).map(|entry| &entry.shown) {
            Some(shown) if shown.live.owner.as_ref().is_some_and(|owner| watch.rejudged.contains_key(owner)) => None,
            Some(shown) => {
                let seen = |v: &Verdict| !is_newer(&v.resource_version, &shown.live.resource_version);
                verdict.is_none_or(seen).then(|| shown.health.as_deref().cloned().unwrap_or_else(Health::exists))
            }
            // Applied a moment ago, and not shown yet.
            None if verdict.is_some_and(|verdict| !verdict.drifted && verdict.left.is_none()) => None,
            None => Some(Health::absent()),
        }
    }

    /// How healthy an object is that the Sync watches by its name; `None` while that watch has not said, or cannot.
    #[must_use]
    pub fn foreign_health(&self, id: &ObjectId, sync: &SyncKey) -> Option<Health> {
        let is_known = |watch: &&Watch| watch.synced && !watch.rejudged.contains_key(sync);
        let watch = self.scopes.get(&Scope::named(id)).filter(is_known)?;
        let Some(shown) = watch.objects.get(id).map(|entry| &entry.shown) else { return Some(Health::absent()) };
        let special = shown.judged_for.iter().find(|(of, _)| of == sync).map(|(_, health)| health);
        Some(special.or(shown.health.as_deref()).cloned().unwrap_or_else(Health::exists))
    }

    /// The uid of the Job or Pod of this name that was seen to have run to its end, whether or not it is still there.
    #[must_use]
    pub fn finished(&self, id: &ObjectId) -> Option<&str> {
        self.finished.get(id).map(String::as_str)
    }

    /// The fingerprint of the newest state known of an object: by the watch, or by what a dry-run or an apply answered.
    #[must_use]
    pub fn fingerprint(&self, id: &ObjectId) -> Option<u64> {
        let (live, verdict) = (self.live(id), self.verdicts.get(id));
        match (live, verdict) {
            (Some(live), Some(verdict)) if !is_newer(&verdict.resource_version, &live.resource_version) => {
                Some(live.fingerprint)
            }
            (_, Some(verdict)) => Some(verdict.fingerprint),
            (live, None) => live.map(|live| live.fingerprint),
        }
    }

    /// Remembers that `live`, as a dry-run or an apply answered it, is what `digest` wants.
    /// Answers whether the watch has already seen it move on from there.
    pub fn remember(&mut self, sync: &SyncKey, id: &ObjectId, digest: &str, live: &Live) -> bool {
        let seen = self.live(id);
        let drifted = seen.is_some_and(|seen| {
            is_newer(&seen.resource_version, &live.resource_version) && seen.fingerprint != live.fingerprint
        });
        self.verdicts.insert(id.clone(), Verdict { drifted, ..Verdict::of(sync, digest, live) });
        drifted
    }

    /// Remembers how an object is that is not what Git wants and stays so: that it changes is told all the same.
    pub fn look_out(&mut self, sync: &SyncKey, id: &ObjectId, live: &Live) {
        // No desired state has this digest.
        self.remember(sync, id, "", live);
    }

    /// Remembers that `live` is not what `digest` wants, how, and that it stays so. Answers as [`Self::remember`] does.
    pub fn remember_drift(&mut self, sync: &SyncKey, id: &ObjectId, digest: &str, live: &Live, found: Found) -> bool {
        let moved = self.remember(sync, id, digest, live);
        if let Some(verdict) = self.verdicts.get_mut(id) {
            verdict.left = Some(Box::new(Judgement::Differs(Found { remembered: true, ..found })));
        }
        moved
    }

    /// Remembers that what `digest` wants is not there, and stays away. It is news when it comes.
    pub fn remember_absence(&mut self, sync: &SyncKey, id: &ObjectId, digest: &str) {
        if self.live(id).is_some() {
            return;
        }
        let left = Some(Box::new(Judgement::Absent));
        let (uid, resource_version) = (String::new(), self.verdicts.get(id).map(|v| v.resource_version.clone()));
        let verdict = Verdict {
            sync: sync.clone(),
            digest: digest.to_owned(),
            uid,
            fingerprint: 0,
            resource_version: resource_version.unwrap_or_else(|| "0".to_owned()),
            left,
            drifted: false,
            newer_than_list: true,
        };
        self.verdicts.insert(id.clone(), verdict);
    }

    /// How an object is known to differ from what `digest` wants, with no request made.
    #[must_use]
    pub fn drift(&self, id: &ObjectId, digest: &str) -> Option<&Judgement> {
        self.verdicts.get(id).filter(|v| !v.drifted && v.digest == digest)?.left.as_deref()
    }

    /// Compares a Sync's verdicts about a scope with a complete list of what the scope has of it. What is not as it was found
    /// has to be judged anew.
    pub fn verify<'a>(
        &mut self,
        sync: &SyncKey,
        scope: &Scope,
        listed: impl IntoIterator<Item = (&'a ObjectId, &'a Live)>,
    ) {
        let listed: HashMap<&ObjectId, &Live> = listed.into_iter().collect();
        for (id, verdict) in self.verdicts.iter_mut().filter(|(id, v)| v.sync == *sync && scope.covers(id)) {
            match listed.get(id) {
                Some(live) if verdict.is_of(live) => {
                    if is_newer(&live.resource_version, &verdict.resource_version) {
                        verdict.resource_version.clone_from(&live.resource_version);
                    }
                }
                // Told by what the pass does about it.
                _ => verdict.drifted = true,
            }
        }
    }

    /// Forgets a verdict: before a delete, and when an object leaves the Sync.
    pub fn forget(&mut self, id: &ObjectId) {
        self.verdicts.remove(id);
        self.finished.remove(id);
    }

    /// Forgets all verdicts of a Sync: it is gone, or everything is to be judged anew.
    pub fn forget_sync(&mut self, sync: &SyncKey) {
        for watch in self.scopes.values_mut() {
            watch.rejudged.remove(sync);
        }
        self.verdicts.retain(|_, verdict| verdict.sync != *sync);
    }

    /// Forgets a Sync's verdicts about a scope: they cannot be compared with anything.
    pub fn forget_scope(&mut self, sync: &SyncKey, scope: &Scope) {
        self.verdicts.retain(|id, verdict| verdict.sync != *sync || !scope.covers(id));
    }

    /// The uid of an object that is known to be what `digest` wants, with no request made.
    #[must_use]
    pub fn clean(&self, id: &ObjectId, digest: &str) -> Option<&str> {
        self.found(id, digest).map(|verdict| verdict.uid.as_str())
    }

    /// The same object, as it was found.
    #[must_use]
    pub fn found_clean(&self, id: &ObjectId, digest: &str) -> Option<Found> {
        let Verdict { sync, uid, resource_version, .. } = self.found(id, digest)?;
        let deleting = self.live(id).is_some_and(|live| live.deleting);
        let (uid, resource_version, owner) = (uid.clone(), resource_version.clone(), Some(sync.clone()));
        Some(Found { uid, resource_version, owner, deleting, last_writer: None, detail: None, remembered: false })
    }

    fn found(&self, id: &ObjectId, digest: &str) -> Option<&Verdict> {
        self.verdicts.get(id).filter(|verdict| !verdict.drifted && verdict.left.is_none() && verdict.digest == digest)
    }
}

/// Whether the health of an object is another one. Counts in a message go up and down all the time: what is waited for is the
/// status, and why it is so.
fn is_other(old: &Shown, new: &Shown) -> bool {
    let plain = |health: Option<&Health>| health.map(|h| (h.status, h.reason.clone()));
    let of = |shown: &Shown| {
        let special: Vec<_> = shown.judged_for.iter().map(|(sync, h)| (sync.clone(), plain(Some(h)))).collect();
        (plain(shown.health.as_deref()), special)
    };
    old.live.uid != new.live.uid || of(old) != of(new)
}

#[cfg(test)]
mod tests;
