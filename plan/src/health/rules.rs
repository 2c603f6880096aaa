//! Health by CEL expressions, for kinds that kstatus does not know or of which somebody knows better: `healthCheckExprs`.
//!
//! As in Flux: an expression names the top-level fields of the object; `inProgress`, `failed` and `current` are asked in that
//! order, and the first that is true decides; if none is, the object is in progress; one that cannot be evaluated makes it
//! unknown. Of two rules for one kind the first is used, whatever their versions.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::status::condition;
use super::{Health, Status, generic, judge, kind_of};
use crate::expression::{CompileError, Expression};
use crate::object::{GroupKind, group_version};

/// One of a Sync's `healthCheckExprs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthExprs {
    pub api_version: String,
    pub kind: String,
    pub in_progress: Option<String>,
    pub failed: Option<String>,
    pub current: String,
}

/// A rule that cannot be used, by its place and its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("healthCheckExprs[{index}] ({kind}) {field}: {error}")]
pub struct RuleError {
    pub index: usize,
    pub kind: GroupKind,
    /// `inProgress`, `failed` or `current`.
    pub field: &'static str,
    #[source]
    pub error: CompileError,
}

/// A Sync's rules, compiled. Clones share them. The default has none, and judges as [`judge`] does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthRules(Arc<BTreeMap<GroupKind, Compiled>>);

#[derive(Debug, PartialEq, Eq)]
struct Compiled {
    in_progress: Option<Expression>,
    failed: Option<Expression>,
    current: Expression,
}

impl HealthRules {
    /// Compiles a Sync's rules.
    ///
    /// # Errors
    /// All expressions that cannot be used.
    pub fn compile(rules: &[HealthExprs]) -> Result<Self, Vec<RuleError>> {
        let mut errors = Vec::new();
        let mut compiled = BTreeMap::new();
        for (index, rule) in rules.iter().enumerate() {
            let kind = GroupKind::new(group_version(&rule.api_version).0, &rule.kind);
            let mut expression = |field, text: &str| {
                let failed = |error| errors.push(RuleError { index, kind: kind.clone(), field, error });
                Expression::compile(text).map_err(failed).ok()
            };
            // An empty text is one that was left out.
            let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
            let in_progress = given(&rule.in_progress).map(|text| expression("inProgress", &text));
            let failed = given(&rule.failed).map(|text| expression("failed", &text));
            let Some(current) = expression("current", &rule.current) else { continue };
            let (in_progress, failed) = (in_progress.flatten(), failed.flatten());
            compiled.entry(kind).or_insert(Compiled { in_progress, failed, current });
        }
        if errors.is_empty() { Ok(Self(Arc::new(compiled))) } else { Err(errors) }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The kinds that are judged by expressions.
    pub fn kinds(&self) -> impl Iterator<Item = &GroupKind> {
        self.0.keys()
    }

    /// Whether a kind is judged by expressions.
    #[must_use]
    pub fn contains(&self, kind: &GroupKind) -> bool {
        self.0.contains_key(kind)
    }

    /// Judges an object by the rule for its kind, else as [`judge`] does. With a rule this may take some tenths of a second: see
    /// [`crate::expression`].
    #[must_use]
    pub fn judge(&self, object: &Value) -> Health {
        match kind_of(object).and_then(|kind| self.0.get(&kind)) {
            Some(rule) => rule.judge(object),
            None => judge(object),
        }
    }
}

impl Compiled {
    fn judge(&self, object: &Value) -> Health {
        if generic::is_deleted(object) {
            return generic::terminating(object);
        }
        if let Some(health) = generic::unobserved(object) {
            return health;
        }
        // Who is to mend it wants to know more than which expression was true.
        let told =
            || condition(object, "Ready").filter(|ready| !ready.is_true()).map_or_else(String::new, |c| c.told());
        let asked = [
            ("inProgress", self.in_progress.as_ref(), Status::InProgress),
            ("failed", self.failed.as_ref(), Status::Failed),
            ("current", Some(&self.current), Status::Current),
        ];
        for (field, expression, status) in asked {
            let Some(expression) = expression else { continue };
            match answer(expression, object) {
                Ok(true) if status == Status::Current => {
                    return Health::current("HealthCheckExpr", format!("{field} is true"));
                }
                Ok(true) => return Health::new(status, "HealthCheckExpr", format!("{field} is true{}", told())),
                Ok(false) => {}
                Err(why) => return Health::unknown("HealthCheckExprFailed", format!("{field}: {why}")),
            }
        }
        Health::in_progress("HealthCheckExpr", format!("current is not true yet{}", told()))
    }
}

fn answer(expression: &Expression, object: &Value) -> Result<bool, String> {
    let fields = object.as_object().into_iter().flatten();
    expression.evaluate(fields.map(|(key, value)| (key.as_str(), value))).map_err(|error| error.to_string())
}
