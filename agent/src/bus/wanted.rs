//! Which refs are listened to, and where each stands: subscribe, ask for its last event, settled.
//!
//! Knows interests, their subjects and times. Must not know a connection: it says what to do next and is told what came of it.
//!
//! Per ref the subscription comes first and the question for the last event second: what is published in between arrives
//! twice rather than never. An answer also proves that the server has read the subscription before it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use towline_proto::{streams, subject};

use super::{Interest, backoff};

/// Questions under way at once. 200 refs are asked for in a dozen round trips, and 5,000 agents do not send a million
/// requests in one moment after a server's restart.
const QUESTIONS_MAX: usize = 16;

/// Subscriptions sent at once, and the time before the next ones: the client drops what a server says beyond 128 errors at a
/// time, and a refusal that is dropped would look like a subscription that stands. 1,000 refs are listened to in two seconds.
const SUBSCRIPTIONS_MAX: usize = 64;
const SUBSCRIPTIONS_INTERVAL: Duration = Duration::from_millis(100);

/// What stands for an event's bytes: whether a last event is one that was heard already.
pub(super) type Fingerprint = [u8; 32];

/// What to do next, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Subscribe {
        subject: String,
    },
    Unsubscribe {
        subject: String,
    },
    /// Ask for the last event; the answer carries the ticket.
    Ask {
        subject: String,
        ticket: u64,
    },
}

/// What came of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Nothing,
    Found(Fingerprint),
    /// `heard`: somebody did answer, so the subscription was read as well.
    Failed {
        heard: bool,
    },
}

/// What an answer means for a ref.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) interest: Interest,
    /// The subscription is known to stand, for the first time on this connection.
    pub(super) granted: bool,
    /// The event found is not the last one heard.
    pub(super) wake: bool,
}

/// A subscription that does not stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) interest: Interest,
    /// As it was refused before on this connection.
    pub(super) again: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Unsubscribed { from: Instant },
    Unasked { from: Instant },
    Asking { ticket: u64 },
    Settled,
}

struct Ref {
    interest: Interest,
    stage: Stage,
    failures: u32,
    /// What was said of the subscription last on this connection.
    granted: Option<bool>,
    /// Survives a reconnect: a server's restart must not make every agent fetch every repository.
    last_heard: Option<Fingerprint>,
    /// On a connection before this one, or before messages were lost.
    was_asked: bool,
}

#[derive(Default)]
pub(super) struct Wanted {
    connected: bool,
    last_ticket: u64,
    /// When the next subscriptions may be sent.
    subscribe_from: Option<Instant>,
    by_subject: BTreeMap<String, Ref>,
}

impl Wanted {
    /// Takes the interests of now. Returns those that are given up.
    pub(super) fn replace(&mut self, interests: BTreeSet<Interest>, now: Instant) -> Vec<(String, Interest)> {
        let mut wanted: BTreeMap<String, Interest> = interests.into_iter().map(|one| (listened(&one), one)).collect();
        let gone: Vec<String> = self.by_subject.keys().filter(|known| !wanted.contains_key(*known)).cloned().collect();
        wanted.retain(|subject, _| !self.by_subject.contains_key(subject));
        for (subject, interest) in wanted {
            let stage = Stage::Unsubscribed { from: now };
            self.by_subject.insert(
                subject,
                Ref { interest, stage, failures: 0, granted: None, last_heard: None, was_asked: false },
            );
        }
        gone.into_iter()
            .filter_map(|subject| self.by_subject.remove(&subject).map(|gone| (subject, gone.interest)))
            .collect()
    }

    /// The client subscribes again by itself; what was published meanwhile has to be asked for.
    pub(super) fn connected(&mut self, now: Instant) {
        self.connected = true;
        for known in self.by_subject.values_mut() {
            known.failures = 0;
            known.granted = None;
        }
        self.ask_all_again(now);
    }

    pub(super) fn disconnected(&mut self) {
        self.connected = false;
    }

    /// Messages may have been missed.
    pub(super) fn ask_all_again(&mut self, now: Instant) {
        for known in self.by_subject.values_mut() {
            known.stage = match known.stage {
                Stage::Unsubscribed { .. } => Stage::Unsubscribed { from: now },
                Stage::Unasked { .. } | Stage::Asking { .. } | Stage::Settled => Stage::Unasked { from: now },
            };
        }
    }

    /// All that can be done now.
    pub(super) fn steps(&mut self, now: Instant) -> Vec<Step> {
        if !self.connected {
            return Vec::new();
        }
        let mut steps = self.subscribe(now);
        let asking = self.by_subject.values().filter(|known| matches!(known.stage, Stage::Asking { .. })).count();
        let room = QUESTIONS_MAX.saturating_sub(asking);
        let is_due = |known: &Ref| matches!(known.stage, Stage::Unasked { from } if from <= now);
        for (subject, known) in self.by_subject.iter_mut().filter(|(_, known)| is_due(known)).take(room) {
            self.last_ticket += 1;
            known.stage = Stage::Asking { ticket: self.last_ticket };
            steps.push(Step::Ask { subject: asked(subject, &known.interest), ticket: self.last_ticket });
        }
        steps
    }

    /// Does not wait for questions: one may take its whole time limit.
    fn subscribe(&mut self, now: Instant) -> Vec<Step> {
        if self.subscribe_from.is_some_and(|from| now < from) {
            return Vec::new();
        }
        let is_due = |known: &Ref| matches!(known.stage, Stage::Unsubscribed { from } if from <= now);
        let due = self.by_subject.iter_mut().filter(|(_, known)| is_due(known));
        let sent = due.take(SUBSCRIPTIONS_MAX).map(|(subject, known)| {
            known.stage = Stage::Unasked { from: now };
            Step::Subscribe { subject: subject.clone() }
        });
        let steps: Vec<Step> = sent.collect();
        self.subscribe_from = (!steps.is_empty()).then(|| now + SUBSCRIPTIONS_INTERVAL);
        steps
    }

    /// When [`Wanted::steps`], called at `now`, will have more to say if nothing happens before. What is due and waits for room
    /// is helped by an answer, not by time.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let from = |known: &Ref| match known.stage {
            Stage::Unsubscribed { from } => self.subscribe_from.max(Some(from)),
            Stage::Unasked { from } => Some(from),
            Stage::Asking { .. } | Stage::Settled => None,
        };
        let later = self.by_subject.values().filter_map(from).filter(|from| *from > now);
        self.connected.then(|| later.min()).flatten()
    }

    /// A message came. `None`: nobody wants it any more.
    pub(super) fn heard(&mut self, subject: &str, fingerprint: Fingerprint) -> Option<&Interest> {
        let known = self.of(subject)?;
        known.last_heard = Some(fingerprint);
        Some(&known.interest)
    }

    /// `None`: the question is out of date.
    pub(super) fn answered(&mut self, subject: &str, ticket: u64, answer: Answer, now: Instant) -> Option<Answered> {
        let known = self.of(subject).filter(|known| known.stage == Stage::Asking { ticket })?;
        let (heard, wake) = match answer {
            // Of many refs there is no last event to ask for: what was missed while there was no connection is looked for.
            Answer::Nothing => (true, known.interest.below && std::mem::replace(&mut known.was_asked, true)),
            Answer::Found(found) => (true, known.last_heard.replace(found) != Some(found)),
            Answer::Failed { heard } => (heard, false),
        };
        if let Answer::Failed { .. } = answer {
            known.failures = known.failures.saturating_add(1);
            known.stage = Stage::Unasked { from: now + backoff::delay(known.failures) };
        } else {
            known.failures = 0;
            known.stage = Stage::Settled;
        }
        let granted = heard && known.granted.replace(true) != Some(true);
        Some(Answered { interest: known.interest.clone(), granted, wake })
    }

    /// Who waits for what has this subject.
    fn of(&mut self, subject: &str) -> Option<&mut Ref> {
        let all = subject.rsplit_once('.').map(|(repository, _)| format!("{repository}.*")).unwrap_or_default();
        let subject = if self.by_subject.contains_key(subject) { subject } else { &all };
        self.by_subject.get_mut(subject)
    }

    /// The server, or the client, refused to subscribe. It is tried again: permissions change.
    pub(super) fn subscription_refused(&mut self, subject: &str, now: Instant) -> Option<Refused> {
        let known = self.by_subject.get_mut(subject)?;
        known.failures = known.failures.saturating_add(1);
        known.stage = Stage::Unsubscribed { from: now + backoff::delay(known.failures) };
        let again = known.granted.replace(false) == Some(false);
        Some(Refused { interest: known.interest.clone(), again })
    }

    /// The server refused to let somebody ask. `None`: it was not a question of ours.
    pub(super) fn question_refused(&mut self, refused: &str, now: Instant) -> Option<Answered> {
        let subject = refused.strip_prefix(&subject::direct_get(streams::COMMITS, ""))?;
        let Stage::Asking { ticket } = self.of(subject)?.stage else { return None };
        self.answered(subject, ticket, Answer::Failed { heard: true }, now)
    }
}

/// What is subscribed to. There is no subject for a part of a repository's refs.
fn listened(interest: &Interest) -> String {
    match interest.below {
        true => subject::commit_all_refs(&interest.repository),
        false => subject::commit(&interest.repository, &interest.reference),
    }
}

/// Whose last event is asked for. Of many refs none is: that the server answers is what counts.
fn asked(subject: &str, interest: &Interest) -> String {
    match interest.below {
        true => subject::commit(&interest.repository, &interest.reference),
        false => subject.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use towline_proto::{RefName, RepositoryId};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn interest(branch: &str) -> Interest {
        Interest {
            repository: RepositoryId::parse("github.com/org/fleet").unwrap(),
            reference: RefName::parse(&format!("refs/heads/{branch}")).unwrap(),
            below: false,
        }
    }

    fn subject_of(branch: &str) -> String {
        let interest = interest(branch);
        subject::commit(&interest.repository, &interest.reference)
    }

    fn connected(branches: &[&str], now: Instant) -> Wanted {
        let mut wanted = Wanted::default();
        wanted.replace(branches.iter().map(|branch| interest(branch)).collect(), now);
        assert!(wanted.steps(now).is_empty() && wanted.deadline(now).is_none(), "nothing before there is a connection");
        wanted.connected(now);
        wanted
    }

    fn ticket(steps: &[Step]) -> u64 {
        steps.iter().find_map(|step| if let Step::Ask { ticket, .. } = step { Some(*ticket) } else { None }).unwrap()
    }

    #[test]
    fn subscribes_then_asks_then_settles() {
        let now = Instant::now();
        let mut wanted = connected(&["main"], now);
        let subject = subject_of("main");
        let steps = wanted.steps(now);
        assert_eq!(
            steps,
            [Step::Subscribe { subject: subject.clone() }, Step::Ask { subject: subject.clone(), ticket: 1 }]
        );
        assert!(wanted.steps(now).is_empty());
        let found = Answer::Found([1; 32]);
        let answered = wanted.answered(&subject, 1, found, now).unwrap();
        assert_eq!(answered, Answered { interest: interest("main"), granted: true, wake: true });
        assert!(wanted.answered(&subject, 1, found, now).is_none(), "answered twice");

        wanted.disconnected();
        assert!(wanted.steps(now).is_empty());
        wanted.connected(now);
        let steps = wanted.steps(now);
        assert_eq!(steps, [Step::Ask { subject: subject.clone(), ticket: 2 }], "the client subscribed again by itself");
        let answered = wanted.answered(&subject, 2, found, now).unwrap();
        assert!(answered.granted && !answered.wake, "the same event as before wakes nobody");
    }

    #[test]
    fn a_last_event_that_was_heard_live_does_not_wake_again() {
        let now = Instant::now();
        let mut wanted = connected(&["main"], now);
        let ticket = ticket(&wanted.steps(now));
        assert_eq!(wanted.heard(&subject_of("main"), [7; 32]), Some(&interest("main")));
        let answered = wanted.answered(&subject_of("main"), ticket, Answer::Found([7; 32]), now).unwrap();
        assert!(!answered.wake);
    }

    #[test]
    fn questions_are_bounded_and_subscriptions_do_not_wait_for_them() {
        let now = Instant::now();
        let names: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        let mut wanted = connected(&names.iter().map(String::as_str).collect::<Vec<_>>(), now);
        let steps = wanted.steps(now);
        let subscribed = steps.iter().take_while(|step| matches!(step, Step::Subscribe { .. })).count();
        assert_eq!((subscribed, steps.len()), (SUBSCRIPTIONS_MAX, SUBSCRIPTIONS_MAX + QUESTIONS_MAX));
        assert!(wanted.steps(now).is_empty());
        let later = wanted.deadline(now).unwrap();
        assert_eq!((later, wanted.steps(later).len()), (now + SUBSCRIPTIONS_INTERVAL, 100 - SUBSCRIPTIONS_MAX));
        let Some(Step::Ask { subject, ticket }) = steps.last().cloned() else { panic!("no question") };
        wanted.answered(&subject, ticket, Answer::Nothing, now).unwrap();
        assert_eq!(wanted.steps(later).len(), 1, "an answer makes room for a question");
    }

    #[test]
    fn a_question_that_fails_is_repeated_later() {
        let now = Instant::now();
        let mut wanted = connected(&["main"], now);
        let subject = subject_of("main");
        let first = ticket(&wanted.steps(now));
        let answered = wanted.answered(&subject, first, Answer::Failed { heard: false }, now).unwrap();
        assert!(!answered.granted && !answered.wake);
        assert!(wanted.steps(now).is_empty());
        assert_eq!(wanted.deadline(now), Some(now + SECOND));
        let second = ticket(&wanted.steps(now + SECOND));
        let refused = subject::direct_get(streams::COMMITS, &subject);
        assert!(wanted.question_refused(&refused, now + SECOND).unwrap().granted, "a refusal is an answer");
        assert!(wanted.answered(&subject, second, Answer::Nothing, now).is_none(), "the question was refused before");
        assert_eq!(wanted.deadline(now + SECOND), Some(now + 3 * SECOND));
        assert!(wanted.question_refused("towline.status.c.a.b", now).is_none());
    }

    #[test]
    fn a_subscription_that_is_refused_is_tried_again() {
        let now = Instant::now();
        let mut wanted = connected(&["main"], now);
        let subject = subject_of("main");
        let first = ticket(&wanted.steps(now));
        let refused = |again| Some(Refused { interest: interest("main"), again });
        assert_eq!(wanted.subscription_refused(&subject, now), refused(false));
        assert!(wanted.answered(&subject, first, Answer::Nothing, now).is_none(), "it does not count as granted");
        let steps = wanted.steps(now + SECOND);
        assert_eq!(steps.first(), Some(&Step::Subscribe { subject: subject.clone() }));
        assert_eq!(wanted.subscription_refused(&subject, now + SECOND), refused(true));
        let third = ticket(&wanted.steps(now + 3 * SECOND));
        assert!(wanted.answered(&subject, third, Answer::Nothing, now).unwrap().granted, "permissions changed");
    }

    #[test]
    fn giving_up_is_idempotent_and_forgets() {
        let now = Instant::now();
        let mut wanted = connected(&["main", "next"], now);
        wanted.steps(now);
        let interests = BTreeSet::from([interest("next")]);
        assert_eq!(wanted.replace(interests.clone(), now), [(subject_of("main"), interest("main"))]);
        assert!(wanted.replace(interests, now).is_empty() && wanted.steps(now).is_empty());
        assert!(wanted.heard(&subject_of("main"), [0; 32]).is_none());
    }

    #[test]
    fn of_many_refs_all_are_heard_and_what_was_missed_is_looked_for() {
        let now = Instant::now();
        let tags = Interest { reference: RefName::parse("refs/tags").unwrap(), below: true, ..interest("main") };
        let mut wanted = Wanted::default();
        wanted.replace(BTreeSet::from([tags.clone(), interest("main")]), now);
        wanted.connected(now);
        let all = subject::commit_all_refs(&tags.repository);
        let of = |name: &str| subject::commit(&tags.repository, &RefName::parse(name).unwrap());
        let steps = wanted.steps(now);
        assert!(steps.contains(&Step::Subscribe { subject: all.clone() }), "{steps:?}");
        let ask = |steps: &[Step]| {
            let asked = |step: &Step| match step {
                Step::Ask { subject, ticket } if *subject == of("refs/tags") => Some(*ticket),
                _ => None,
            };
            steps.iter().find_map(asked).unwrap()
        };
        let answered = wanted.answered(&of("refs/tags"), ask(&steps), Answer::Nothing, now).unwrap();
        assert_eq!(answered, Answered { interest: tags.clone(), granted: true, wake: false });
        assert_eq!(wanted.heard(&of("refs/tags/v1"), [1; 32]), Some(&tags));
        assert_eq!(wanted.heard(&of("refs/heads/main"), [1; 32]), Some(&interest("main")));
        wanted.disconnected();
        wanted.connected(now);
        let ticket = ask(&wanted.steps(now));
        assert!(wanted.answered(&of("refs/tags"), ticket, Answer::Nothing, now).unwrap().wake);
        let names = ["refs/tags/v1", "refs/tags", "refs/heads/main", "refs/tagsx/v1"];
        assert_eq!(names.map(|name| tags.covers(&RefName::parse(name).unwrap())), [true, true, false, false]);
        assert_eq!(wanted.replace(BTreeSet::new(), now).len(), 2);
    }
}
