//! What a pass waits for, in words.
//!
//! A wait holds nobody: the pass ends, says what it waits for, and runs again when something of it has moved. Knows names and
//! reasons only; who notices that something moved is the agent's business.

use std::fmt;

use crate::naming::list;
use crate::object::{ObjectId, SyncKey};

/// One thing a pass waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// Objects that are applied and not healthy yet, each with the reason in words.
    Healthy(Vec<(ObjectId, String)>),
    /// The same of objects that cannot be watched: nothing tells when they become healthy, so they are looked at again.
    Unwatched(Vec<(ObjectId, String)>),
    /// Objects that are deleted and not gone yet: finalizers, or Pods that end.
    Gone(Vec<ObjectId>),
    /// Other Syncs of the same source that may claim what is about to be pruned and have not been judged at this revision.
    Judged(Vec<SyncKey>),
    /// Syncs this one depends on, each with why it is not ready.
    Dependencies(Vec<(SyncKey, String)>),
}

impl Wait {
    /// Whether the wait ends at `spec.timeout`. Nothing fails by waiting for other Syncs: they say themselves what is wrong.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        match self {
            Self::Healthy(_) | Self::Unwatched(_) | Self::Gone(_) => true,
            Self::Judged(_) | Self::Dependencies(_) => false,
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Healthy(objects) => write(f, "to become healthy", objects.iter().map(|(id, why)| reason(id, why))),
            Self::Unwatched(objects) => write(
                f,
                "to become healthy, which cannot be watched and is looked at again at spec.retryInterval",
                objects.iter().map(|(id, why)| reason(id, why)),
            ),
            Self::Gone(objects) => write(f, "to be gone", objects.iter().map(ToString::to_string)),
            Self::Judged(syncs) => write(
                f,
                "to say what they claim at this revision, before anything is pruned",
                syncs.iter().map(ToString::to_string),
            ),
            Self::Dependencies(syncs) => write(f, "to be ready", syncs.iter().map(|(key, why)| reason(key, why))),
        }
    }
}

fn reason(name: impl fmt::Display, why: &str) -> String {
    format!("{name} ({why})")
}

fn write(f: &mut fmt::Formatter<'_>, what: &str, names: impl ExactSizeIterator<Item = String>) -> fmt::Result {
    write!(f, "waiting for {} {what}", list(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sync(name: String) -> SyncKey {
        SyncKey { namespace: "ns".to_owned(), name }
    }

    #[test]
    fn names_and_reasons_are_said_and_many_are_counted() {
        let one = Wait::Dependencies(vec![(sync("infra".to_owned()), "not ready".to_owned())]);
        assert_eq!(one.to_string(), "waiting for ns/infra (not ready) to be ready");
        let many = Wait::Judged((0..12).map(|n| sync(n.to_string())).collect());
        assert!(many.to_string().contains("ns/9 and 2 more to say"), "{many}");
    }
}
