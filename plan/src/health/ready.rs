//! `readyExpr` of a dependency: whether it is ready for who depends on it.

use serde_json::Value;

use crate::expression::{CompileError, EvaluationError, Expression};

/// One `dependsOn[].readyExpr`, compiled: over `dep`, the object that is depended on, and `self`, the one that depends on it,
/// both whole. As in Flux, it takes the place of the dependency's Ready condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyExpr(Expression);

impl ReadyExpr {
    /// # Errors
    /// The text is no expression over `dep` and `self`. It stays so until the text is changed.
    pub fn compile(text: &str) -> Result<Self, CompileError> {
        Expression::compile_over(text, &["dep", "self"]).map(Self)
    }

    #[must_use]
    pub fn text(&self) -> &str {
        self.0.text()
    }

    /// Whether the dependency is ready.
    ///
    /// # Errors
    /// It cannot be told, for instance because a field is not there yet: to be asked again when either object has moved.
    pub fn is_ready(&self, dep: &Value, this: &Value) -> Result<bool, EvaluationError> {
        self.0.evaluate([("dep", dep), ("self", this)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_dependency_is_ready_when_its_expression_says_so() {
        let at = |revision: &str| json!({ "metadata": { "labels": { "v": "1" } }, "status": { "lastAppliedRevision": revision } });
        let same = ReadyExpr::compile(
            "dep.status.lastAppliedRevision == self.status.lastAppliedRevision && dep.metadata.labels['v'] == '1'",
        )
        .unwrap();
        assert_eq!(same.is_ready(&at("a"), &at("a")), Ok(true));
        assert_eq!(same.is_ready(&at("a"), &at("b")), Ok(false));
        let unknown = same.is_ready(&json!({}), &at("a")).unwrap_err().to_string();
        assert!(unknown.contains("cannot be evaluated: there is no field `"), "{unknown}");
        let wrong = ReadyExpr::compile("status.phase == 'x'").unwrap_err().to_string();
        assert_eq!(wrong, "the expression `status.phase == 'x'` names `status`; only `dep` and `self` can be named");
    }
}
