//! Whatever happens in whatever order: the loop never turns idly, and one pass of a Sync runs at a time.

use std::collections::BTreeSet;
use towline_plan::schedule::hosts::Answer;

use proptest::prelude::*;
use serde_json::json;
use towline_plan::members::Share;
use towline_plan::object::SyncKey;

use super::members::{half, whole};
use super::world::{World, drift, interest, key, pass, woken, words};
use crate::api::ResourceExt as _;
use crate::bus::BusEvent;
use crate::cluster::{Change, ResourceEvent};
use crate::engine::{Action, Event, FetchFailure, passing, standing};
use crate::pass::{End, Failure};

/// Jobs under way: what they will answer is up to the case.
#[derive(Default)]
struct Jobs {
    fetches: Vec<Action>,
    writes: Vec<Action>,
    passes: Vec<Action>,
    explanations: Vec<Action>,
    reads: Vec<Action>,
    stands: Vec<Action>,
}

impl Jobs {
    fn take(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Fetch(_) => self.fetches.push(action),
                Action::WriteSource(_) => self.writes.push(action),
                Action::Tell(_) | Action::WatchSecrets(_) => {}
                Action::Pass(_) => self.passes.push(action),
                Action::Explain(_) => self.explanations.push(action),
                Action::Read(_) => self.reads.push(action),
                Action::Stand(_) => self.stands.push(action),
                Action::Recover { .. } | Action::Warn(_) | Action::Listen(_) | Action::Bury(_) | Action::Release(_) => {
                }
            }
        }
    }

    fn running(&self) -> Vec<String> {
        words(&self.passes)
    }
}

/// One step of a case; `pick` chooses among what there is.
fn step(world: &mut World, jobs: &mut Jobs, what: u8, pick: u8) {
    let name = ["a", "b"][usize::from(pick % 2)];
    let actions = match what {
        0 => world.handle(drift(key(name))),
        1 => world.handle(woken("s", u64::from(pick))),
        2 if !jobs.fetches.is_empty() => {
            let job = [jobs.fetches.remove(usize::from(pick) % jobs.fetches.len())];
            world.fetched(&job, u64::from(pick))
        }
        3 if !jobs.fetches.is_empty() => {
            let Action::Fetch(job) = jobs.fetches.remove(0) else { return };
            let failure = FetchFailure {
                message: "refused".to_owned(),
                retryable: pick.is_multiple_of(2),
                retry_after: None,
                answer: Answer::Answered,
                reason: "GitOperationFailed",
                verification: None,
            };
            world.handle(Event::Fetched { source: job.source, number: job.number, result: Err(failure) })
        }
        4 if !jobs.writes.is_empty() => {
            let write = [jobs.writes.remove(0)];
            world.written(&write)
        }
        5 if !jobs.writes.is_empty() => {
            let Action::WriteSource(write) = jobs.writes.remove(0) else { return };
            world.handle(Event::Written { source: write.source, result: Err("503".to_owned()) })
        }
        6 | 7 if !jobs.passes.is_empty() => {
            let job = [jobs.passes.remove(usize::from(pick) % jobs.passes.len())];
            let end = match (pass(&job).pass.halt.is_cancelled(), pick % 3) {
                (true, _) => End::Superseded,
                (false, 0) => End::Failed(Failure::reconciliation("503".to_owned())),
                (false, 1) => End::Failed(Failure::build("bad".to_owned())),
                (false, _) => End::Succeeded,
            };
            world.reverted(&job, end, &["x"][..usize::from(pick / 3 % 2)])
        }
        8 => {
            let sync = world.sync(name, "s", json!({"suspend": pick.is_multiple_of(3)}));
            world.apply_sync(sync)
        }
        9 => {
            let spec = match pick % 4 {
                0 => json!({"suspend": true}),
                1 => json!({"ref": {"branch": "release"}}),
                2 => json!({"ref": {}}),
                _ => json!({}),
            };
            let source = world.source("s", spec);
            world.apply_source(source)
        }
        10 => {
            let source = world.source("s", json!({}));
            world.handle(Event::Resource(ResourceEvent::Source(None, Change::Gone(source))))
        }
        11 => world.handle(Event::Bus(match pick % 4 {
            0 => BusEvent::Disconnected { reason: "reset".to_owned() },
            1 => BusEvent::Connected,
            2 => BusEvent::Subscribed { interest: interest("s") },
            _ => BusEvent::ReconcileAll,
        })),
        12 => {
            let suspend = pick.is_multiple_of(5);
            let sync = world.sync(name, ["s", "t"][usize::from(pick / 2 % 2)], json!({"suspend": suspend}));
            world.apply_sync(sync)
        }
        13 => {
            let mut sync = world.sync(name, "s", json!({}));
            sync.metadata.uid = Some(format!("uid {}", pick / 2));
            match pick % 3 {
                0 => world.handle(Event::Resource(ResourceEvent::Sync(None, Change::Gone(sync)))),
                _ => world.apply_sync(sync),
            }
        }
        14 if !jobs.explanations.is_empty() => {
            let Action::Explain(explanation) = jobs.explanations.remove(0) else { return };
            let (name, uid) = (explanation.sync.name_any(), explanation.sync.uid());
            let mut written = world.sync(&name, &explanation.sync.spec.source_ref.name, json!({}));
            written.metadata.uid.clone_from(&uid);
            written.status = Some(passing::unready(&explanation.sync, &explanation.why, world.now));
            let written = Some(Box::new(written)).filter(|_| pick.is_multiple_of(2));
            world.handle(Event::Explained { sync: key(&name), uid, written })
        }
        16 => world.handle(Event::Divided(match pick % 4 {
            0 => Share::Nothing,
            1 => half(),
            _ => whole(),
        })),
        17 if !jobs.reads.is_empty() => {
            let Action::Read(read) = jobs.reads.remove(0) else { return };
            let answer = |world: &mut World, key: SyncKey| match pick % 4 {
                0 => (key, Err("503".to_owned())),
                1 => (key, Ok(None)),
                _ => {
                    let sync = world.sync(&key.name, "s", json!({}));
                    (key, Ok(Some(Box::new(sync))))
                }
            };
            let syncs = read.syncs.into_iter().map(|key| answer(world, key)).collect();
            world.handle(Event::Read { number: read.number, syncs, sources: Vec::new() })
        }
        19 if !jobs.stands.is_empty() => {
            let Action::Stand(stand) = jobs.stands.remove(0) else { return };
            let mut written = world.sync(&stand.sync.name_any(), "s", json!({"suspend": stand.sync.spec.suspend}));
            written.metadata.uid = stand.sync.uid();
            written.status = Some(crate::report::standing(&stand.sync, stand.fights.as_deref(), None, world.now));
            let written = Some(Box::new(written)).filter(|_| pick.is_multiple_of(2));
            let stood = standing::Stood { uid: stand.sync.uid(), written };
            world.handle(Event::Stood { sync: key(&stand.sync.name_any()), stood })
        }
        _ => world.wait(i64::from(pick)),
    };
    jobs.take(actions);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// At the moment `next` names there is something to do, or a later moment is named: no timer fires for ever.
    #[test]
    fn the_loop_never_turns_idly(steps in proptest::collection::vec((0..21_u8, any::<u8>()), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        let (mut world, actions) = World::with(&["s", "t"], &[("a", "s"), ("b", "s")]);
        let mut jobs = Jobs::default();
        jobs.take(actions);
        for (what, pick) in steps {
            step(&mut world, &mut jobs, what, pick);
            let running = jobs.running();
            // One that was told to stop, of a Sync that moved to another source or is gone, is waited for as well.
            prop_assert_eq!(running.len(), running.iter().collect::<BTreeSet<_>>().len(), "two at once: {:?}", running);
            if let Some(due) = world.engine.next(world.now) {
                world.now = world.now.max(due);
                let actions = world.handle(Event::Due);
                let next = world.engine.next(world.now);
                prop_assert!(
                    !actions.is_empty() || next.is_none_or(|next| next > world.now),
                    "step {what}: at {due} nothing is done, and {next:?} is next"
                );
                jobs.take(actions);
            }
        }
    }
}
