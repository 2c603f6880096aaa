//! Text to manifests: plain YAML and JSON.
//!
//! Knows documents, `List` kinds and where each object stands. Must not know scopes, namespaces or what exists in a cluster.
//! Every mistake of every file is found before anything is refused, so that one commit mends them all.

use serde_json::Value;
use serde_saphyr::Spanned;

use crate::object::Origin;
use crate::tree::Tree;

/// One object as it stands in the repository.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    /// As written; empty counts as absent.
    pub namespace: Option<String>,
    pub value: Value,
    pub origin: Origin,
}

/// Documents of one file, and objects of all files below a path: twice what an Inventory can list, which says so itself.
const DOCUMENTS_MAX: usize = 20_000;
/// Mappings, sequences and scalars of one file, and of all files below a path: 16 MiB hold about 4 million of the shortest,
/// and a value takes some 60 bytes of memory.
const NODES_MAX: usize = 4_000_000;

/// One mistake, with its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{origin}: {problem}")]
pub struct Mistake {
    pub origin: Origin,
    pub problem: String,
    /// The cluster lacks something that may still come; what Git holds may be right.
    pub may_pass: bool,
}

/// Reads all manifests below a path.
///
/// # Errors
/// All mistakes found, in the order of path and line.
pub fn read(tree: &Tree) -> Result<Vec<Manifest>, Vec<Mistake>> {
    let mut manifests = Vec::new();
    let mut mistakes = Vec::new();
    let mut nodes = 0_usize;
    for file in &tree.files {
        match documents(&file.path, &file.contents) {
            Ok(documents) => {
                for (value, origin) in documents {
                    nodes = nodes.saturating_add(count_nodes(&value));
                    expand(value, &origin, None, &mut manifests, &mut mistakes);
                }
            }
            Err(mistake) => mistakes.push(mistake),
        }
        // Files that are small enough one by one may be too much together; the memory is shared with all Syncs.
        if manifests.len() > DOCUMENTS_MAX || nodes > NODES_MAX {
            let origin = Origin { path: file.path.clone(), line: 1 };
            let problem = format!(
                "with this file the path has more than {DOCUMENTS_MAX} objects, or {NODES_MAX} fields in all: divide it \
                 among several Syncs"
            );
            mistakes.push(Mistake { origin, problem, may_pass: false });
            break;
        }
    }
    if mistakes.is_empty() {
        Ok(manifests)
    } else {
        mistakes.sort();
        Err(mistakes)
    }
}

fn count_nodes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
        Value::Array(items) => 1 + items.iter().map(count_nodes).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(count_nodes).sum::<usize>(),
    }
}

/// The documents of one file with their first lines; empty ones are left out.
fn documents(path: &str, contents: &[u8]) -> Result<Vec<(Value, Origin)>, Mistake> {
    let at = |line| Origin { path: path.to_owned(), line };
    let text = std::str::from_utf8(contents).map_err(|e| Mistake {
        origin: at(1 + contents[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count() as u64),
        problem: "not UTF-8".to_owned(),
        may_pass: false,
    })?;
    // kubectl reads `0644` as octal (YAML 1.1), and a file mode that became 644 would be a silent change.
    // The file's bytes are bounded where it is read; what the parser counts by itself must not be less than what such a file
    // can hold. Its bounds on anchors and aliases, which make much out of little, stay as they are.
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_documents: DOCUMENTS_MAX,
            max_nodes: NODES_MAX,
            max_events: 4 * NODES_MAX,
        },
    };
    let documents: Vec<Spanned<Option<Value>>> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|e| Mistake {
            origin: at(e.location().map_or(1, |l| l.line())),
            problem: format!("not valid YAML: {}", without_place(&e)),
            may_pass: false,
        })?;
    Ok(documents
        .into_iter()
        .filter_map(|doc| {
            let line = doc.referenced.line();
            doc.value.filter(|value| !value.is_null()).map(|value| (value, at(line)))
        })
        .collect())
}

/// The parser's message; the place is said once, by the origin.
fn without_place(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or("unreadable");
    // The parser's advice is for programmers: which of its options to change.
    [" at line ", ", set "].iter().fold(first, |text, cut| text.split(cut).next().unwrap_or(text)).to_owned()
}

/// A `List` becomes its items; everything else is checked and kept. Lists do not nest: no tool writes that.
fn expand(
    value: Value,
    origin: &Origin,
    item: Option<usize>,
    manifests: &mut Vec<Manifest>,
    mistakes: &mut Vec<Mistake>,
) {
    let mut problem = |problem: String| {
        let problem = item.map_or(problem.clone(), |index| format!("items[{index}]: {problem}"));
        mistakes.push(Mistake { origin: origin.clone(), problem, may_pass: false });
    };
    let Value::Object(map) = &value else {
        return problem("a manifest is a mapping with apiVersion, kind and metadata".to_owned());
    };
    let text = |key: &str| map.get(key).and_then(Value::as_str).filter(|s| !s.is_empty());
    let (Some(api_version), Some(kind)) = (text("apiVersion"), text("kind")) else {
        return problem("apiVersion and kind must both be set".to_owned());
    };
    let (api_version, kind) = (api_version.to_owned(), kind.to_owned());
    if item.is_none() && is_list(map, &kind) {
        return expand_list(value, origin, manifests, mistakes);
    }
    let metadata = |key: &str| {
        map.get("metadata")
            .and_then(|m| m.get(key))
            .and_then(Value::as_str)
            .filter(|s| !s.is_empty())
            .map(str::to_owned)
    };
    for key in ["name", "namespace"] {
        // `y`, `on` and `123` are no texts in YAML; read as absent, a namespace would be silently replaced.
        if map.get("metadata").and_then(|m| m.get(key)).is_some_and(|v| !v.is_null() && !v.is_string()) {
            return problem(format!("{kind} has a metadata.{key} that is not text: put it in quotes"));
        }
    }
    let Some(name) = metadata("name") else {
        let generated = metadata("generateName").is_some();
        return problem(match generated {
            true => format!("{kind} has metadata.generateName: what is kept equal to Git needs a name of its own"),
            false => format!("{kind} has no metadata.name"),
        });
    };
    let namespace = metadata("namespace");
    manifests.push(Manifest { api_version, kind, name, namespace, value, origin: origin.clone() });
}

/// `List`, or any kind that ends so and carries items in place of a spec (`ConfigMapList`).
fn is_list(map: &serde_json::Map<String, Value>, kind: &str) -> bool {
    kind.ends_with("List") && map.get("items").is_some_and(Value::is_array)
}

fn expand_list(list: Value, origin: &Origin, manifests: &mut Vec<Manifest>, mistakes: &mut Vec<Mistake>) {
    let Value::Object(mut map) = list else { return };
    // The kinds of a typed list may leave out their own kind, as `kubectl get -o json` of old wrote them.
    let typed = map.get("kind").and_then(Value::as_str).and_then(|k| k.strip_suffix("List")).unwrap_or("").to_owned();
    let api_version = map.get("apiVersion").cloned();
    let Some(Value::Array(items)) = map.remove("items") else { return };
    for (index, mut item) in items.into_iter().enumerate() {
        if let (Value::Object(item), false) = (&mut item, typed.is_empty()) {
            item.entry("kind").or_insert_with(|| Value::String(typed.clone()));
            if let Some(api_version) = &api_version {
                item.entry("apiVersion").or_insert_with(|| api_version.clone());
            }
        }
        expand(item, origin, Some(index), manifests, mistakes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::File;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let files = files.iter().map(|(p, c)| File { path: (*p).into(), contents: c.as_bytes().to_vec() }).collect();
        Tree { read: vec![], files }
    }

    fn names(text: &str) -> Vec<String> {
        read(&tree(&[("f.yaml", text)])).unwrap().iter().map(|m| format!("{} {}", m.name, m.origin)).collect()
    }

    fn mistakes(files: &[(&str, &str)]) -> Vec<String> {
        read(&tree(files)).unwrap_err().iter().map(ToString::to_string).collect()
    }

    const CM: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ";

    #[test]
    fn documents_know_their_lines_and_empty_ones_do_not_count() {
        let text = format!("# only a comment\n---\n---\n{CM}a}}\n---\n\n# b comes\n{CM}b}}\n---\nnull\n---\n");
        assert_eq!(names(&text), ["a f.yaml:4", "b f.yaml:10"]);
        assert!(names("").is_empty());
        assert!(names("# nothing\n").is_empty());
    }

    #[test]
    fn a_file_may_hold_thousands_of_objects_but_no_bomb() {
        let many = format!("{CM}a}}\n---\n").repeat(5_000);
        assert_eq!(names(&many).len(), 5_000);
        let mut bomb = format!("{CM}a}}\na0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let items = vec![format!("*a{}", level - 1); 9].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{items}]\n"));
        }
        assert_eq!(mistakes(&[("f.yaml", &bomb)]).len(), 1);
    }

    #[test]
    fn lists_become_their_items() {
        let text = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: s}}\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}\n";
        assert_eq!(names(text), ["s f.yaml:1", "c f.yaml:1"]);
        let typed = "apiVersion: v1\nkind: ConfigMapList\nitems:\n- metadata: {name: c}\n";
        let manifests = read(&tree(&[("f.yaml", typed)])).unwrap();
        assert_eq!((manifests[0].kind.as_str(), manifests[0].api_version.as_str()), ("ConfigMap", "v1"));
    }

    #[test]
    fn every_mistake_of_every_file_is_named() {
        let found = mistakes(&[
            ("a.yaml", "apiVersion: v1\nkind: [unclosed\n"),
            ("b.yaml", "apiVersion: v1\nkind: ConfigMap\n---\nkind: X\n---\n- 1\n"),
            ("c.yaml", "apiVersion: v1\nkind: Job\nmetadata: {generateName: x-}\n"),
            ("d.yaml", "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Pod}]\n"),
            ("e.yaml", "a: 1\na: 2\n"),
        ]);
        insta::assert_snapshot!(found.join("\n"));
    }

    #[test]
    fn scalars_read_as_kubectl_reads_them() {
        let text = format!("{CM}a}}\nx: [0644, yes, on, 1e3, '01', 0x1f]\n");
        let manifests = read(&tree(&[("f.yaml", &text)])).unwrap();
        assert_eq!(manifests[0].value["x"], serde_json::json!([420, true, true, 1000.0, "01", 31]));
    }
}
