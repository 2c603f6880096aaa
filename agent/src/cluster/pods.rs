//! When the Pods of a workload that is on its way are looked at, and what they say about it.
//!
//! Pure: time is given. A workload's status does not move when its Pods begin to fail, so they are looked at again for as long
//! as it is on its way, less and less often. Must not know requests.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use towline_plan::health::{Health, PodSelector, judge_pods, selector_of};
use towline_plan::object::{ObjectId, SyncKey};
use towline_plan::watched::Shown;

/// Before the first look: a controller needs a moment to make Pods, and most are well.
const FIRST: Duration = Duration::from_secs(1);
/// Between two looks at the Pods of one workload, however often its status moves.
const AGAIN: Duration = Duration::from_secs(5);
/// The longest wait, to which it doubles while nothing moves: a workload that stays broken costs a request in five minutes.
const LONGEST: Duration = Duration::from_secs(300);

/// The workloads of one watch that are on their way.
#[derive(Debug, Default)]
pub(super) struct Pods(HashMap<ObjectId, Workload>);

#[derive(Debug)]
struct Workload {
    selector: PodSelector,
    uid: String,
    /// Whose labels it has.
    owner: Option<SyncKey>,
    generation: Option<i64>,
    /// What its own status says.
    own: Health,
    /// What it was judged with its Pods, of the same generation, if they had anything to say.
    told: Option<Health>,
    due: Instant,
    pause: Duration,
    looked: Option<Instant>,
    /// Named by the list under way, or since.
    fresh: bool,
}

impl Pods {
    /// A list begins, or is complete: what it did not name is gone.
    pub(super) fn begin_list(&mut self) {
        self.0.values_mut().for_each(|workload| workload.fresh = false);
    }

    pub(super) fn end_list(&mut self) {
        self.0.retain(|_, workload| workload.fresh);
    }

    pub(super) fn gone(&mut self, id: &ObjectId) {
        self.0.remove(id);
    }

    /// An object is as given; what its Pods said of it last stands until they are looked at again.
    pub(super) fn seen(&mut self, id: &ObjectId, shown: &mut Shown, object: &Value, now: Instant) {
        let own = shown.health.as_deref().cloned();
        let Some((selector, own)) = selector_of(object).zip(own) else {
            self.0.remove(id);
            return;
        };
        let generation = object["metadata"]["generation"].as_i64();
        let (uid, owner) = (shown.live.uid.clone(), shown.live.owner.clone());
        let known = self.0.remove(id).filter(|known| known.uid == uid);
        let looked = known.as_ref().and_then(|known| known.looked);
        let told = known.filter(|known| known.generation == generation).and_then(|known| known.told);
        if let Some(told) = &told {
            shown.health = Some(Box::new(told.clone()));
        }
        let due = looked.map_or(now + FIRST, |looked| now.max(looked + AGAIN));
        let (pause, fresh) = (AGAIN, true);
        let workload = Workload { selector, uid, owner, generation, own, told, due, pause, looked, fresh };
        self.0.insert(id.clone(), workload);
    }

    /// When the next look is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().map(|workload| workload.due).min()
    }

    /// Whose Pods are to be looked at now, of those that concern us: others wait, and cost no request.
    pub(super) fn look(
        &mut self,
        now: Instant,
        is_ours: impl Fn(Option<&SyncKey>) -> bool,
    ) -> Option<(ObjectId, PodSelector)> {
        for other in self.0.values_mut().filter(|w| w.due <= now && !is_ours(w.owner.as_ref())) {
            (other.due, other.pause) = (now + AGAIN, AGAIN);
        }
        let (id, workload) = self.0.iter_mut().filter(|(_, w)| w.due <= now).min_by_key(|(_, w)| w.due)?;
        workload.looked = Some(now);
        workload.due = now + workload.pause;
        workload.pause = (workload.pause * 2).min(LONGEST);
        Some((id.clone(), workload.selector.clone()))
    }

    /// What a workload is judged with its Pods, and its uid.
    pub(super) fn told(&mut self, id: &ObjectId, pods: &[Value]) -> Option<(String, Health)> {
        let workload = self.0.get_mut(id)?;
        let health = judge_pods(&workload.own, pods);
        workload.told = (health != workload.own).then(|| health.clone());
        Some((workload.uid.clone(), health))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use towline_plan::health::{self, Status};
    use towline_plan::letting::Letting;
    use towline_plan::object::GroupKind;
    use towline_plan::observed::Live;

    use super::*;

    fn id() -> ObjectId {
        ObjectId { kind: GroupKind::new("apps", "Deployment"), namespace: Some("ns".into()), name: "web".into() }
    }

    fn deployment(generation: i64, available: i64) -> (Shown, Value) {
        let object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "ns", "uid": "u", "generation": generation},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}},
            "status": {
                "observedGeneration": generation, "replicas": 1, "updatedReplicas": 1, "readyReplicas": available,
                "availableReplicas": available, "unavailableReplicas": 1 - available,
                "conditions": [{"type": "Available", "status": if available == 1 { "True" } else { "False" }}],
            },
        });
        let live = Live {
            uid: "u".into(),
            resource_version: "1".into(),
            fingerprint: 1,
            owner: None,
            applied: true,
            letting: Letting::Late,
            deleting: false,
            left_alone: false,
            last_writer: None,
        };
        let health = Some(Box::new(health::judge(&object)));
        (Shown { health, ..Shown::plain(live) }, object)
    }

    fn no_image() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "web-1", "namespace": "ns", "labels": {"app": "web"}},
            "status": {"phase": "Pending", "containerStatuses": [{
                "name": "web", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}},
            }]},
        })
    }

    #[test]
    fn pods_are_looked_at_while_their_workload_is_on_its_way_and_less_and_less_often() {
        let (mut pods, start) = (Pods::default(), Instant::now());
        let (mut shown, object) = deployment(1, 0);
        pods.seen(&id(), &mut shown, &object, start);
        assert_eq!((pods.next(), pods.look(start, |_| true)), (Some(start + FIRST), None));
        let mut now = start + FIRST;
        let mut waits = Vec::new();
        for _ in 0..9 {
            let (of, selector) = pods.look(now, |_| true).unwrap();
            assert_eq!((of, selector.namespace(), selector.to_string()), (id(), "ns", "app=web".to_owned()));
            let next = pods.next().unwrap();
            waits.push((next - now).as_secs());
            now = next;
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        // Its status moves: at once, but not within five seconds of the last look.
        let (mut shown, object) = deployment(1, 0);
        pods.look(now, |_| true).unwrap();
        pods.seen(&id(), &mut shown, &object, now + Duration::from_secs(1));
        assert_eq!(pods.next(), Some(now + AGAIN));
        let (mut shown, object) = deployment(1, 1);
        pods.seen(&id(), &mut shown, &object, now);
        assert_eq!(pods.next(), None, "it is current");
    }

    #[test]
    fn the_pods_of_what_is_somebody_elses_are_not_looked_at_until_it_is_ours() {
        let (mut pods, start) = (Pods::default(), Instant::now());
        let owner = SyncKey { namespace: "theirs".into(), name: "fleet".into() };
        let (mut shown, object) = deployment(1, 0);
        shown.live.owner = Some(owner.clone());
        pods.seen(&id(), &mut shown, &object, start);
        let mut now = start + FIRST;
        for _ in 0..3 {
            assert_eq!(pods.look(now, |of| of != Some(&owner)), None);
            assert_eq!(pods.next(), Some(now + AGAIN));
            now += AGAIN;
        }
        assert!(pods.look(now, |of| of == Some(&owner)).is_some());
    }

    #[test]
    fn what_pods_say_stands_until_they_are_looked_at_again_or_the_workload_is_another() {
        let (mut pods, now) = (Pods::default(), Instant::now());
        let (mut shown, object) = deployment(1, 0);
        pods.seen(&id(), &mut shown, &object, now);
        assert_eq!(shown.health.as_ref().unwrap().status, Status::InProgress);
        let (uid, health) = pods.told(&id(), &[no_image()]).unwrap();
        assert_eq!((uid.as_str(), health.status), ("u", Status::Failed), "{health}");
        let (mut shown, object) = deployment(1, 0);
        pods.seen(&id(), &mut shown, &object, now);
        assert_eq!(*shown.health.unwrap(), health);
        let (mut shown, object) = deployment(2, 0);
        pods.seen(&id(), &mut shown, &object, now);
        assert_eq!(shown.health.unwrap().status, Status::InProgress, "another spec");
        assert_eq!(pods.told(&id(), &[]).unwrap().1.status, Status::InProgress);
        pods.begin_list();
        pods.end_list();
        assert_eq!((pods.next(), pods.told(&id(), &[])), (None, None));
    }
}
