//! What the verification at the interval costs: one list for each kind, and no question about any object.

use harness::wait_until;
use serde_json::json;

use crate::world::{PATIENCE, World};

const OBJECTS: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_verification_costs_one_list_for_each_kind() {
    let (world, proxy) = World::behind("verify").await;
    let namespace = &world.namespace;
    let account =
        |n: usize| format!("apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: s{n}, namespace: {namespace}}}\n");
    let objects = (0..OBJECTS).map(|n| world.config_map(&format!("c{n}"), "1") + "---\n" + &account(n));
    let all = objects.collect::<Vec<_>>().join("---\n");
    let commit = world.repo.commit(&[("all.yaml", &all)]).await.unwrap();
    world.sync_with(json!({}), json!({"interval": "4s"})).await;
    world.ready_at(&commit).await;

    let mark = proxy.mark();
    let lists = |resource: &str| proxy.since(mark, |seen| seen.is("list", resource));
    wait_until("three verifications", PATIENCE, async || match lists("configmaps").len() {
        seen if seen >= 3 => Ok(()),
        seen => Err(format!("{seen} lists")),
    })
    .await
    .unwrap();
    // Those of a verification go out together: the last may be under way.
    let (maps, accounts) = (lists("configmaps").len(), lists("serviceaccounts").len());
    assert!(maps.abs_diff(accounts) <= 1, "{maps} lists of one kind, {accounts} of the other");
    let of_objects = |resource: &str| ["configmaps", "serviceaccounts"].contains(&resource);
    let asked = proxy.since(mark, |seen| of_objects(&seen.resource) && !["list", "watch"].contains(&seen.verb));
    assert!(asked.is_empty(), "{} questions about objects, the first: {}", asked.len(), asked[0]);
}
