//! What a server's error text refuses.
//!
//! Knows how nats-server words a violation of permissions: the only place where a client learns of one. Must not know what
//! follows from it.

/// A refusal, by the subject it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    Subscription {
        subject: String,
    },
    Publish {
        subject: String,
    },
    /// Any other error a server tells.
    Other,
}

pub(super) fn read(text: &str) -> Refusal {
    let quoted_after = |words: &str| {
        // ASCII lower case keeps every byte at its place.
        let start = text.to_ascii_lowercase().find(words)? + words.len();
        let (subject, _) = text.get(start..)?.split_once('"')?;
        Some(subject.to_owned())
    };
    if let Some(subject) = quoted_after("permissions violation for subscription to \"") {
        return Refusal::Subscription { subject };
    }
    match quoted_after("permissions violation for publish to \"") {
        Some(subject) => Refusal::Publish { subject },
        None => Refusal::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_subject() {
        let subject = || "towline.commit.a.b".to_owned();
        let cases = [
            (
                "Permissions Violation for Subscription to \"towline.commit.a.b\"",
                Refusal::Subscription { subject: subject() },
            ),
            (
                "nats: Permissions Violation for Subscription to \"towline.commit.a.b\" using queue \"q\"",
                Refusal::Subscription { subject: subject() },
            ),
            (
                "nats: permissions violation for publish to \"towline.commit.a.b\"",
                Refusal::Publish { subject: subject() },
            ),
            ("nats: maximum connections exceeded", Refusal::Other),
            ("Permissions Violation for Publish to \"cut", Refusal::Other),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
