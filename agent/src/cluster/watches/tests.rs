use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use towline_plan::letting::Letting;

use super::super::discovery::tests::served;
use super::*;

fn drift(sync: SyncKey) -> Moved {
    Moved { sync, what: Movement::Drift }
}

#[test]
fn a_change_that_overtakes_the_answer_of_an_apply_is_drift() {
    let (moved, mut drifted) = mpsc::unbounded_channel();
    let watches = Watches::new(Tasks::new(), Shutdown::new(), moved);
    let sync = SyncKey { namespace: "ns".to_owned(), name: "s".to_owned() };
    let id = ObjectId { kind: GroupKind::new("", "ConfigMap"), namespace: Some("ns".into()), name: "c".into() };
    let live = |version: &str, fingerprint| Live {
        uid: "u".to_owned(),
        resource_version: version.to_owned(),
        fingerprint,
        owner: Some(sync.clone()),
        applied: true,
        letting: Letting::Late,
        deleting: false,
        left_alone: false,
        last_writer: None,
    };
    let scope = watches.scope_of(&id);
    locked(&watches.watched).applied(&scope, id.clone(), Shown::plain(live("10", 1)));
    watches.remember(&sync, &id, "d", &live("10", 1));
    assert!(drifted.try_recv().is_err(), "the watch shows what was applied");
    watches.remember(&sync, &id, "d", &live("11", 2));
    assert!(drifted.try_recv().is_err(), "the watch is behind");
    locked(&watches.watched).forget(&id);
    locked(&watches.watched).applied(&scope, id.clone(), Shown::plain(live("13", 3)));
    watches.remember(&sync, &id, "d", &live("12", 2));
    assert_eq!(drifted.try_recv(), Ok(drift(sync.clone())));
}

fn sync(name: &str) -> SyncKey {
    SyncKey { namespace: "ns".to_owned(), name: name.to_owned() }
}

fn kind() -> GroupKind {
    GroupKind::new("a.test", "Widget")
}

fn scope() -> Scope {
    Scope { kind: kind(), namespace: None, name: None }
}

/// A cluster that answers requests one after the other, and then no more.
async fn cluster(answers: Vec<(u16, String)>) -> Cluster {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    Tasks::new().spawn("api server", WhenItEnds::IsFine, async move {
        for (code, body) in answers {
            let (mut stream, _) = listener.accept().await?;
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await?);
            }
            let head = "content-type: application/json\r\nconnection: close\r\ncontent-length:";
            let answer = format!("HTTP/1.1 {code} -\r\n{head} {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await?;
        }
        // Watches begin and say nothing.
        std::future::pending::<Result<(), std::io::Error>>().await
    });
    Cluster::new(kube::Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap(), Default::default())
}

async fn until(listing: &mut watch::Receiver<Listing>, is: impl Fn(&Listing) -> bool) -> Listing {
    let found = tokio::time::timeout(std::time::Duration::from_secs(30), listing.wait_for(|l| is(l))).await;
    found.unwrap().unwrap().clone()
}

#[tokio::test]
async fn a_kind_that_may_not_be_listed_says_so_until_it_may() {
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403, "reason": "Forbidden",
        "message": "widgets is forbidden", "metadata": {},
    });
    let list = serde_json::json!({
        "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": "7"},
        "items": [],
    });
    let cluster = cluster(vec![(403, status.to_string()), (200, list.to_string())]).await;
    let (moved, mut drifted) = mpsc::unbounded_channel();
    let watches = Watches::new(Tasks::new(), Shutdown::new(), moved);
    let served = served(&[("a.test", "v1", "Current", "Widget")]);
    let mut listing = watches.ensure(&cluster, &served, &sync("a"), &scope()).unwrap();
    let seen = until(&mut listing, |l| *l != Listing::NotYet).await;
    assert_eq!(seen, Listing::Failed("widgets is forbidden".to_owned()));
    assert_eq!(watches.failure(&scope()).as_deref(), Some("widgets is forbidden"));
    watches.tell_when_listed(&scope(), &sync("a"));
    assert!(drifted.try_recv().is_err());
    until(&mut listing, |l| *l == Listing::Listed).await;
    assert_eq!((drifted.recv().await, watches.failure(&scope())), (Some(drift(sync("a"))), None));
    watches.tell_when_listed(&scope(), &sync("b"));
    assert_eq!(drifted.try_recv(), Ok(drift(sync("b"))), "it is complete already");
}

#[tokio::test]
async fn a_watch_moves_to_another_version_when_its_own_goes_and_ends_with_its_kind() {
    let cluster = cluster(Vec::new()).await;
    let (moved, mut drifted) = mpsc::unbounded_channel();
    let watches = Watches::new(Tasks::new(), Shutdown::new(), moved);
    let old = served(&[("a.test", "v1alpha1", "Current", "Widget")]);
    let first = watches.ensure(&cluster, &old, &sync("waits"), &scope()).unwrap();
    let same = |a: &watch::Receiver<Listing>, b: &watch::Receiver<Listing>| a.same_channel(b);
    assert!(same(&first, &watches.ensure(&cluster, &old, &sync("waits"), &scope()).unwrap()));
    watches.tell_when_listed(&scope(), &sync("waits"));

    let new = served(&[("a.test", "v1", "Current", "Widget")]);
    let second = watches.ensure(&cluster, &new, &sync("waits"), &scope()).unwrap();
    assert!(!same(&first, &second), "its version is gone");
    assert!(
        same(&second, &watches.ensure(&cluster, &old, &sync("waits"), &scope()).unwrap()),
        "an older answer takes nothing back"
    );
    let stale = served(&[("a.test", "v1", "Stale", "Widget")]);
    assert!(
        same(&second, &watches.ensure(&cluster, &stale, &sync("waits"), &scope()).unwrap()),
        "of it nothing is known"
    );

    let live = Live {
        uid: "u".to_owned(),
        resource_version: "1".to_owned(),
        fingerprint: 1,
        owner: Some(sync("owns")),
        applied: true,
        letting: Letting::Late,
        deleting: false,
        left_alone: false,
        last_writer: None,
    };
    let id = ObjectId { kind: kind(), namespace: None, name: "w".to_owned() };
    watches.remember(&sync("owns"), &id, "d", &live);
    watches.end(&kind());
    assert_eq!((drifted.try_recv(), drifted.try_recv()), (Ok(drift(sync("owns"))), Ok(drift(sync("waits")))));
    assert!(watches.kinds().is_empty() && watches.ensure(&cluster, &served(&[]), &sync("waits"), &scope()).is_none());
}

#[tokio::test]
async fn a_watch_ends_with_its_last_user() {
    let cluster = cluster(Vec::new()).await;
    let (moved, _drifted) = mpsc::unbounded_channel();
    let watches = Watches::new(Tasks::new(), Shutdown::new(), moved);
    let served = served(&[("a.test", "v1", "Current", "Widget"), ("a.test", "v1", "Current", "Gadget")]);
    let gadgets = Scope { kind: GroupKind::new("a.test", "Gadget"), ..scope() };
    let mut ends = Vec::new();
    for (name, scope) in [("a", scope()), ("b", scope()), ("b", gadgets.clone())] {
        watches.ensure(&cluster, &served, &sync(name), &scope).unwrap();
    }
    for ((_, scope), running) in &locked(&watches.shared.registry).running {
        ends.push((scope.clone(), running.stop.clone()));
    }
    let ended = |of: &Scope| ends.iter().any(|(scope, stop)| scope == of && stop.is_requested());
    watches.keep(&sync("a"), &BTreeSet::new());
    assert_eq!(watches.kinds().len(), 2, "the other needs it");
    watches.keep(&sync("b"), &BTreeSet::from([scope()]));
    assert!(ended(&gadgets) && !ended(&scope()) && watches.kinds().len() == 1);
    watches.keep(&sync("b"), &BTreeSet::from([scope()]));
    watches.forget_sync(&sync("b"));
    assert!(ended(&scope()) && watches.kinds().is_empty());
    let registry = locked(&watches.shared.registry);
    assert!(registry.uses.is_empty(), "nothing is left of either");
}

#[tokio::test]
async fn each_identity_has_watches_and_an_index_of_its_own() {
    let cluster = cluster(Vec::new()).await;
    let (moved, mut told) = mpsc::unbounded_channel();
    let watches = Watches::new(Tasks::new(), Shutdown::new(), moved);
    let served = served(&[("a.test", "v1", "Current", "Widget")]);
    let account = Identity::Account { namespace: "ns".to_owned(), name: "deployer".to_owned() };
    let theirs = watches.acting_as(&account);
    let id = ObjectId { kind: kind(), namespace: Some("ns".to_owned()), name: "w".to_owned() };
    assert_eq!(theirs.scope_of(&id).to_string(), "Widget.a.test in ns");
    for (watches, name) in [(&watches, "agents"), (&theirs, "accounts")] {
        watches.ensure(&cluster, &served, &sync(name), &watches.scope_of(&id)).unwrap();
    }
    assert_eq!(locked(&watches.shared.registry).running.len(), 2);
    let live = Live {
        uid: "u".to_owned(),
        resource_version: "1".to_owned(),
        fingerprint: 1,
        owner: Some(sync("accounts")),
        applied: true,
        letting: Letting::Late,
        deleting: false,
        left_alone: false,
        last_writer: None,
    };
    theirs.remember(&sync("accounts"), &id, "d", &live);
    locked(&theirs.watched).applied(&theirs.scope_of(&id), id.clone(), Shown::plain(live));
    let again = watches.acting_as(&account);
    assert!(locked(&again.watched).clean(&id, "d").is_some(), "the index is kept while something runs for it");
    assert!(locked(&watches.watched).live(&id).is_none());

    // The Sync acts as the agent from now on: what the account saw of it is forgotten.
    watches.ensure(&cluster, &served, &sync("accounts"), &watches.scope_of(&id)).unwrap();
    watches.keep(&sync("accounts"), &BTreeSet::from([watches.scope_of(&id)]));
    assert!(locked(&again.watched).clean(&id, "d").is_none());
    assert_eq!(locked(&watches.shared.registry).running.len(), 1);
    drop((theirs, again));
    let _ = watches.acting_as(&Identity::Agent);
    // The task of the watch that was stopped may hold it for a moment yet.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    let _ = watches.acting_as(&Identity::Agent);
    assert_eq!(locked(&watches.shared.indexes).len(), 1);
    assert!(told.try_recv().is_err());

    // Who watches an object by name is told when it moves.
    let named = Scope::named(&id);
    watches.ensure(&cluster, &served, &sync("agents"), &named).unwrap();
    watches.tell(&named, News { named: true, ..News::default() }, BTreeSet::new());
    assert_eq!(told.try_recv(), Ok(Moved { sync: sync("agents"), what: Movement::Progress }));
}
