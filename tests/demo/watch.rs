//! What the API server shows, with the time of each sight: the proof of every step. A watch of its own, so that the agent
//! is not its own witness. Knows kinds and objects; must not know what a scene waits for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use harness::{Failure, wait_until};
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::task::JoinSet;

/// Patience with a machine that is busy; nothing here takes a second on an idle one.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An object as it was seen, or that it was seen to be gone.
#[derive(Debug, Clone)]
pub(crate) struct Sight {
    pub(crate) at: Timestamp,
    pub(crate) gone: bool,
    pub(crate) kind: String,
    pub(crate) object: DynamicObject,
}

impl Sight {
    pub(crate) fn is(&self, kind: &str, name: &str) -> bool {
        self.kind == kind && self.object.name_any() == name
    }

    /// A field by JSON pointer, below the metadata.
    pub(crate) fn field(&self, pointer: &str) -> Option<&serde_json::Value> {
        self.object.data.pointer(pointer)
    }
}

/// Everything seen so far, in the order in which it came.
#[derive(Clone, Default)]
struct Sights(Arc<Mutex<Vec<Sight>>>);

impl Sights {
    fn lock(&self) -> MutexGuard<'_, Vec<Sight>> {
        // A list of sights is valid after each push.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Running watches; they end when this is dropped.
#[derive(Default)]
pub(crate) struct Window {
    sights: Sights,
    tasks: JoinSet<()>,
}

impl Window {
    /// Watches a kind in a namespace, which need not exist yet.
    pub(crate) fn open(&mut self, client: &kube::Client, namespace: &str, resource: &ApiResource) {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, resource);
        let (sights, kind) = (self.sights.clone(), resource.kind.clone());
        self.tasks.spawn(async move {
            let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
            while let Some(event) = events.next().await {
                let (gone, object) = match event {
                    Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => (false, object),
                    Ok(watcher::Event::Delete(object)) => (true, object),
                    // A watch that fails is tried again; a step that it should have seen runs into its deadline.
                    Ok(watcher::Event::Init | watcher::Event::InitDone) | Err(_) => continue,
                };
                sights.lock().push(Sight { at: Timestamp::now(), gone, kind: kind.clone(), object });
            }
        });
    }

    /// The place in the list from which on something new is waited for.
    pub(crate) fn now(&self) -> usize {
        self.sights.lock().len()
    }

    /// The first sight from a place on that fits, and the place after it.
    pub(crate) async fn wait(
        &self,
        what: &str,
        from: usize,
        fits: impl Fn(&Sight) -> bool,
    ) -> Result<(Sight, usize), Failure> {
        wait_until(&format!("the API server shows {what}"), PATIENCE, async || {
            let sights = self.sights.lock();
            let found = sights.iter().enumerate().skip(from).find(|(_, sight)| fits(sight));
            match found {
                Some((place, sight)) => Ok((sight.clone(), place + 1)),
                None => Err(last(&sights[from.min(sights.len())..])),
            }
        })
        .await
    }
}

fn last(sights: &[Sight]) -> String {
    let line = |sight: &Sight| {
        let what = if sight.gone { "gone" } else { "there" };
        format!("{} {} {what} at {}", sight.kind, sight.object.name_any(), sight.at)
    };
    let newest: Vec<String> = sights.iter().rev().take(5).map(line).collect();
    if newest.is_empty() { "nothing new".to_owned() } else { newest.join("; ") }
}
