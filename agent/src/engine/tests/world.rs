//! An engine with a mirror that holds nothing and a client that is never used.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tempfile::TempDir;
use towline_daemon::shutdown::Shutdown;
use towline_daemon::tasks::Tasks;
use towline_plan::object::{GroupKind, ObjectId, SyncKey};
use towline_proto::{CommitEvent, CommitId, RefName, RepositoryId};

use crate::api::{GitSource, Inventory, ResourceExt as _, Sync};
use crate::bus::{BusEvent, Interest};
use crate::cluster::{Change, Cluster, Moved, Movement, ResourceEvent, Watches};
use crate::engine::{Action, Brought, Engine, Event, Moment, OpenMirror, fetching, passing, source, standing};
use crate::mirror::Mirror;
use crate::pass::{Context, End};
use crate::signature::Verified;

pub(super) struct World {
    pub engine: Engine,
    pub context: Context,
    pub now: Timestamp,
    mirror: OpenMirror,
    version: u64,
    /// What the API server has of each source's status.
    sources: BTreeMap<String, GitSource>,
    told: Vec<String>,
    _storage: TempDir,
}

/// What was decided, in words: `fetch s`, `write s`, `pass a`, `explain a`, `warn a`, `listen 1`, `bury a`.
pub(super) fn words(actions: &[Action]) -> Vec<String> {
    let word = |action: &Action| match action {
        Action::Fetch(job) => format!("fetch {}", job.source.name),
        Action::Recover { source, revision, .. } => format!("recover {} {}", source.name, revision.name),
        Action::WriteSource(write) => format!("write {}", write.source.name),
        Action::Tell(tell) => format!("tell {}", tell.source.name_any()),
        Action::Pass(job) => format!("pass {}", job.pass.key.name),
        Action::Explain(explanation) => format!("explain {}", explanation.sync.name_any()),
        Action::Stand(stand) => format!("stand {}", stand.sync.name_any()),
        Action::Warn(warning) => format!("warn {}", warning.sync.name_any()),
        Action::Listen(interests) => format!("listen {}", interests.len()),
        Action::WatchSecrets(wanted) => format!("watch {}", wanted.len()),
        Action::Release(inventory) => format!("release {}", inventory.name_any()),
        Action::Bury(sync) => format!("bury {}", sync.name_any()),
        Action::Read(read) => {
            let names: Vec<&str> = read.syncs.iter().map(|key| key.name.as_str()).collect();
            format!("read {}", names.join(" "))
        }
    };
    actions.iter().map(word).collect()
}

pub(super) fn key(name: &str) -> SyncKey {
    SyncKey { namespace: "ns".to_owned(), name: name.to_owned() }
}

/// An object of the Sync moved away from what Git says.
pub(super) fn drift(sync: SyncKey) -> Event {
    Event::Moved(Moved { sync, what: Movement::Drift })
}

/// No commit is all zeros.
pub(super) fn commit(n: u64) -> CommitId {
    CommitId::parse(&format!("{:040x}", n + 1)).unwrap()
}

pub(super) fn interest(repository: &str) -> Interest {
    let repository = RepositoryId::parse(&format!("git.example/org/{repository}")).unwrap();
    Interest { repository, reference: RefName::parse("refs/heads/main").unwrap(), below: false }
}

/// A commit event for a repository's main branch.
pub(super) fn woken(repository: &str, after: u64) -> Event {
    let Interest { repository, reference, .. } = interest(repository);
    let event = CommitEvent {
        version: CommitEvent::VERSION,
        repository: repository.clone(),
        reference: reference.clone(),
        before: None,
        after: Some(commit(after)),
        provider: "github".to_owned(),
        hook: "/hooks/github".to_owned(),
        delivery: format!("delivery-{after}"),
        received_at: Timestamp::UNIX_EPOCH,
        traceparent: None,
    };
    Event::Bus(BusEvent::Woken { repository: repository.token(), reference, event: Some(event), undecodable: None })
}

impl World {
    /// Nothing is listed yet. To be called inside a tokio runtime, which the client asks for and never uses.
    pub(super) fn new() -> Self {
        // The client wants a provider although it never connects; another test may have been first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let storage = tempfile::tempdir().unwrap();
        let mirror = OpenMirror(Mirror::open(storage.path(), "https://git.example/org/fleet").unwrap());
        let (drift, _) = tokio::sync::mpsc::unbounded_channel();
        let watches = Watches::new(Tasks::new(), Shutdown::new(), drift);
        let context = Context {
            cluster: Cluster::nowhere(),
            watches,
            claims: std::sync::Arc::default(),
            barrier: std::sync::Arc::default(),
            metrics: crate::metrics::Metrics::new(),
        };
        let engine = Engine::new(context.clone(), 3, None);
        let now = Timestamp::from_second(1_000_000).unwrap();
        Self {
            engine,
            context,
            now,
            mirror,
            version: 100,
            sources: BTreeMap::new(),
            told: Vec::new(),
            _storage: storage,
        }
    }

    /// Everything is listed: these sources and Syncs, and no inventory.
    pub(super) fn with(sources: &[&str], syncs: &[(&str, &str)]) -> (Self, Vec<Action>) {
        let mut world = Self::new();
        let sources = sources.iter().map(|name| world.source(name, json!({}))).collect();
        let syncs = syncs.iter().map(|(name, of)| world.sync(name, of, json!({}))).collect();
        world.handle(Event::Resource(ResourceEvent::Source(None, Change::Listed(sources))));
        world.handle(Event::Resource(ResourceEvent::Sync(None, Change::Listed(syncs))));
        let actions = world.handle(Event::Resource(ResourceEvent::Inventory(None, Change::Listed(Vec::new()))));
        (world, actions)
    }

    /// A source `s` with Sync `a`, at its first revision, with the first pass done.
    pub(super) fn settled() -> Self {
        let (mut world, actions) = Self::with(&["s"], &[("a", "s")]);
        let first = world.answer(write(&actions));
        world.fetched(&actions, 1);
        let actions = world.handle(first);
        let actions = world.written(&actions);
        assert_eq!(words(&actions), ["pass a"]);
        assert!(world.passed(&actions, End::Succeeded).is_empty());
        world
    }

    pub(super) fn handle(&mut self, event: Event) -> Vec<Action> {
        let mut actions = self.engine.handle(event, Moment { now: self.now, dice: 0.5 });
        for action in actions.extract_if(.., |action| matches!(action, Action::Tell(_))) {
            let Action::Tell(tell) = action else { continue };
            let note = crate::report::source_note(&tell.source, tell.about.as_deref(), tell.is_new).unwrap();
            let delivery = tell.delivery.as_deref().unwrap_or("-");
            self.told.push(format!("{} {} {delivery}", tell.attempt.trigger, note.reason));
        }
        actions
    }

    /// What was told of sources since this was asked last: `event NewArtifact delivery-1`, with a dash for no delivery.
    pub(super) fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }

    /// Syncs may name what is in other namespaces.
    pub(super) fn allow_cross_namespace(&mut self) {
        self.engine.cross_namespace = true;
    }

    /// The first pass of these actions ends so, and its status cannot be written.
    pub(super) fn unwritten(&mut self, actions: &[Action], end: End) -> Vec<Action> {
        let (uid, inventory, reverted) = (pass(actions).pass.sync.uid(), None, Vec::new());
        let passed = passing::Passed { uid, end, object: None, unwritten: true, inventory, looked: None, reverted };
        self.handle(Event::Passed { sync: pass(actions).pass.key.clone(), passed })
    }

    pub(super) fn wait(&mut self, seconds: i64) -> Vec<Action> {
        self.now += SignedDuration::from_secs(seconds);
        self.handle(Event::Due)
    }

    /// When something is due next, in seconds from now.
    pub(super) fn next(&self) -> Option<i64> {
        self.engine.next(self.now).map(|due| due.duration_since(self.now).as_secs())
    }

    fn version(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }

    /// A GitSource of the repository with its name; `spec` is laid over the usual one.
    pub(super) fn source(&mut self, name: &str, spec: serde_json::Value) -> GitSource {
        let mut all =
            json!({"url": format!("https://git.example/org/{name}"), "ref": {"branch": "main"}, "interval": "300s"});
        overlay(&mut all, spec);
        let metadata = self.metadata(name, &all);
        serde_json::from_value(
            json!({"apiVersion": "towline.dev/v1alpha1", "kind": "GitSource", "metadata": metadata, "spec": all}),
        )
        .unwrap()
    }

    pub(super) fn sync(&mut self, name: &str, source: &str, spec: serde_json::Value) -> Sync {
        let mut all = json!({"sourceRef": {"kind": "GitSource", "name": source}, "prune": true, "interval": "600s"});
        overlay(&mut all, spec);
        let metadata = self.metadata(name, &all);
        serde_json::from_value(
            json!({"apiVersion": "towline.dev/v1alpha1", "kind": "Sync", "metadata": metadata, "spec": all}),
        )
        .unwrap()
    }

    /// The generation follows the spec's text, so that the same spec has the same generation.
    fn metadata(&mut self, name: &str, spec: &serde_json::Value) -> serde_json::Value {
        let generation = spec.to_string().bytes().map(i64::from).sum::<i64>();
        json!({"name": name, "namespace": "ns", "uid": format!("uid of {name}"), "generation": generation, "resourceVersion": self.version()})
    }

    pub(super) fn apply_source(&mut self, object: GitSource) -> Vec<Action> {
        self.handle(Event::Resource(ResourceEvent::Source(None, Change::Applied(object))))
    }

    pub(super) fn apply_sync(&mut self, object: Sync) -> Vec<Action> {
        self.handle(Event::Resource(ResourceEvent::Sync(None, Change::Applied(object))))
    }

    pub(super) fn apply_inventory(&mut self, object: Inventory) -> Vec<Action> {
        self.handle(Event::Resource(ResourceEvent::Inventory(None, Change::Applied(object))))
    }

    pub(super) fn mirror(&self) -> OpenMirror {
        self.mirror.clone()
    }

    /// The first fetch of these actions brings this commit.
    pub(super) fn fetched(&mut self, actions: &[Action], tip: u64) -> Vec<Action> {
        let job = fetch(actions);
        let (source, number) = (job.source.clone(), job.number);
        let result = Ok(Brought { mirror: self.mirror(), verified: Verified::for_test(commit(tip)), tag: None });
        self.handle(Event::Fetched { source, number, result })
    }

    /// The first write of these actions is done by the API server.
    pub(super) fn written(&mut self, actions: &[Action]) -> Vec<Action> {
        let event = self.answer(write(actions));
        self.handle(event)
    }

    /// What the API server answers to a write of a source's status.
    pub(super) fn answer(&mut self, write: &source::Write) -> Event {
        let mut object = (*write.object).clone();
        object.status = Some(source::status(&object, &write.wanted, self.now));
        object.metadata.resource_version = Some(self.version());
        self.sources.insert(write.source.name.clone(), object.clone());
        Event::Written { source: write.source.clone(), result: Ok(Box::new(object)) }
    }

    /// A source as the API server has it: the echo of the last write.
    pub(super) fn stored(&self, name: &str) -> GitSource {
        self.sources[name].clone()
    }

    /// The first pass of these actions ends so, without a status to write.
    pub(super) fn passed(&mut self, actions: &[Action], end: End) -> Vec<Action> {
        self.reverted(actions, end, &[])
    }

    /// The same, and these ConfigMaps were put back.
    pub(super) fn reverted(&mut self, actions: &[Action], end: End, names: &[&str]) -> Vec<Action> {
        let job = pass(actions);
        let id = |name: &str| ObjectId {
            kind: GroupKind::new("", "ConfigMap"),
            namespace: Some("ns".to_owned()),
            name: name.to_owned(),
        };
        let reverted = names.iter().map(|name| (id(name), "it was changed by kubectl".to_owned().into())).collect();
        let uid = job.pass.sync.uid();
        let passed =
            passing::Passed { uid, end, object: None, unwritten: false, inventory: None, looked: None, reverted };
        self.handle(Event::Passed { sync: job.pass.key.clone(), passed })
    }

    /// How the Sync of the first of these actions stands is written, or cannot be.
    pub(super) fn stood(&mut self, actions: &[Action], is_written: bool) -> Vec<Action> {
        let stand =
            actions.iter().find_map(|action| if let Action::Stand(stand) = action { Some(stand) } else { None });
        let stand = stand.unwrap_or_else(|| panic!("nothing to say in {:?}", words(actions)));
        let mut written = (*stand.sync).clone();
        written.metadata.resource_version = Some(self.version());
        written.status = Some(crate::report::standing(&stand.sync, stand.fights.as_deref(), None, self.now));
        let stood = standing::Stood { uid: written.uid(), written: is_written.then(|| Box::new(written)) };
        self.handle(Event::Stood { sync: key(&stand.sync.name_any()), stood })
    }

    /// A push: the source is woken, fetches the commit and publishes it. Answers with what follows.
    pub(super) fn push(&mut self, repository: &str, tip: u64) -> Vec<Action> {
        let actions = self.handle(woken(repository, tip));
        let actions = self.fetched(&actions, tip);
        self.written(&actions)
    }
}

pub(super) fn fetch(actions: &[Action]) -> &fetching::Job {
    let job = actions.iter().find_map(|action| if let Action::Fetch(job) = action { Some(job) } else { None });
    job.unwrap_or_else(|| panic!("no fetch in {:?}", words(actions)))
}

pub(super) fn write(actions: &[Action]) -> &source::Write {
    let write =
        actions.iter().find_map(|action| if let Action::WriteSource(write) = action { Some(&**write) } else { None });
    write.unwrap_or_else(|| panic!("no write in {:?}", words(actions)))
}

pub(super) fn pass(actions: &[Action]) -> &passing::Job {
    let job = actions.iter().find_map(|action| if let Action::Pass(job) = action { Some(&**job) } else { None });
    job.unwrap_or_else(|| panic!("no pass in {:?}", words(actions)))
}

fn overlay(all: &mut serde_json::Value, with: serde_json::Value) {
    let (Some(all), serde_json::Value::Object(with)) = (all.as_object_mut(), with) else {
        panic!("a spec is a mapping")
    };
    all.extend(with);
}
