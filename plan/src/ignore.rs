//! Fields that are left to others: which rule means which objects, and what of them is not applied.
//!
//! Knows rules and desired objects. Must not know what the cluster has, or how a field is let go of there; `disown` does.

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use crate::desired::Desired;
use crate::object::{digest, group_version};
use crate::pointer::{self, Pointer, PointerError};
use crate::selector::{Selector, SelectorError};

/// A compiled pattern's size: names of 253 characters with classes need some kilobytes; what needs more is no name.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// A rule as it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleText {
    /// JSON pointers.
    pub paths: Vec<String>,
    /// `None`: all objects.
    pub target: Option<TargetText>,
}

/// Which objects are meant: those that everything said fits. What is empty is not said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetText {
    /// Regular expressions over the whole name.
    pub group: String,
    pub version: String,
    pub kind: String,
    pub name: String,
    pub namespace: String,
    pub label_selector: String,
    pub annotation_selector: String,
}

/// Why a rule means nothing, and which one it is.
#[derive(Debug, thiserror::Error)]
#[error("spec.driftDetection.ignore[{rule}].{place}: {problem}")]
pub struct RuleError {
    rule: usize,
    place: String,
    problem: Problem,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{0:?} cannot be ignored: {1}")]
    Pointer(String, PointerError),
    #[error("{0:?} is no regular expression that can be used: {1}")]
    Pattern(String, String),
    #[error(transparent)]
    Selector(#[from] SelectorError),
}

/// What is left to others.
#[derive(Debug, Clone, Default)]
pub struct Rules(Vec<Rule>);

#[derive(Debug, Clone)]
struct Rule {
    paths: Vec<Pointer>,
    target: Target,
}

#[derive(Debug, Clone, Default)]
struct Target {
    group: Option<Regex>,
    version: Option<Regex>,
    kind: Option<Regex>,
    name: Option<Regex>,
    namespace: Option<Regex>,
    labels: Option<Selector>,
    annotations: Option<Selector>,
}

/// What of one object is left to others.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ignored {
    /// All places that rules name for it, whether or not Git has them.
    pub paths: Vec<Pointer>,
    /// What is applied where it exists already; `None`: Git has nothing that is left to others.
    pub rest: Option<Value>,
}

impl Rules {
    /// Reads rules.
    ///
    /// # Errors
    /// The first that means nothing.
    pub fn new(rules: &[RuleText]) -> Result<Self, RuleError> {
        rules.iter().enumerate().map(|(index, text)| rule(index, text)).collect::<Result<_, _>>().map(Self)
    }

    /// Enters into each object what of it is left to others. Its digest is that of the rest: what is ignored may change in
    /// Git, and nothing follows.
    pub fn mark(&self, desired: &mut [Desired]) {
        for object in desired {
            let meant = self.0.iter().filter(|rule| rule.target.means(object));
            let mut paths: Vec<Pointer> = meant.flat_map(|rule| rule.paths.iter().cloned()).collect();
            paths.sort();
            paths.dedup();
            let rest = pointer::left_out(&object.value, &paths);
            if let Some(rest) = &rest {
                object.digest = digest(rest);
            }
            object.ignored = Ignored { paths, rest };
        }
    }
}

impl Target {
    fn means(&self, object: &Desired) -> bool {
        let id = &object.id;
        let fits = |pattern: &Option<Regex>, text: &str| pattern.as_ref().is_none_or(|pattern| pattern.is_match(text));
        let selects = |selector: &Option<Selector>, marks: &str| {
            selector.as_ref().is_none_or(|selector| selector.selects(&object.value["metadata"][marks]))
        };
        let api_version = object.value["apiVersion"].as_str().unwrap_or_default();
        fits(&self.group, &id.kind.group)
            && fits(&self.version, group_version(api_version).1)
            && fits(&self.kind, &id.kind.kind)
            && fits(&self.name, &id.name)
            && fits(&self.namespace, id.namespace.as_deref().unwrap_or_default())
            && selects(&self.labels, "labels")
            && selects(&self.annotations, "annotations")
    }
}

fn rule(index: usize, text: &RuleText) -> Result<Rule, RuleError> {
    let error = |place: String, problem: Problem| RuleError { rule: index, place, problem };
    let path = |(at, path): (usize, &String)| {
        Pointer::parse(path).map_err(|e| error(format!("paths[{at}]"), Problem::Pointer(path.clone(), e)))
    };
    let paths = text.paths.iter().enumerate().map(path).collect::<Result<_, _>>()?;
    let Some(target) = &text.target else { return Ok(Rule { paths, target: Target::default() }) };
    let pattern = |place: &str, text: &str| {
        compiled(text).map_err(|problem| error(format!("target.{place}"), Problem::Pattern(text.to_owned(), problem)))
    };
    let selector = |place: &str, text: &str| {
        let parsed = (!text.is_empty()).then(|| Selector::parse(text)).transpose();
        parsed.map_err(|problem| error(format!("target.{place}"), problem.into()))
    };
    let target = Target {
        group: pattern("group", &target.group)?,
        version: pattern("version", &target.version)?,
        kind: pattern("kind", &target.kind)?,
        name: pattern("name", &target.name)?,
        namespace: pattern("namespace", &target.namespace)?,
        labels: selector("labelSelector", &target.label_selector)?,
        annotations: selector("annotationSelector", &target.annotation_selector)?,
    };
    Ok(Rule { paths, target })
}

/// Over all of a text, as Flux has it.
fn compiled(text: &str) -> Result<Option<Regex>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    // Alone first: a stray bracket must not close the one put around it.
    let build = |text: &str| RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build();
    let told = |error: regex::Error| match error {
        regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
        // Its last line says what is wrong; the others draw a picture.
        error => error.to_string().lines().last().unwrap_or_default().to_owned(),
    };
    build(text).map_err(told)?;
    build(&format!("^(?:{text})$")).map(Some).map_err(told)
}

#[cfg(test)]
mod tests;
