//! JSON pointers (RFC 6901) into manifests: read, refused where they name what makes an object the one it is, and left out.
//!
//! Knows pointers and values. Must not know rules, or what the API server has.

use std::fmt;

use serde_json::{Map, Value};

/// Labels and annotations that tell Towline whose an object is and what may be done to it.
const OWN_PREFIX: &str = "towline.dev/";

/// A place in an object; never the whole, and nothing that says which object it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pointer(Vec<String>);

/// Why a pointer cannot be left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    #[error("it names the whole object: to leave an object alone, annotate it with towline.dev/reconcile: disabled")]
    Whole,
    #[error("a JSON pointer begins with /")]
    NoSlash,
    #[error("after ~ comes 0 (for ~) or 1 (for /)")]
    Escape,
    #[error("it names what says which object this is, and whose")]
    Identity,
}

impl Pointer {
    /// Reads a pointer.
    ///
    /// # Errors
    /// It is none, or names what must not be left out.
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        if text.is_empty() {
            return Err(PointerError::Whole);
        }
        let rest = text.strip_prefix('/').ok_or(PointerError::NoSlash)?;
        let tokens = rest.split('/').map(unescaped).collect::<Option<Vec<_>>>().ok_or(PointerError::Escape)?;
        let words: Vec<&str> = tokens.iter().map(String::as_str).collect();
        let is_identity = match words.as_slice() {
            ["apiVersion" | "kind", ..] | ["metadata"] | ["metadata", "name" | "namespace", ..] => true,
            ["metadata", "labels" | "annotations", name, ..] => name.starts_with(OWN_PREFIX),
            _ => false,
        };
        if is_identity { Err(PointerError::Identity) } else { Ok(Self(tokens)) }
    }

    /// Its parts, unescaped; at least one.
    #[must_use]
    pub fn tokens(&self) -> &[String] {
        &self.0
    }

    /// What stands there.
    #[must_use]
    pub fn of<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(value, |value, token| child(value, token))
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|token| write!(f, "/{}", token.replace('~', "~0").replace('/', "~1")))
    }
}

fn unescaped(token: &str) -> Option<String> {
    let mut parts = token.split('~');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (escaped, rest) = part.split_at_checked(1)?;
        text.push(match escaped {
            "0" => '~',
            "1" => '/',
            _ => return None,
        });
        text.push_str(rest);
    }
    Some(text)
}

/// The field of a mapping, or the element of a list, that a token names.
#[must_use]
pub fn child<'v>(value: &'v Value, token: &str) -> Option<&'v Value> {
    match value {
        Value::Object(map) => map.get(token),
        Value::Array(items) => items.get(index(token)?),
        _ => None,
    }
}

/// An index as RFC 6901 writes it: digits, and none of them a leading zero.
fn index(token: &str) -> Option<usize> {
    let is_plain = token == "0" || !token.starts_with('0');
    (is_plain && token.bytes().all(|b| b.is_ascii_digit())).then(|| token.parse().ok()).flatten()
}

/// Whether these tokens name all labels or all annotations: of them, Towline's own are never meant.
#[must_use]
pub fn is_marks(tokens: &[String]) -> bool {
    matches!(tokens, [metadata, marks] if metadata == "metadata" && (marks == "labels" || marks == "annotations"))
}

/// Whether a label or annotation is Towline's own.
#[must_use]
pub fn is_own_mark(name: &str) -> bool {
    name.starts_with(OWN_PREFIX)
}

/// The value without what the pointers name; `None`: it has nothing of that.
#[must_use]
pub fn left_out(value: &Value, pointers: &[Pointer]) -> Option<Value> {
    let mut there: Vec<&Pointer> = pointers.iter().filter(|pointer| pointer.of(value).is_some()).collect();
    // The last element of a list first: those before it keep their places.
    let place = |pointer: &Pointer| pointer.0.iter().map(|t| (index(t), t.clone())).collect::<Vec<_>>();
    there.sort_by_key(|pointer| std::cmp::Reverse(place(pointer)));
    there.dedup();
    let mut less = value.clone();
    for pointer in there {
        let of_marks = is_marks(&pointer.0);
        remove(&mut less, &pointer.0, of_marks);
    }
    (less != *value).then_some(less)
}

/// Takes out one place, and the mappings that are empty by that: an empty mapping would still be claimed.
fn remove(value: &mut Value, tokens: &[String], keeps_own: bool) {
    let Some((token, rest)) = tokens.split_first() else { return };
    match value {
        Value::Object(map) if rest.is_empty() => match map.get_mut(token) {
            Some(Value::Object(marks)) if keeps_own => {
                marks.retain(|name, _| is_own_mark(name));
                drop_empty(map, token);
            }
            _ => drop(map.remove(token)),
        },
        Value::Object(map) => {
            let Some(inner) = map.get_mut(token) else { return };
            let was_empty = is_empty(inner);
            remove(inner, rest, keeps_own);
            if !was_empty {
                drop_empty(map, token);
            }
        }
        Value::Array(items) => {
            let Some(at) = index(token).filter(|at| *at < items.len()) else { return };
            match rest.is_empty() {
                true => drop(items.remove(at)),
                false => remove(&mut items[at], rest, keeps_own),
            }
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty)
}

fn drop_empty(map: &mut Map<String, Value>, key: &str) {
    if map.get(key).is_some_and(is_empty) {
        map.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn without(value: Value, pointers: &[&str]) -> Value {
        let pointers: Vec<_> = pointers.iter().map(|p| Pointer::parse(p).unwrap()).collect();
        left_out(&value, &pointers).unwrap_or(value)
    }

    #[test]
    fn fields_elements_and_emptied_mappings_go() {
        assert_eq!(
            without(json!({"spec": {"replicas": 3, "paused": true}}), &["/spec/replicas"]),
            json!({"spec": {"paused": true}})
        );
        assert_eq!(without(json!({"a": {"b": {"c": 1}}, "d": 1}), &["/a/b/c"]), json!({"d": 1}));
        assert_eq!(without(json!({"a": {}, "d": 1}), &["/a/b", "/x/y", "/d/e", "/d/0"]), json!({"a": {}, "d": 1}));
        let list = json!({"l": [{"n": 0, "r": 1}, {"n": 1}, {"n": 2}]});
        assert_eq!(without(list.clone(), &["/l/0/r", "/l/0", "/l/2"]), json!({"l": [{"n": 1}]}));
        assert_eq!(without(list.clone(), &["/l/1", "/l/1"]), json!({"l": [{"n": 0, "r": 1}, {"n": 2}]}));
        for none in ["/l/3", "/l/-", "/l/01", "/l/+1", "/l/x"] {
            assert_eq!(without(list.clone(), &[none]), list, "{none}");
        }
        let annotated = json!({"metadata": {"name": "a", "annotations": {"a/b~c": "1", "d": "2"}}});
        assert_eq!(
            without(annotated, &["/metadata/annotations/a~1b~0c"])["metadata"]["annotations"],
            json!({"d": "2"})
        );
        let ten: Vec<_> = (0..12).collect();
        assert_eq!(without(json!({ "l": ten }), &["/l/2", "/l/10"])["l"], json!([0, 1, 3, 4, 5, 6, 7, 8, 9, 11]));
    }

    #[test]
    fn what_tells_towline_whose_an_object_is_stays() {
        let value =
            json!({"metadata": {"labels": {"towline.dev/sync-name": "a", "x": "y"}, "annotations": {"z": "1"}}});
        let left = without(value, &["/metadata/labels", "/metadata/annotations"]);
        assert_eq!(left, json!({"metadata": {"labels": {"towline.dev/sync-name": "a"}}}));
    }

    #[test]
    fn what_is_no_pointer_or_names_the_object_is_refused() {
        for (text, error) in [
            ("", PointerError::Whole),
            ("spec/replicas", PointerError::NoSlash),
            ("/a~", PointerError::Escape),
            ("/a~2b", PointerError::Escape),
            ("/apiVersion", PointerError::Identity),
            ("/kind", PointerError::Identity),
            ("/metadata", PointerError::Identity),
            ("/metadata/name", PointerError::Identity),
            ("/metadata/namespace", PointerError::Identity),
            ("/metadata/labels/towline.dev~1sync-name", PointerError::Identity),
            ("/metadata/annotations/towline.dev~1prune", PointerError::Identity),
        ] {
            assert_eq!(Pointer::parse(text), Err(error), "{text:?}");
        }
        assert!(Pointer::parse("/spec/kind").is_ok() && Pointer::parse("/metadata/labels/app").is_ok());
    }

    proptest! {
        #[test]
        fn read_and_written_is_the_same(tokens in prop::collection::vec("[a-z~/é]{0,4}", 1..5)) {
            let pointer = Pointer(tokens);
            if let Ok(read) = Pointer::parse(&pointer.to_string()) {
                prop_assert_eq!(read, pointer);
            }
        }

        /// In any order, and once or twice: the same is left out, and nothing that is named of mappings is left.
        #[test]
        fn order_does_not_matter(mut paths in prop::collection::vec("(/[ab01]){1,3}", 1..5), turn in any::<prop::sample::Index>()) {
            let value = json!({"a": [{"a": 1, "b": [1, 2]}, {"b": {"a": 1, "b": 2}}], "b": {"a": {"a": 1}, "b": [0, 1]}, "x": 1});
            let parsed = |paths: &[String]| paths.iter().map(|p| Pointer::parse(p).unwrap()).collect::<Vec<_>>();
            let once = left_out(&value, &parsed(&paths));
            let at = turn.index(paths.len());
            paths.rotate_left(at);
            paths.push(paths[0].clone());
            prop_assert_eq!(&once, &left_out(&value, &parsed(&paths)));
            prop_assert_eq!(once.is_some(), parsed(&paths).iter().any(|p| p.of(&value).is_some()));
        }
    }
}
