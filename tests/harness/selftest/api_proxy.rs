//! The proxy in front of the API server, tried: what it sees, and each of its faults.

use std::time::Duration;

use futures::StreamExt as _;
use harness::api_proxy::{ApiProxy, Fault, WatchEnd};
use harness::control_plane::{self, identities::client_from};
use harness::wait_until;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;

use crate::SOON;

async fn through(name: &str) -> (ApiProxy, Api<ConfigMap>) {
    let plane = control_plane::shared().await;
    let namespace = plane.namespace(name).await.unwrap();
    let proxy = ApiProxy::to(plane).await.unwrap();
    let client = client_without_retries(&proxy).await;
    (proxy, Api::namespaced(client, &namespace))
}

/// kube's client tries 429, 503 and 504 again by itself unless told not to.
async fn client_without_retries(proxy: &ApiProxy) -> kube::Client {
    // Installs the provider; the client itself is not used.
    client_from(proxy.kubeconfig()).await.unwrap();
    let file = kube::config::Kubeconfig::read_from(proxy.kubeconfig()).unwrap();
    let mut config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await.unwrap();
    config.default_retry = false;
    kube::Client::try_from(config).unwrap()
}

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"key": "value"}})).unwrap()
}

fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        other => panic!("no answer of the API: {other}"),
    }
}

#[tokio::test]
async fn every_request_is_seen_as_what_it_is() {
    let (proxy, maps) = through("proxy-sees").await;
    maps.create(&PostParams::default(), &map("a")).await.unwrap();
    maps.get("a").await.unwrap();
    maps.list(&ListParams::default()).await.unwrap();
    let change = Patch::Merge(json!({"data": {"key": "other"}}));
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    maps.patch("a", &dry, &change).await.unwrap();
    assert_eq!(maps.get("a").await.unwrap().data.unwrap()["key"], "value");
    let exactly = Patch::Merge(json!({"metadata": {"uid": "u", "resourceVersion": "1"}}));
    assert_eq!(code(&maps.patch("a", &dry, &exactly).await.unwrap_err()), 409);
    let of_patches = proxy.since(0, |seen| seen.verb == "patch").into_iter().map(|seen| seen.meant);
    assert_eq!(of_patches.collect::<Vec<_>>(), [(None, None), (Some("u".to_owned()), Some("1".to_owned()))]);
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    let seen = proxy.seen();
    let verbs: Vec<_> = seen.iter().map(|seen| (seen.verb, seen.name.as_deref(), seen.dry_run)).collect();
    assert_eq!(
        verbs,
        [
            ("create", None, false),
            ("get", Some("a"), false),
            ("list", None, false),
            ("patch", Some("a"), true),
            ("get", Some("a"), false),
            ("patch", Some("a"), true),
            ("delete", Some("a"), false),
        ]
    );
    assert!(seen.iter().all(|seen| seen.resource == "configmaps" && seen.namespace.is_some()), "{seen:?}");
    let mark = proxy.mark();
    maps.get_opt("a").await.unwrap();
    assert_eq!(proxy.since(mark, |seen| seen.is("get", "configmaps")).len(), 1);
    assert_eq!(proxy.since(mark, |seen| seen.verb == "watch").len(), 0);
}

#[tokio::test]
async fn faults_are_for_what_matches_and_for_as_often_as_asked() {
    let (proxy, maps) = through("proxy-faults").await;
    let twice = proxy.times(2, Fault::Status(429, Some(1)), |seen| seen.verb == "create");
    assert_eq!(code(&maps.create(&PostParams::default(), &map("a")).await.unwrap_err()), 429);
    maps.list(&ListParams::default()).await.unwrap();
    assert_eq!(code(&maps.create(&PostParams::default(), &map("a")).await.unwrap_err()), 429);
    maps.create(&PostParams::default(), &map("a")).await.unwrap();
    assert_eq!(twice.hits(), 2);

    let on = proxy.while_on(Fault::Status(500, None), |seen| seen.verb == "get");
    for _ in 0..3 {
        assert_eq!(code(&maps.get("a").await.unwrap_err()), 500);
    }
    on.end();
    maps.get("a").await.unwrap();

    let dropped = proxy.times(1, Fault::Drop, |seen| seen.verb == "delete");
    assert!(maps.delete("a", &DeleteParams::default()).await.is_err());
    assert_eq!(dropped.hits(), 1);
    maps.get("a").await.unwrap();

    let lost = proxy.times(1, Fault::LoseAnswer, |seen| seen.verb == "delete");
    assert!(maps.delete("a", &DeleteParams::default()).await.is_err());
    assert_eq!((lost.hits(), maps.get_opt("a").await.unwrap()), (1, None), "the server did it");
}

#[tokio::test]
async fn a_request_that_hangs_is_answered_by_nobody_until_the_fault_is_over() {
    let (proxy, maps) = through("proxy-hang").await;
    let hang = proxy.while_on(Fault::Hang, |seen| seen.verb == "get");
    let mut asked = std::pin::pin!(maps.get_opt("a"));
    tokio::select! {
        answer = &mut asked => panic!("somebody answered: {answer:?}"),
        () = hang.committed(1, SOON) => {}
    }
    maps.list(&ListParams::default()).await.unwrap();
    hang.end();
    assert!(asked.await.is_err(), "the connection breaks");
    assert!(maps.get_opt("a").await.unwrap().is_none());

    let hold = proxy.while_on(Fault::Hold, |seen| seen.verb == "create");
    let (parameters, map) = (PostParams::default(), map("a"));
    let mut created = std::pin::pin!(maps.create(&parameters, &map));
    tokio::select! {
        answer = &mut created => panic!("somebody answered: {answer:?}"),
        () = hold.committed(1, SOON) => {}
    }
    assert!(maps.get_opt("a").await.unwrap().is_none());
    hold.end();
    created.await.unwrap();
}

#[tokio::test]
async fn watches_are_counted_and_end_as_asked() {
    let (proxy, maps) = through("proxy-watch").await;
    let running = async |wanted: usize| {
        wait_until(&format!("{wanted} watches run"), SOON, async || {
            let seen = proxy.watches();
            if seen == wanted { Ok(()) } else { Err(seen.to_string()) }
        })
        .await
        .unwrap();
    };
    for how in [WatchEnd::Close, WatchEnd::Cut, WatchEnd::Expired] {
        let name = format!("{how:?}").to_lowercase();
        let list = maps.list(&ListParams::default()).await.unwrap();
        let version = list.metadata.resource_version.unwrap();
        let watching = maps.clone();
        // Of this one alone: the controller manager puts one of its own into each new namespace.
        let ours = WatchParams::default().fields(&format!("metadata.name={name}"));
        let mut events = Box::pin(watching.watch(&ours, &version).await.unwrap());
        maps.create(&PostParams::default(), &map(&name)).await.unwrap();
        let first = tokio::time::timeout(SOON, events.next()).await.unwrap();
        assert!(matches!(first, Some(Ok(WatchEvent::Added(_)))), "{first:?}");
        running(1).await;
        proxy.end_watches(how);
        let end = tokio::time::timeout(SOON, events.next()).await.unwrap();
        match how {
            WatchEnd::Close => assert!(end.is_none(), "{end:?}"),
            WatchEnd::Cut => assert!(!matches!(end, Some(Ok(_))), "{end:?}"),
            WatchEnd::Expired => assert!(matches!(&end, Some(Ok(WatchEvent::Error(e))) if e.code == 410), "{end:?}"),
        }
        drop(events);
        running(0).await;
    }
    let _expired = proxy.times(1, Fault::Expired, |seen| seen.verb == "watch");
    let mut events = Box::pin(maps.watch(&WatchParams::default(), "1").await.unwrap());
    let first = tokio::time::timeout(SOON, events.next()).await.unwrap();
    assert!(matches!(&first, Some(Ok(WatchEvent::Error(e))) if e.code == 410), "{first:?}");
}

#[tokio::test]
async fn quiet_is_when_nothing_that_counts_comes() {
    let (proxy, maps) = through("proxy-quiet").await;
    maps.list(&ListParams::default()).await.unwrap();
    let second = Duration::from_secs(1);
    proxy.quiet(second, SOON, |_| true).await.unwrap();
    let noise = async {
        let mut tick = tokio::time::interval(second / 10);
        loop {
            tick.tick().await;
            let _ = maps.get_opt("a").await;
        }
    };
    let quiet = async {
        let failure = proxy.quiet(10 * second, 2 * second, |_| true).await.unwrap_err().to_string();
        assert!(failure.contains("get /api/v1/namespaces/proxy-quiet"), "{failure}");
        proxy.quiet(second, SOON, |seen| seen.verb == "list").await.unwrap();
    };
    tokio::select! {
        () = noise => {}
        () = quiet => {}
    }
}
