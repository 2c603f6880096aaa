//! An error and its causes as one line. Knows nothing of any particular error.

use std::error::Error;

/// Writes an error and its sources as `failed to x: because y: because z`.
///
/// A source whose text the line already ends with is left out: many libraries repeat their cause in their own message.
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !text.is_empty() && !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        next = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        source: Option<Box<Link>>,
    }

    fn link(text: &'static str, source: Option<Link>) -> Link {
        Link { text, source: source.map(Box::new) }
    }

    #[test]
    fn names_every_cause_in_order() {
        let error = link("failed to start", Some(link("no listener", Some(link("address in use", None)))));
        assert_eq!(chain(&error), "failed to start: no listener: address in use");
    }

    #[test]
    fn a_repeated_cause_is_said_once() {
        let error = link("failed to read: no such file", Some(link("no such file", None)));
        assert_eq!(chain(&error), "failed to read: no such file");
    }
}
