//! What the health of a Sync's objects comes to: what the `Healthy` condition says, and whether the pass waits, fails or goes on.
//!
//! Pure. Must not know how anything was looked at.

use std::time::Duration;

use jiff::SignedDuration;
use towline_plan::health::Health;
use towline_plan::naming::list;
use towline_plan::object::ObjectId;
use towline_plan::redact::Redactor;
use towline_plan::wait::Wait;

use super::outcome::{End, Failure, Reason};
use crate::api::{ConditionStatus, Verdict};

/// One object, and how it is.
pub(super) struct Judged {
    pub id: ObjectId,
    pub health: Health,
    /// A watch tells when that changes.
    pub is_watched: bool,
}

/// How long what is not healthy may take.
pub(super) struct Patience<'a> {
    /// What is applied.
    pub revision: &'a str,
    pub timeout: Duration,
    /// How long it has been waited for; `None`: not yet.
    pub waited: Option<SignedDuration>,
}

/// What the Healthy condition says, and why the pass ends here; `None`: everything is healthy.
pub(super) fn conclude(judged: Vec<Judged>, patience: &Patience<'_>, redactor: &Redactor) -> (Verdict, Option<End>) {
    let verdict = verdict(&judged);
    let count = judged.len();
    let unwell: Vec<Judged> = judged.into_iter().filter(|judged| !judged.health.is_current()).collect();
    if unwell.is_empty() {
        tracing::debug!(count, "everything is healthy");
        return (verdict, None);
    }
    let told = |judged: &Judged| {
        let why = format!("{}: {}", judged.health.reason, judged.health.message);
        (judged.id.clone(), redactor.clean(&judged.id.to_string(), &why))
    };
    let is_failed = unwell.iter().any(|judged| judged.health.is_failed());
    let timeout = patience.timeout.as_secs_f64();
    let is_overdue = patience.waited.is_some_and(|waited| waited.as_secs_f64() >= timeout);
    if !is_failed && !is_overdue {
        let of = |is_watched| unwell.iter().filter(|judged| judged.is_watched == is_watched).map(told).collect();
        let (watched, unwatched): (Vec<_>, Vec<_>) = (of(true), of(false));
        let watched = Some(watched).filter(|objects| !objects.is_empty()).map(Wait::Healthy);
        let unwatched = Some(unwatched).filter(|objects| !objects.is_empty()).map(Wait::Unwatched);
        return (verdict, Some(End::Waiting(watched.into_iter().chain(unwatched).collect())));
    }
    let failed: Vec<_> = unwell.iter().filter(|judged| !is_failed || judged.health.is_failed()).map(told).collect();
    let names = list(failed.iter().map(|(id, why)| format!("{id} ({why})")));
    let revision = patience.revision;
    let message = match is_failed {
        true => format!("{revision} is applied and not healthy, and waiting does not help: {names}"),
        false => format!("{revision} is applied and not healthy within {timeout} s: {names}"),
    };
    let failure = Failure { reason: Reason::HealthCheckFailed, message, retryable: true };
    let verdict = Verdict { status: ConditionStatus::False, ..verdict };
    (verdict, Some(End::Failed(failure)))
}

/// What the Healthy condition says. Only names and reasons: it is also written where no redactor is at hand.
pub(super) fn verdict(judged: &[Judged]) -> Verdict {
    let unwell: Vec<&Judged> = judged.iter().filter(|judged| !judged.health.is_current()).collect();
    let names = || list(unwell.iter().map(|judged| format!("{} ({})", judged.id, judged.health.reason)));
    let (status, reason, message) = if unwell.is_empty() {
        (ConditionStatus::True, "Succeeded", format!("{} healthy", judged.len()))
    } else if unwell.iter().any(|judged| judged.health.is_failed()) {
        (ConditionStatus::False, "HealthCheckFailed", format!("not healthy: {}", names()))
    } else {
        (ConditionStatus::Unknown, "Progressing", format!("not healthy yet: {}", names()))
    };
    let unwatched: Vec<&Judged> = judged.iter().filter(|judged| !judged.is_watched).collect();
    let seldom = match unwatched.is_empty() {
        true => String::new(),
        false => {
            let names = list(unwatched.iter().map(|judged| judged.id.to_string()));
            format!("; cannot be watched, and is looked at by passes only: {names}")
        }
    };
    Verdict { status, reason: reason.to_owned(), message: message + &seldom }
}

#[cfg(test)]
mod tests {
    use towline_plan::health::Status;
    use towline_plan::object::GroupKind;

    use super::*;

    fn of(name: &str, status: Status) -> Judged {
        let id = ObjectId { kind: GroupKind::new("", "Pod"), namespace: Some("ns".into()), name: name.into() };
        let health = Health { status, reason: "Why".into(), message: format!("so it is with {name}").into() };
        Judged { id, health, is_watched: true }
    }

    struct Looked {
        verdict: Verdict,
        end: Option<End>,
    }

    fn after(judged: Vec<Judged>, waited: Option<i64>) -> Looked {
        let waited = waited.map(SignedDuration::from_secs);
        let patience = Patience { revision: "main@sha1:1", timeout: Duration::from_secs(60), waited };
        let (verdict, end) = conclude(judged, &patience, &Redactor::default());
        Looked { verdict, end }
    }

    fn failed(looked: &Looked) -> &str {
        match &looked.end {
            Some(End::Failed(Failure { reason: Reason::HealthCheckFailed, message, retryable: true })) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_healthy_ends_no_pass_however_long_it_took() {
        for waited in [None, Some(0), Some(3600)] {
            let looked = after(vec![of("a", Status::Current), of("b", Status::Current)], waited);
            assert_eq!(looked.end, None);
            assert_eq!((looked.verdict.status, looked.verdict.message.as_str()), (ConditionStatus::True, "2 healthy"));
        }
        assert_eq!(after(Vec::new(), None).end, None);
    }

    #[test]
    fn what_is_on_its_way_is_waited_for_until_the_timeout() {
        let objects = || vec![of("a", Status::Current), of("b", Status::InProgress), of("c", Status::Unknown)];
        for waited in [None, Some(59)] {
            let looked = after(objects(), waited);
            let Some(End::Waiting(waits)) = &looked.end else { panic!("{:?}", looked.end) };
            let [Wait::Healthy(objects)] = waits.as_slice() else { panic!("{waits:?}") };
            assert_eq!(objects.iter().map(|(id, _)| id.name.as_str()).collect::<Vec<_>>(), ["b", "c"]);
            assert_eq!(objects[0].1, "Why: so it is with b");
            assert_eq!(
                (looked.verdict.status, looked.verdict.reason.as_str()),
                (ConditionStatus::Unknown, "Progressing")
            );
        }
        let looked = after(objects(), Some(60));
        let message = failed(&looked);
        assert!(message.contains("within 60 s: ") && message.contains("/b (") && message.contains("/c ("), "{message}");
        assert!(!message.contains("/a ("), "{message}");
        assert_eq!(looked.verdict.status, ConditionStatus::False);
    }

    #[test]
    fn what_has_failed_ends_the_wait_and_is_named_alone() {
        let looked = after(vec![of("a", Status::InProgress), of("b", Status::Failed)], None);
        let message = failed(&looked);
        assert!(message.contains("waiting does not help") && message.contains("/b ("), "{message}");
        assert!(!message.contains("/a ("), "{message}");
        assert_eq!(
            (looked.verdict.status, looked.verdict.reason.as_str()),
            (ConditionStatus::False, "HealthCheckFailed")
        );
    }

    #[test]
    fn what_cannot_be_watched_is_another_wait_and_is_said() {
        let unseen = |name, status| Judged { is_watched: false, ..of(name, status) };
        let looked = after(vec![of("a", Status::InProgress), unseen("b", Status::InProgress)], None);
        let Some(End::Waiting(waits)) = &looked.end else { panic!("{:?}", looked.end) };
        let [Wait::Healthy(seen), Wait::Unwatched(unseen_ones)] = waits.as_slice() else { panic!("{waits:?}") };
        assert_eq!((seen[0].0.name.as_str(), unseen_ones[0].0.name.as_str()), ("a", "b"));
        let looked = after(vec![unseen("b", Status::InProgress)], None);
        assert!(matches!(looked.end, Some(End::Waiting(waits)) if matches!(waits[..], [Wait::Unwatched(_)])));
        // Also where it is healthy: until when, nothing will tell.
        let looked = after(vec![unseen("b", Status::Current)], None);
        assert_eq!(looked.end, None);
        let said = "1 healthy; cannot be watched, and is looked at by passes only: Pod/ns/b";
        assert_eq!(looked.verdict.message, said);
    }
}
