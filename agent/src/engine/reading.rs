//! Reads what came to this replica, as a job beside the loop.

use std::collections::BTreeSet;

use futures::StreamExt as _;
use tokio::sync::mpsc;
use towline_daemon::error::chain;
use towline_plan::object::SyncKey;

use super::depends::source as source_of;
use super::members::{Read, ReadSync};
use super::{Event, SourceKey, caught};
use crate::api::{GitSource, Sync};
use crate::cluster::{CONCURRENT_REQUESTS, Cluster};

/// Asks the API server itself, not its cache: what another replica wrote last is in the answer.
pub(super) async fn read(read: Read, cluster: Cluster, events: mpsc::Sender<Event>) {
    let Read { number, syncs } = read;
    let keys = syncs.clone();
    let (syncs, sources) = caught(ask(syncs, cluster)).await.unwrap_or_else(|problem| {
        let unread = keys.into_iter().map(|key| (key, Err(problem.clone())));
        (unread.collect(), Vec::new())
    });
    let _ = events.send(Event::Read { number, syncs, sources }).await;
}

async fn ask(syncs: Vec<SyncKey>, cluster: Cluster) -> (Vec<ReadSync>, Vec<GitSource>) {
    let cluster = &cluster;
    let questions: Vec<_> = syncs.into_iter().map(|key| read_sync(cluster, key)).collect();
    let mut syncs: Vec<ReadSync> = futures::stream::iter(questions).buffered(CONCURRENT_REQUESTS).collect().await;
    let keys: BTreeSet<SourceKey> = syncs.iter().filter_map(|(_, read)| found(read)).map(source_of).collect();
    let questions: Vec<_> = keys.into_iter().map(|key| read_source(cluster, key)).collect();
    let answers: Vec<_> = futures::stream::iter(questions).buffered(CONCURRENT_REQUESTS).collect().await;
    let mut sources = Vec::new();
    for (key, answer) in answers {
        match answer {
            Ok(source) => sources.extend(source),
            Err(error) => {
                let of_it = syncs.iter_mut().filter(|(_, read)| found(read).is_some_and(|sync| source_of(sync) == key));
                of_it.for_each(|(_, read)| *read = Err(error.clone()));
            }
        }
    }
    (syncs, sources)
}

fn found(read: &Result<Option<Box<Sync>>, String>) -> Option<&Sync> {
    read.as_ref().ok()?.as_deref()
}

async fn read_sync(cluster: &Cluster, key: SyncKey) -> ReadSync {
    let answer = cluster.read::<Sync>(&key.namespace, &key.name).await;
    (key, answer.map(|sync| sync.map(Box::new)).map_err(|error| chain(&error)))
}

async fn read_source(cluster: &Cluster, key: SourceKey) -> (SourceKey, Result<Option<GitSource>, String>) {
    let answer = cluster.read::<GitSource>(&key.namespace, &key.name).await;
    (key, answer.map_err(|error| chain(&error)))
}
