//! Kubernetes Events about our objects: the same words again become a count, other words another Event.
//!
//! kube's own recorder counts by reason: a second mistake would hide behind the words of the first. Must not know what is
//! worth an Event.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::ObjectMeta;
use serde_json::json;
use towline_proto::CommitInfo;

use super::{Cluster, RequestError, bounded, locked};

/// The longest note an Event takes (events.k8s.io/v1: 1 kB).
const NOTE_BYTES_MAX: usize = 1_000;
/// Words not repeated for this long are another Event when they come again (as in client-go).
const REPEATS: SignedDuration = SignedDuration::from_mins(6);
/// Words remembered at most: more different ones within six minutes are nothing a person reads.
const WORDS_MAX: usize = 1_000;
const REPORTER: &str = "towline-agent";

/// What an Event tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    Normal,
    Warning,
}

/// What is said, and of which object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Words {
    about: String,
    kind: EventKind,
    reason: String,
    note: String,
}

/// What was said lately.
#[derive(Debug, Clone, Default)]
pub(super) struct Said(Arc<Mutex<HashMap<Words, Told>>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    /// The Event's name.
    name: String,
    times: i32,
    at: Timestamp,
}

impl Said {
    /// Counts what is about to be said. `name` is what its Event would be called if these words are new.
    fn count(&self, words: &Words, name: &str, now: Timestamp) -> Told {
        let mut said = locked(&self.0);
        said.retain(|_, told| now.duration_since(told.at) < REPEATS);
        let mut told = said.remove(words).unwrap_or(Told { name: name.to_owned(), times: 0, at: now });
        told.times = told.times.saturating_add(1);
        told.at = now;
        if said.len() < WORDS_MAX {
            said.insert(words.clone(), told.clone());
        }
        told
    }

    fn forget(&self, words: &Words) {
        locked(&self.0).remove(words);
    }
}

impl Cluster {
    /// Publishes a Kubernetes Event about one of our objects. One that cannot be published is only logged. Whose change it is about
    /// stands in its annotations.
    pub async fn announce<K>(&self, object: &K, kind: EventKind, reason: &str, note: &str, change: Option<&CommitInfo>)
    where
        K: kube::Resource<DynamicType = ()>,
    {
        let about = kube::Resource::object_ref(object, &());
        let words = Words {
            about: about.uid.clone().unwrap_or_default(),
            kind,
            reason: reason.to_owned(),
            note: bounded_note(note).to_owned(),
        };
        if let Err(error) = self.tell(&words, about, change).await {
            tracing::warn!(error = %towline_daemon::error::chain(&error), reason, "failed to publish an Event");
        }
    }

    async fn tell(
        &self,
        words: &Words,
        about: ObjectReference,
        change: Option<&CommitInfo>,
    ) -> Result<(), RequestError> {
        let now = Timestamp::now();
        let name = format!("{}.{:x}", about.name.as_deref().unwrap_or(REPORTER), now.as_nanosecond());
        let events: Api<Event> = Api::namespaced(self.client.clone(), about.namespace.as_deref().unwrap_or("default"));
        let told = self.said.count(words, &name, now);
        if told.times > 1 {
            let series = json!({ "series": { "count": told.times, "lastObservedTime": MicroTime(now) } });
            let (params, patch) = (PatchParams::default(), Patch::Merge(series));
            let request = events.patch(&told.name, &params, &patch);
            match bounded(|| "counting an Event".to_owned(), request).await {
                // It has expired, or was deleted: told anew.
                Err(error) if error.is_not_found() => {}
                answer => return answer.map(drop),
            }
        }
        let mut event = event(words, about, name, now);
        event.metadata.annotations = change.map(annotations);
        let answer = bounded(|| "publishing an Event".to_owned(), events.create(&PostParams::default(), &event)).await;
        if answer.is_err() || told.times > 1 {
            // What the server does not have cannot be counted.
            self.said.forget(words);
        }
        answer.map(drop)
    }
}

fn event(words: &Words, about: ObjectReference, name: String, now: Timestamp) -> Event {
    let kind = match words.kind {
        EventKind::Normal => "Normal",
        EventKind::Warning => "Warning",
    };
    Event {
        metadata: ObjectMeta { name: Some(name), namespace: about.namespace.clone(), ..ObjectMeta::default() },
        action: Some("Reconcile".to_owned()),
        reason: Some(words.reason.clone()),
        note: Some(words.note.clone()),
        type_: Some(kind.to_owned()),
        event_time: Some(MicroTime(now)),
        regarding: Some(about),
        reporting_controller: Some(REPORTER.to_owned()),
        reporting_instance: Some(REPORTER.to_owned()),
        ..Event::default()
    }
}

/// As the reports have it; all of it is bounded there.
fn annotations(change: &CommitInfo) -> BTreeMap<String, String> {
    let parents: Vec<String> = change.parents.iter().map(ToString::to_string).collect();
    let all = [
        ("id", change.id.to_string()),
        ("author", change.author.clone()),
        ("committer", change.committer.clone()),
        ("subject", change.subject.clone()),
        ("parents", parents.join(" ")),
        ("signers", change.signers.join("; ")),
    ];
    let told = all.into_iter().filter(|(_, value)| !value.is_empty());
    told.map(|(key, value)| (format!("towline.dev/commit-{key}"), value)).collect()
}

/// Cut at a character.
fn bounded_note(note: &str) -> &str {
    let mut end = note.len().min(NOTE_BYTES_MAX);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    &note[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_words_are_counted_and_others_are_not() {
        let said = Said::default();
        let words = |note: &str| Words {
            about: "uid".to_owned(),
            kind: EventKind::Warning,
            reason: "BuildFailed".to_owned(),
            note: note.to_owned(),
        };
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let told = |note, name, now| {
            let told = said.count(&words(note), name, at(now));
            (told.name, told.times)
        };
        assert_eq!(told("a.yaml:1", "first", 0), ("first".to_owned(), 1));
        assert_eq!(told("b.yaml:2", "second", 1), ("second".to_owned(), 1));
        assert_eq!(told("a.yaml:1", "third", 2), ("first".to_owned(), 2));
        assert_eq!(told("a.yaml:1", "fourth", 2 + 360), ("fourth".to_owned(), 1), "long ago");
        said.forget(&words("a.yaml:1"));
        assert_eq!(told("a.yaml:1", "fifth", 363), ("fifth".to_owned(), 1));
    }
}
