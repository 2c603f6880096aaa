//! Label selectors as kubectl takes them: `app=web,tier in (a, b),!canary`.
//!
//! Knows their text and what it means. Must not know objects.

use std::collections::BTreeSet;

use serde_json::Value;

/// All of its requirements have to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    holds: Holds,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Holds {
    Exists,
    Absent,
    In(BTreeSet<String>),
    /// Also where the key is absent.
    NotIn(BTreeSet<String>),
}

/// A selector that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no requirement: write key, !key, key=value, key!=value, key in (a,b) or key notin (a,b)")]
pub struct SelectorError(String);

impl Selector {
    /// Reads a selector.
    ///
    /// # Errors
    /// The first part that is no requirement.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        parts(text)
            .into_iter()
            .map(|part| requirement(part).ok_or_else(|| SelectorError(part.trim().to_owned())))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether it selects what has these labels, or annotations.
    #[must_use]
    pub fn selects(&self, marks: &Value) -> bool {
        self.0.iter().all(|Requirement { key, holds }| {
            let value = marks.get(key).and_then(Value::as_str);
            match holds {
                Holds::Exists => value.is_some(),
                Holds::Absent => value.is_none(),
                Holds::In(values) => value.is_some_and(|value| values.contains(value)),
                Holds::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            }
        })
    }
}

/// Between commas, but not those in brackets.
fn parts(text: &str) -> Vec<&str> {
    let (mut depth, mut from, mut parts) = (0_usize, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

fn requirement(part: &str) -> Option<Requirement> {
    let part = part.trim();
    let one = |value: &str| BTreeSet::from([value.trim().to_owned()]);
    let (key, holds) = if let Some((key, value)) = part.split_once("!=") {
        (key, Holds::NotIn(one(value)))
    } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        (key, Holds::In(one(value)))
    } else if let Some(key) = part.strip_prefix('!') {
        (key, Holds::Absent)
    } else if let Some((key, set)) = part.split_once(char::is_whitespace) {
        let set = set.trim();
        let of = |word: &str| set.strip_prefix(word).map(str::trim_start)?.strip_prefix('(')?.strip_suffix(')');
        let values = |text: &str| text.split(',').map(|value| value.trim().to_owned()).collect::<BTreeSet<_>>();
        match (of("notin"), of("in")) {
            (Some(text), _) => (key, Holds::NotIn(values(text))),
            (None, Some(text)) => (key, Holds::In(values(text))),
            (None, None) => return None,
        }
    } else {
        (part, Holds::Exists)
    };
    let key = key.trim();
    let is_word = |text: &str| text.chars().all(|c| c.is_alphanumeric() || "-_./:".contains(c));
    let holds_words = match &holds {
        Holds::In(values) | Holds::NotIn(values) => values.iter().all(|value| is_word(value)),
        Holds::Exists | Holds::Absent => true,
    };
    (!key.is_empty() && is_word(key) && holds_words).then(|| Requirement { key: key.to_owned(), holds })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selects_as_kubectl_does() {
        let marks = json!({"app": "web", "example.org/tier": "a"});
        for (text, selects) in [
            ("app", true),
            ("app=web", true),
            ("app == web", true),
            ("app!=web", false),
            ("!app", false),
            ("!other", true),
            ("other!=x", true),
            ("other=x", false),
            ("app in (web, api)", true),
            ("app in (api)", false),
            ("app notin (api,web)", false),
            ("other notin (x)", true),
            ("app=web,example.org/tier in (a,b),!canary", true),
            ("app=web,canary", false),
        ] {
            assert_eq!(Selector::parse(text).unwrap().selects(&marks), selects, "{text}");
        }
        assert!(Selector::parse("!app").unwrap().selects(&Value::Null));
    }

    #[test]
    fn what_is_no_selector_is_named() {
        for text in ["", "app web", "app in web", "=web", "app=a b", "app,,b", "app in (a"] {
            assert!(Selector::parse(text).is_err(), "{text:?}");
        }
    }
}
