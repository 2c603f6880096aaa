//! The words of a scenario's text files, as values. What they mean stands in `scenarios/README.md`.

use towline_plan::desired::{Kinds, Scope};
use towline_plan::inventory::{Entry, Inventory, State};
use towline_plan::letting::Letting;
use towline_plan::object::{GroupKind, ObjectId, SyncKey, group_version};
use towline_plan::observed::{Found, Judgement, Live, Seen, Writer};
use towline_plan::ownership::Other;

/// The kinds of a cluster without definitions of its own, for scenarios that do not say.
pub(crate) const KINDS: &str = "
v1 ConfigMap namespaced
v1 Secret namespaced
v1 Service namespaced
v1 ServiceAccount namespaced
v1 PersistentVolumeClaim namespaced
v1 Namespace cluster
v1 PersistentVolume cluster
apps/v1 Deployment namespaced
batch/v1 Job namespaced
rbac.authorization.k8s.io/v1 ClusterRole cluster
rbac.authorization.k8s.io/v1 RoleBinding namespaced
storage.k8s.io/v1 StorageClass cluster
admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration cluster
apiextensions.k8s.io/v1 CustomResourceDefinition cluster
";

/// Lines with something on them; `#` begins a comment line.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

pub(crate) fn words<const N: usize>(line: &str) -> [&str; N] {
    let words: Vec<_> = line.split_whitespace().collect();
    words.try_into().unwrap_or_else(|_| panic!("{line:?} is not {N} words"))
}

/// `apps/v1 Deployment namespaced`.
pub(crate) fn kinds(text: &str) -> Kinds {
    let mut kinds = Kinds::default();
    for line in lines(text) {
        let [api_version, kind, scope] = words(line);
        let scope = match scope {
            "namespaced" => Scope::Namespaced,
            "cluster" => Scope::Cluster,
            other => panic!("a kind is namespaced or cluster, not {other}"),
        };
        let (group, version) = group_version(api_version);
        kinds.add(GroupKind::new(group, kind), version, scope);
    }
    kinds
}

/// `shop/prod`.
pub(crate) fn sync(text: &str) -> SyncKey {
    let (namespace, name) = text.split_once('/').unwrap();
    SyncKey { namespace: namespace.to_owned(), name: name.to_owned() }
}

/// `Deployment.apps/shop/web`, `Namespace/shop`.
pub(crate) fn object(text: &str) -> ObjectId {
    let parts: Vec<_> = text.split('/').collect();
    let (kind, group) = parts[0].split_once('.').unwrap_or((parts[0], ""));
    let (namespace, name) = match parts[1..] {
        [name] => (None, name),
        [namespace, name] => (Some(namespace.to_owned()), name),
        _ => panic!("{text:?} is neither Kind/name nor Kind/namespace/name"),
    };
    ObjectId { kind: GroupKind::new(group, kind), namespace, name: name.to_owned() }
}

/// What the API server says of an object Git wants.
pub(crate) fn judgement(id: &ObjectId, says: &str) -> Judgement {
    let found = |by: &str| Found {
        uid: format!("uid of {id}"),
        resource_version: "1".to_owned(),
        owner: None,
        deleting: false,
        last_writer: by.strip_prefix("by ").map(|manager| Writer { manager: manager.to_owned(), at: None }),
        detail: None,
        remembered: false,
    };
    match says.split_once(' ').unwrap_or((says, "")) {
        ("clean", "") => Judgement::Clean(Some(found(""))),
        ("absent", "") => Judgement::Absent,
        ("asks", how) => Judgement::LeftAlone(how.to_owned()),
        ("later", "") => Judgement::Later,
        ("immutable", why) => Judgement::Immutable(why.to_owned(), found("")),
        ("going", "") => Judgement::Going,
        ("differs", by) if by.is_empty() || by.starts_with("by ") => Judgement::Differs(found(by)),
        ("replaced", by) => Judgement::Differs(Found { uid: "another".to_owned(), ..found(by) }),
        ("refused", why) => Judgement::Refused(why.to_owned()),
        ("unjudged", why) => Judgement::Unjudged(why.to_owned()),
        _ => panic!("of a desired object {says:?} cannot be said"),
    }
}

/// The Sync that a live object's labels name, and what is known of that Sync.
pub(crate) fn labels(text: &str, id: &ObjectId) -> Option<(SyncKey, Option<Other>)> {
    let (owner, known) = text.split_once(' ').unwrap_or((text, ""));
    let entry = |claimed_at: &str| {
        let claimed_at = claimed_at.parse().unwrap();
        let entry = Entry { version: "v1".into(), uid: None, digest: None, claimed_at, state: State::Applied };
        Inventory([(id.clone(), entry)].into())
    };
    let known = match known.split_once(' ').unwrap_or((known, "")) {
        _ if owner.is_empty() => return None,
        ("", "") => None,
        ("gone", "") => Some(Other::Gone),
        ("owns", "others") => Some(Other::Owns(Inventory::default())),
        ("owns", claimed_at) => Some(Other::Owns(entry(claimed_at))),
        ("unclear:", why) => Some(Other::Unclear(why.to_owned())),
        _ => panic!("of another Sync {known:?} cannot be said"),
    };
    Some((sync(owner), known))
}

/// What is known of an object Git no longer has.
pub(crate) fn seen(id: &ObjectId, says: &str) -> Seen {
    let mut words = says.split_whitespace();
    let live = |owner: Option<&str>, letting: Letting| Live {
        uid: format!("uid of {id}"),
        resource_version: "1".to_owned(),
        fingerprint: 0,
        owner: owner.map(sync),
        applied: true,
        letting,
        deleting: false,
        left_alone: false,
        last_writer: None,
    };
    match (words.next(), words.next(), words.next()) {
        (Some("absent"), None, None) => Seen::Absent,
        (Some("unknown"), None, None) => Seen::Unknown("its kind is not served now: nothing is known of it".to_owned()),
        (Some("unlabelled"), None, None) => Seen::Unlabelled,
        (Some("half-labelled"), None, None) => Seen::Present(live(None, Letting::Late)),
        (Some("of"), Some(owner), None) => Seen::Present(live(Some(owner), Letting::Late)),
        (Some("of"), Some(owner), Some("copied")) => {
            Seen::Present(Live { applied: false, ..live(Some(owner), Letting::Late) })
        }
        (Some("of"), Some(owner), Some("protected")) => Seen::Present(live(Some(owner), Letting::Never)),
        (Some("of"), Some(owner), Some("asking")) => Seen::Present(live(Some(owner), Letting::Asks)),
        (Some("of"), Some(owner), Some("early")) => Seen::Present(live(Some(owner), Letting::Early)),
        (Some("of"), Some(owner), Some("unreadable")) => Seen::Present(live(Some(owner), Letting::Unreadable)),
        (Some("of"), Some(owner), Some("going")) => {
            Seen::Present(Live { deleting: true, ..live(Some(owner), Letting::Late) })
        }
        _ => panic!("of an object that left Git {says:?} cannot be said"),
    }
}
