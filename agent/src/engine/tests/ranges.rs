//! Sources that follow a range of versions.

use serde_json::json;

use super::world::{World, commit, fetch, interest, key, pass, words, write};
use crate::bus::BusEvent;
use crate::cluster::{Change, ResourceEvent};
use crate::engine::{Brought, Event};
use crate::pass::End;
use crate::signature::Verified;

#[tokio::test]
async fn of_a_range_the_tag_that_was_found_names_the_revision() {
    let mut world = World::new();
    let source = world.source("s", json!({"ref": {"branch": null, "semver": "1.x"}}));
    let sync = world.sync("a", "s", json!({}));
    world.handle(Event::Resource(ResourceEvent::Source(None, Change::Listed(vec![source]))));
    world.handle(Event::Resource(ResourceEvent::Sync(None, Change::Listed(vec![sync]))));
    let actions = world.handle(Event::Resource(ResourceEvent::Inventory(None, Change::Listed(Vec::new()))));
    let first = world.answer(write(&actions));
    let brought = |world: &World, tag: &str, n| {
        let (mirror, tag) = (world.mirror(), Some(tag.to_owned()));
        Ok(Brought { mirror, verified: Verified::for_test(commit(n)), tag })
    };
    let result = brought(&world, "v1.0.0", 1);
    world.handle(Event::Fetched { source: key("s"), number: fetch(&actions).number, result });
    let actions = world.handle(first);
    let actions = world.written(&actions);
    assert_eq!(pass(&actions).pass.revision.name, format!("v1.0.0@sha1:{}", commit(1)));
    world.passed(&actions, End::Succeeded);

    // Only tags of the range make it look, and that some may have been missed.
    let woken = |name: &str| {
        let (repository, reference) = (interest("s").repository.token(), name.parse().unwrap());
        Event::Bus(BusEvent::Woken { repository, reference, event: None, undecodable: None })
    };
    for name in ["refs/heads/main", "refs/tags/v2.0.0", "refs/tags/latest", "refs/tags/v1.1.0-rc.1"] {
        assert!(world.handle(woken(name)).is_empty(), "{name}");
    }
    let actions = world.handle(woken("refs/tags/v1.0.1"));
    // Another tag on the same commit is another revision.
    let result = brought(&world, "v1.0.1", 1);
    let actions = world.handle(Event::Fetched { source: key("s"), number: fetch(&actions).number, result });
    let actions = world.written(&actions);
    assert_eq!(pass(&actions).pass.revision.name, format!("v1.0.1@sha1:{}", commit(1)));
    world.passed(&actions, End::Succeeded);
    assert_eq!(words(&world.handle(woken("refs/tags"))), ["fetch s"]);
}
