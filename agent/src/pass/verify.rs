//! Verifies what is remembered without asking about each object: at the interval, one LIST for each watch that is relied upon.
//!
//! Knows lists and the watches' index. Must not know what follows for an object: what is not as it was found is judged anew.

use std::collections::BTreeSet;

use futures::StreamExt as _;
use towline_plan::watched::Scope;

use super::{Context, Pass};
use crate::cluster::{CONCURRENT_REQUESTS, Served, locked};

/// Compares every verdict of the Sync with what the cluster has now. Of what cannot be listed nothing is remembered any more.
pub(super) async fn verify(cx: &Context, pass: &Pass, served: &Served, scopes: &BTreeSet<Scope>) {
    let lists: Vec<_> = scopes
        .iter()
        .map(|scope| async move { (scope, cx.cluster.list_scope(served, &pass.key, scope).await) })
        .collect();
    let mut lists = futures::stream::iter(lists).buffer_unordered(CONCURRENT_REQUESTS);
    while let Some((scope, listed)) = lists.next().await {
        let mut watched = locked(&cx.watches.watched);
        match listed {
            Ok(objects) => watched.verify(&pass.key, scope, objects.iter().map(|(id, live)| (id, live))),
            Err(error) => {
                tracing::debug!(%scope, error = %towline_daemon::error::chain(&error), "each object is asked about");
                watched.forget_scope(&pass.key, scope);
            }
        }
    }
}
