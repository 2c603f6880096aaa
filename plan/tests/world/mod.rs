//! A world in small: what Git says, what is owned, and a cluster that does what an API server would do.
//!
//! The model is on purpose simpler than the agent: it shares with it only what `plan` decides.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use towline_plan::check::{CheckedPlan, Entry as StageEntry, entry};
use towline_plan::claims::Claims;
use towline_plan::decide::{Apply, Plan, Situation, decide};
use towline_plan::desired::{self, Desired, Kinds, Scope};
use towline_plan::inventory::{Entry, Inventory, State};
use towline_plan::letting::Letting;
use towline_plan::manifest::{self, Manifest};
use towline_plan::object::{GroupKind, ObjectId, SyncKey};
use towline_plan::observed::{Found, Judgement, Live, Observed, Seen};
use towline_plan::part::{Prune, PruneRules};
use towline_plan::tree::{File, Tree};

/// Kinds with their scope; `PersistentVolumeClaim` is precious and not allowed to go.
const KINDS: &[(&str, &str, Scope)] = &[
    ("", "Namespace", Scope::Cluster),
    ("", "ConfigMap", Scope::Namespaced),
    ("", "PersistentVolumeClaim", Scope::Namespaced),
    ("apps", "Deployment", Scope::Namespaced),
    ("storage.k8s.io", "StorageClass", Scope::Cluster),
];
const NAMES: &[&str] = &["one", "two", "three"];

/// One object as a file of the repository has it.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    kind: usize,
    name: usize,
    content: u8,
    left_alone: bool,
}

/// The files of a commit, one object each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Git(Vec<Written>);

/// A live object.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) owner: Option<SyncKey>,
    pub(crate) letting: Letting,
    /// The digest it equals, if it equals one.
    digest: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    pub(crate) git: Git,
    pub(crate) inventory: Inventory,
    pub(crate) cluster: BTreeMap<ObjectId, Object>,
    /// What the API server refuses (`true`) or cannot judge.
    pub(crate) trouble: BTreeMap<ObjectId, bool>,
    pub(crate) now: i64,
}

pub(crate) fn sync(name: &str) -> SyncKey {
    SyncKey { namespace: "ns".to_owned(), name: name.to_owned() }
}

pub(crate) fn git() -> impl Strategy<Value = Git> {
    let written = (0..KINDS.len(), 0..NAMES.len(), 0..2_u8, prop::bool::weighted(0.1));
    proptest::collection::vec(written, 0..8).prop_map(|all| {
        let unique: BTreeMap<_, _> = all.into_iter().map(|(kind, name, c, alone)| ((kind, name), (c, alone))).collect();
        let written = |((kind, name), (content, left_alone))| Written { kind, name, content, left_alone };
        Git(unique.into_iter().map(written).collect())
    })
}

/// An object that is there: its owner, protection, and whether it equals what Git has now.
fn object() -> impl Strategy<Value = (usize, usize, u8, Letting, bool)> {
    let letting = prop_oneof![
        6 => Just(Letting::Late),
        1 => Just(Letting::Early),
        1 => Just(Letting::Asks),
        1 => Just(Letting::Never),
        1 => Just(Letting::Unreadable),
    ];
    (0..KINDS.len(), 0..NAMES.len(), 0..4_u8, letting, any::<bool>())
}

pub(crate) fn world() -> impl Strategy<Value = World> {
    let entries = proptest::collection::vec((0..KINDS.len(), 0..NAMES.len(), any::<bool>()), 0..10);
    let trouble = proptest::collection::vec((0..KINDS.len(), 0..NAMES.len(), any::<bool>()), 0..2);
    (git(), entries, proptest::collection::vec(object(), 0..10), trouble).prop_map(|(git, entries, live, trouble)| {
        let wanted: BTreeMap<ObjectId, String> =
            git.desired(&sync("a")).into_iter().map(|d| (d.id, d.digest)).collect();
        let mut world = World { git, now: 1_000, ..World::default() };
        for (kind, name, same) in entries {
            let digest = if same { wanted.get(&id(kind, name)).cloned() } else { Some("older".to_owned()) };
            let entry = Entry { version: "v1".into(), uid: None, digest, claimed_at: 10, state: State::Applied };
            world.inventory.0.insert(id(kind, name), entry);
        }
        for (kind, name, owner, letting, equal) in live {
            let owner = [None, Some(sync("a")), Some(sync("a")), Some(sync("other"))][usize::from(owner)].clone();
            let digest = wanted.get(&id(kind, name)).filter(|_| equal && owner == Some(sync("a"))).cloned();
            world.cluster.insert(id(kind, name), Object { owner, letting, digest });
        }
        world.trouble = trouble.into_iter().map(|(kind, name, refused)| (id(kind, name), refused)).collect();
        world
    })
}

fn id(kind: usize, name: usize) -> ObjectId {
    let (group, kind, scope) = KINDS[kind];
    let namespace = (scope == Scope::Namespaced).then(|| namespace(name).to_owned());
    ObjectId { kind: GroupKind::new(group, kind), namespace, name: NAMES[name].to_owned() }
}

/// Where an object of a name stands: what is called `two` stands in the namespace `one`, and so on.
fn namespace(name: usize) -> &'static str {
    NAMES[(name + NAMES.len() - 1) % NAMES.len()]
}

fn kinds() -> Kinds {
    let mut kinds = Kinds::default();
    KINDS.iter().for_each(|(group, kind, scope)| kinds.add(GroupKind::new(group, kind), "v1", *scope));
    kinds
}

impl Git {
    fn manifests(&self) -> Vec<Manifest> {
        let files = self.0.iter().map(|w| {
            let (group, kind, scope) = KINDS[w.kind];
            let (name, content) = (NAMES[w.name], w.content);
            let api_version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
            let reconcile = if w.left_alone { "disabled" } else { "enabled" };
            let namespace = match scope {
                Scope::Cluster => String::new(),
                Scope::Namespaced => format!("\n  namespace: {}", namespace(w.name)),
            };
            let contents = format!(
                "apiVersion: {api_version}\nkind: {kind}\nmetadata:\n  name: {name}{namespace}\n  annotations: {{towline.dev/reconcile: {reconcile}}}\nspec: {{content: {content}}}\n"
            );
            File { path: format!("{kind}-{name}.yaml"), contents: contents.into_bytes() }
        });
        manifest::read(&Tree { read: Vec::new(), files: files.collect() }).expect("the manifests are whole")
    }

    pub(crate) fn desired(&self, sync: &SyncKey) -> Vec<Desired> {
        desired::resolve(self.manifests(), &kinds(), sync).expect("every kind is served")
    }

    pub(crate) fn left_alone(&self, sync: &SyncKey) -> BTreeSet<ObjectId> {
        desired::left_alone(&self.manifests(), &kinds(), sync)
    }

    /// Puts the files into another order.
    pub(crate) fn shuffle(&mut self, seed: u64) {
        self.0.sort_by_key(|w| (w.kind as u64 * 31 + w.name as u64 + 1).wrapping_mul(seed | 1));
    }
}

/// Whether an object goes with another.
pub(crate) fn is_in(id: &ObjectId, namespace: &ObjectId) -> bool {
    namespace.kind.is("", "Namespace") && id.namespace.as_ref() == Some(&namespace.name)
}

impl World {
    /// What a pass of the Sync would do.
    pub(crate) fn plan(&self, sync: &SyncKey, claims: &Claims) -> Plan {
        let desired = self.git.desired(sync);
        let observed = self.observe(&desired);
        decide(Situation {
            sync,
            left_alone: &self.git.left_alone(sync),
            inventory: &self.inventory,
            observed: &observed,
            claims,
            on_drift: Default::default(),
            prune: &PruneRules { enabled: true, allow_kinds: vec!["Namespace".to_owned()] },
            now: self.now,
            desired,
        })
    }

    /// The API server takes everything again.
    pub(crate) fn heal(&mut self) {
        self.trouble.clear();
    }

    fn observe(&self, desired: &[Desired]) -> Observed {
        let found = |owner: &Option<SyncKey>| Found {
            uid: "u".to_owned(),
            resource_version: "1".to_owned(),
            owner: owner.clone(),
            deleting: false,
            last_writer: None,
            detail: None,
            remembered: false,
        };
        let judge = |d: &Desired| match (self.trouble.get(&d.id), self.cluster.get(&d.id)) {
            (Some(true), _) => Judgement::Refused("no".to_owned()),
            (Some(false), _) => Judgement::Unjudged("503".to_owned()),
            (None, None) => Judgement::Absent,
            (None, Some(live)) if live.digest.as_ref() == Some(&d.digest) => Judgement::Clean(Some(found(&live.owner))),
            (None, Some(live)) => Judgement::Differs(found(&live.owner)),
        };
        let look = |id: &ObjectId| match self.cluster.get(id) {
            None => Seen::Absent,
            Some(live) if live.owner.is_none() => Seen::Unlabelled,
            Some(live) => Seen::Present(Live {
                uid: "u".to_owned(),
                resource_version: "1".to_owned(),
                fingerprint: 0,
                owner: live.owner.clone(),
                applied: true,
                letting: live.letting,
                deleting: false,
                left_alone: false,
                last_writer: None,
            }),
        };
        Observed {
            judgements: desired.iter().map(|d| (d.id.clone(), judge(d))).collect(),
            left: self.inventory.0.keys().map(|id| (id.clone(), look(id))).collect(),
            finished: BTreeMap::new(),
            owners: BTreeMap::new(),
            others: BTreeMap::new(),
            defined: BTreeMap::new(),
        }
    }

    /// Carries a plan out as the agent does, and is killed after so many changes.
    pub(crate) fn apply(&mut self, sync: &SyncKey, plan: &CheckedPlan, mut steps: usize) {
        self.inventory = plan.inventory().clone();
        for (_, stage) in plan.stages() {
            let how = entry(stage.iter().map(|step| &step.apply));
            if how == StageEntry::No {
                return;
            }
            let writes = |apply: &Apply| matches!(apply, Apply::Create | Apply::Configure | Apply::Revert(_));
            for step in stage.iter().filter(|step| writes(&step.apply)) {
                if steps == 0 {
                    return;
                }
                steps -= 1;
                let (id, digest) = (step.desired.id.clone(), Some(step.desired.digest.clone()));
                if let Some(entry) = self.inventory.0.get_mut(&id) {
                    (entry.digest, entry.state) = (digest.clone(), State::Applied);
                }
                let letting = self.cluster.get(&id).map_or(Letting::Late, |live| live.letting);
                self.cluster.insert(id, Object { owner: Some(sync.clone()), letting, digest });
            }
            if how != StageEntry::Whole {
                return;
            }
        }
        for step in plan.prune().iter().take(steps) {
            match (&step.prune, plan.held()) {
                (Prune::Keep(_) | Prune::HandOver(_) | Prune::Ask | Prune::Going, _)
                | (Prune::Delete { .. }, Some(_)) => {}
                (Prune::Delete { .. }, None) => {
                    self.cluster.remove(&step.id);
                    self.cluster.retain(|id, _| !is_in(id, &step.id));
                    self.inventory.0.remove(&step.id);
                }
                (Prune::Forget(_), _) => drop(self.inventory.0.remove(&step.id)),
            }
        }
    }
}
