//! A complete delivery to what follows from it. Pure and synchronous: verify, timestamp window, parse, repository, and
//! not one of them before the one ahead of it.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use towline_proto::{CommitEvent, RepositoryId, subject};

use crate::answer::Answer;
use crate::config::Hook;
use crate::payload::{self, Ignored, Push, Read, Reading, Unreadable};
use crate::verify::{self, Names, Refusal, Verified};

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

/// What follows from a delivery, and what it calls itself where only the verified body says it.
pub struct Judged {
    pub judgement: Judgement,
    pub names: Option<Names>,
}

/// What follows from a delivery.
pub enum Judgement {
    Publish(Vec<Identified>),
    /// Not believed.
    Refuse(Refusal),
    /// The reason is for the log; what the sender may know of it is in the answer.
    Answer {
        answer: Answer,
        reason: String,
    },
}

impl Delivery {
    pub fn judge(&self, body: Bytes) -> Judged {
        let secrets = self.hook.secrets().good();
        let verified = verify::verify(self.hook.provider(), &secrets, &self.headers, body, self.received_at);
        let verified = match verified {
            Ok(verified) => verified,
            Err(refusal) => return Judgement::Refuse(refusal).into(),
        };
        let Read { reading, names } = payload::read(&verified);
        let delivery = &names.as_ref().unwrap_or(verified.names()).delivery;
        let judgement = reading.and_then(|reading| self.follow(&verified, reading, delivery));
        Judged { judgement: judgement.unwrap_or_else(unreadable), names }
    }

    fn follow(&self, verified: &Verified, reading: Reading, delivery: &str) -> Result<Judgement, Unreadable> {
        let pushes = match reading {
            Reading::Pushes(pushes) => pushes,
            Reading::Ignored(ignored) => return Ok(nothing_to_do(&ignored)),
        };
        let mut identified = Vec::new();
        let mut outside = None;
        for push in pushes {
            // The hook's host joined to the verified full name: a URL in the payload is never looked at.
            match self.hook.repository(&push.full_name) {
                Ok(repository) if self.hook.allows_repository(&repository) => {
                    identified.push(self.identify(verified, repository, push, delivery));
                }
                Err(source) if self.hook.allowed().texts().is_empty() => return Err(Unreadable::Repository(source)),
                // What has no identity is in no list.
                Ok(_) | Err(_) => outside = Some(Ignored::not_allowed(&push.full_name)),
            }
        }
        Ok(match outside {
            Some(ignored) if identified.is_empty() => nothing_to_do(&ignored),
            Some(_) | None => Judgement::Publish(identified),
        })
    }

    fn identify(&self, verified: &Verified, repository: RepositoryId, push: Push, delivery: &str) -> Identified {
        let id = verified.message_id(&subject::commit(&repository, &push.reference));
        let event = CommitEvent {
            version: CommitEvent::VERSION,
            repository,
            reference: push.reference,
            before: push.before,
            after: Some(push.after),
            provider: verified.provider().name().to_owned(),
            hook: self.hook.path().to_owned(),
            delivery: delivery.to_owned(),
            received_at: self.received_at,
            // Not the sender's word, but how the delivery came here: `deliver` adds it.
            traceparent: None,
        };
        Identified { event, id }
    }
}

impl Judged {
    /// Not believed: with other secrets it might be.
    pub fn is_refused(&self) -> bool {
        matches!(self.judgement, Judgement::Refuse(_))
    }
}

impl Judgement {
    /// Whether whoever sent this knows one of the hook's secrets.
    pub fn is_verified(&self) -> bool {
        match self {
            Self::Publish(_) => true,
            Self::Refuse(_) => false,
            Self::Answer { answer, .. } => matches!(answer, Answer::Ignored { .. } | Answer::Unreadable { .. }),
        }
    }

    pub(crate) fn answer(answer: Answer, reason: String) -> Self {
        Self::Answer { answer, reason }
    }
}

impl From<Judgement> for Judged {
    fn from(judgement: Judgement) -> Self {
        Self { judgement, names: None }
    }
}

fn nothing_to_do(ignored: &Ignored) -> Judgement {
    let reason = ignored.to_string();
    Judgement::answer(Answer::Ignored { reason: reason.clone() }, reason)
}

fn unreadable(error: Unreadable) -> Judgement {
    let reason = towline_daemon::error::chain(&error);
    Judgement::answer(Answer::Unreadable { reason: reason.clone() }, reason)
}
