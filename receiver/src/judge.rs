//! A complete delivery to what follows from it. Pure and synchronous: verify, timestamp window, parse, repository, and
//! not one of them before the one ahead of it.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use towline_proto::{CommitEvent, RepositoryId, subject};

use crate::answer::Answer;
use crate::config::Hook;
use crate::payload::{self, Ignored, Push, Reading, Unreadable};
use crate::verify::{self, Verified};

/// A request whose body is complete, without the body.
pub struct Delivery {
    pub hook: Arc<Hook>,
    pub headers: HeaderMap,
    pub received_at: Timestamp,
}

/// An event and what makes it one with its repetitions.
pub struct Identified {
    pub event: CommitEvent,
    pub id: String,
}

/// What follows from a delivery.
pub enum Judgement {
    Publish(Vec<Identified>),
    /// The reason is for the log; what the sender may know of it is in the answer.
    Answer {
        answer: Answer,
        reason: String,
    },
}

impl Delivery {
    pub fn judge(&self, body: Bytes) -> Judgement {
        let verified = verify::verify(self.hook.provider(), self.hook.secrets(), &self.headers, body, self.received_at);
        let verified = match verified {
            Ok(verified) => verified,
            Err(refusal) => return Judgement::Answer { answer: Answer::Refused, reason: refusal.to_string() },
        };
        match self.read(&verified) {
            Ok(judgement) => judgement,
            Err(unreadable) => {
                let reason = towline_daemon::error::chain(&unreadable);
                Judgement::Answer { answer: Answer::Unreadable { reason: reason.clone() }, reason }
            }
        }
    }

    fn read(&self, verified: &Verified) -> Result<Judgement, Unreadable> {
        let pushes = match payload::read(verified)? {
            Reading::Pushes(pushes) => pushes,
            Reading::Ignored(ignored) => return Ok(nothing_to_do(&ignored)),
        };
        let mut identified = Vec::new();
        let mut outside = None;
        for push in pushes {
            if self.hook.allows(&push.full_name) {
                identified.push(self.identify(verified, push)?);
            } else {
                outside = Some(Ignored::not_allowed(&push.full_name));
            }
        }
        Ok(match outside {
            Some(ignored) if identified.is_empty() => nothing_to_do(&ignored),
            Some(_) | None => Judgement::Publish(identified),
        })
    }

    /// The repository is the hook's host joined to the verified full name: a URL in the payload is never looked at.
    fn identify(&self, verified: &Verified, push: Push) -> Result<Identified, Unreadable> {
        let repository = RepositoryId::from_hook(self.hook.host(), self.hook.prefix(), &push.full_name)
            .map_err(Unreadable::Repository)?;
        let id = verified.message_id(&subject::commit(&repository, &push.reference));
        let traceparent = self.headers.get("traceparent").and_then(|value| value.to_str().ok());
        let event = CommitEvent {
            version: CommitEvent::VERSION,
            repository,
            reference: push.reference,
            before: push.before,
            after: Some(push.after),
            provider: verified.provider().name().to_owned(),
            hook: self.hook.path().to_owned(),
            delivery: verified.delivery().to_owned(),
            received_at: self.received_at,
            traceparent: traceparent.map(str::to_owned),
        };
        Ok(Identified { event, id })
    }
}

fn nothing_to_do(ignored: &Ignored) -> Judgement {
    let reason = ignored.to_string();
    Judgement::Answer { answer: Answer::Ignored { reason: reason.clone() }, reason }
}
