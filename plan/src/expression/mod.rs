//! CEL expressions over objects: compiled once, evaluated within bounds, always to true or false.
//!
//! The interpreter has no cost limit of its own, so there are three bounds: how long and how deep an expression may be
//! (`syntax`), and how much it may look at for the objects it is given (`cost`). Text of objects is in no error: an object
//! may be a Secret. Must not know what an expression decides; evaluation takes up to some tenths of a second, so
//! it does not belong on a thread that others wait for.

mod cost;
mod deep;
mod sets;
mod syntax;
mod value;

use std::sync::{Arc, LazyLock};

use cel::{Context, Env, ExecutionError, IdedExpr, extensions};
use serde_json::Value;

use cost::Measure;
use syntax::{CHARS_MAX, OPERATORS_MAX};

/// The functions and macros that Flux has: those of CEL, and the extensions for strings, sets and encoders.
static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    let added = [
        env.add_extension(extensions::strings),
        env.add_extension(extensions::encoders),
        env.add_extension(sets::extension),
    ];
    debug_assert!(added.iter().all(Result::is_ok), "an extension declares what is declared already: {added:?}");
    Arc::new(env)
});

/// Why a text is no expression; it is named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the expression `{}` {problem}", syntax::short(.text))]
pub struct CompileError {
    pub text: String,
    pub problem: CompileProblem,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileProblem {
    #[error("is empty")]
    Empty,
    #[error("is longer than {CHARS_MAX} characters")]
    TooLong,
    #[error("has more than {OPERATORS_MAX} operators")]
    TooManyOperators,
    #[error("has more than {} brackets within each other", syntax::DEPTH_MAX)]
    TooDeep,
    #[error("cannot be read: {0}")]
    Syntax(String),
    #[error("names `{0}`; only {1} can be named")]
    UnknownVariable(String, String),
    #[error("is never true or false")]
    NeverBoolean,
    #[error("matches with `{0}`, which {1}")]
    Pattern(String, &'static str),
}

/// Why an expression gave neither true nor false; it is named, and nothing of what it was evaluated on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the expression `{}` {problem}", syntax::short(.text))]
pub struct EvaluationError {
    pub text: String,
    pub problem: EvaluationProblem,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationProblem {
    #[error("is neither true nor false")]
    NotBoolean,
    #[error("would have to look at too much of so large an object")]
    TooCostly,
    #[error("cannot be evaluated: {0}")]
    Failed(String),
}

/// A compiled expression. Clones share it.
#[derive(Debug, Clone)]
pub struct Expression {
    text: Arc<str>,
    tree: Arc<IdedExpr>,
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Expression {}

impl Expression {
    /// Compiles an expression that names top-level fields of whatever object it is evaluated on.
    ///
    /// # Errors
    /// The text is no expression, or is past a bound.
    pub fn compile(text: &str) -> Result<Self, CompileError> {
        let error = |problem| CompileError { text: text.to_owned(), problem };
        syntax::check_text(text).map_err(error)?;
        let tree = deep::run(|| {
            let parser = ENVIRONMENT.parser().max_recursion_depth(syntax::DEPTH_MAX);
            parser.parse(text).map_err(|errors| syntax::problem(&errors))
        });
        let tree =
            tree.unwrap_or_else(|| Err(CompileProblem::Syntax("the parser gives up".to_owned()))).map_err(error)?;
        syntax::check_tree(&tree).map_err(error)?;
        Ok(Self { text: text.into(), tree: Arc::new(tree) })
    }

    /// Compiles an expression that names these variables and no others.
    ///
    /// # Errors
    /// The text is no expression, is past a bound, or names something else.
    pub fn compile_over(text: &str, variables: &[&str]) -> Result<Self, CompileError> {
        let expression = Self::compile(text)?;
        match syntax::unknown_variable(&expression.tree, variables) {
            Some(name) => {
                let known = variables.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and ");
                let problem = CompileProblem::UnknownVariable(name, known);
                Err(CompileError { text: text.to_owned(), problem })
            }
            None => Ok(expression),
        }
    }

    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the expression is true for these variables. What it does not name is not looked at.
    ///
    /// # Errors
    /// It is neither true nor false, names what is not there, or would cost too much.
    pub fn evaluate<'v>(
        &self,
        variables: impl IntoIterator<Item = (&'v str, &'v Value)>,
    ) -> Result<bool, EvaluationError> {
        let error = |problem| EvaluationError { text: self.text.to_string(), problem };
        let references = self.tree.references();
        let named: Vec<_> = variables.into_iter().filter(|(name, _)| references.has_variable(name)).collect();
        let measure = named.iter().map(|(_, value)| Measure::of(value)).fold(Measure::NONE, Measure::with);
        if cost::of(&self.tree, measure) > cost::COST_MAX {
            return Err(error(EvaluationProblem::TooCostly));
        }
        let answer = deep::run(|| {
            let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
            for (name, value) in named {
                context.add_variable_as_val(name, value::of(value));
            }
            match context.resolve(&self.tree) {
                Ok(cel::Value::Bool(answer)) => Ok(answer),
                Ok(_) => Err(EvaluationProblem::NotBoolean),
                Err(why) => Err(EvaluationProblem::Failed(self.words(&why))),
            }
        });
        let gave_up = || Err(EvaluationProblem::Failed("the interpreter gives up".to_owned()));
        answer.unwrap_or_else(gave_up).map_err(error)
    }

    /// What the interpreter says, without the values it says it of. A key is named only if it stands in the expression.
    fn words(&self, why: &ExecutionError) -> String {
        let missing = |what: &str, name: &str| match self.text.contains(name) {
            true => format!("there is no {what}`{name}`"),
            false => "a field is missing".to_owned(),
        };
        match why {
            ExecutionError::UndeclaredReference(name) => missing("", name),
            ExecutionError::NoSuchKey(name) => missing("field ", name),
            ExecutionError::NoSuchOverload(overload) => overload.to_string(),
            ExecutionError::InvalidArgumentCount { expected, actual } => {
                format!("a function takes {expected} arguments and is given {actual}")
            }
            ExecutionError::UnexpectedType { got, want } => format!("it is given {got} and needs {want}"),
            ExecutionError::FunctionError { function, .. } => {
                format!("the function {function} refuses what it is given")
            }
            ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "it divides by zero".to_owned(),
            ExecutionError::Overflow(..) => "a number becomes too large".to_owned(),
            ExecutionError::IndexOutOfBounds(_) => "a list has no such place".to_owned(),
            // The rest of them show values; so may those that a newer interpreter adds.
            _ => "its operands do not fit together".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
