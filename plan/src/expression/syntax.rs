//! The text and the tree of an expression: their bounds, the names in them, what is wrong with them. Evaluates nothing.

use cel::ParseErrors;
use cel::common::ast::{ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue};

use regex::RegexBuilder;

use super::CompileProblem;
use super::cost::{PATTERN_BYTES_MAX, pattern_of};

/// The largest health expressions published for Flux have some 600 characters.
pub(super) const CHARS_MAX: usize = 2_048;
/// A chain of operators, `a + b + c …`, is as deep a tree as it is long, and each level takes stack when it is parsed and
/// evaluated: see `deep.rs`.
pub(super) const OPERATORS_MAX: usize = 200;
/// Brackets within brackets. Each passes through eight rules of the grammar, and each rule is a call.
pub(super) const DEPTH_MAX: u16 = 24;

/// Characters shown of an expression where it is named.
const SHOWN_MAX: usize = 120;

/// The expression in an error: one line, cut.
pub(super) fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= SHOWN_MAX {
        return line;
    }
    line.chars().take(SHOWN_MAX - 1).chain(['…']).collect()
}

/// What can be said before parsing, and has to be: the parser itself recurses.
pub(super) fn check_text(text: &str) -> Result<(), CompileProblem> {
    if text.trim().is_empty() {
        return Err(CompileProblem::Empty);
    }
    if text.chars().count() > CHARS_MAX {
        return Err(CompileProblem::TooLong);
    }
    // Also within texts, where they do no harm: a tokenizer that errs about where a text ends would be worse.
    let operators = text.chars().filter(|c| "+-*/%<>=!&|?:.[({".contains(*c)).count();
    if operators > OPERATORS_MAX {
        return Err(CompileProblem::TooManyOperators);
    }
    Ok(())
}

pub(super) fn problem(errors: &ParseErrors) -> CompileProblem {
    let Some(first) = errors.errors.first() else { return CompileProblem::Syntax("it is not CEL".to_owned()) };
    if first.msg.contains("Recursion limit") {
        return CompileProblem::TooDeep;
    }
    // The grammar's list of everything that would be possible helps nobody.
    let message = first.msg.split(" expecting ").next().unwrap_or(&first.msg);
    let message = message.strip_prefix("Syntax error: ").unwrap_or(message).replace("'<EOF>'", "its end");
    let (line, column) = first.pos;
    CompileProblem::Syntax(format!("{message}, at line {line}, column {column}"))
}

/// What can be said of a tree without evaluating it.
pub(super) fn check_tree(tree: &IdedExpr) -> Result<(), CompileProblem> {
    let mut whole = true;
    visit(tree, &mut Vec::new(), &mut |expr, _| whole &= !matches!(expr, Expr::Unspecified | Expr::Struct(_)));
    if !whole {
        // The interpreter panics at the former; there are no types of which to make the latter.
        return Err(CompileProblem::Syntax("it makes a message of a type that does not exist".to_owned()));
    }
    check_patterns(tree)?;
    match &tree.expr {
        Expr::Literal(LiteralValue::Boolean(_)) => Ok(()),
        Expr::Literal(_) | Expr::List(_) | Expr::Map(_) => Err(CompileProblem::NeverBoolean),
        Expr::Unspecified
        | Expr::Call(_)
        | Expr::Comprehension(_)
        | Expr::Ident(_)
        | Expr::Select(_)
        | Expr::Struct(_) => Ok(()),
    }
}

/// A pattern is compiled with each use, so it has to be small; and one that is none is better known now.
fn check_patterns(tree: &IdedExpr) -> Result<(), CompileProblem> {
    let mut problem = None;
    visit(tree, &mut Vec::new(), &mut |expr, _| {
        let Expr::Call(call) = expr else { return };
        let Some(Some(pattern)) = pattern_of(call) else { return };
        if let Err(error) = RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build() {
            let why = match error {
                regex::Error::CompiledTooBig(_) => "is too large",
                _ => "is no regular expression",
            };
            problem.get_or_insert_with(|| CompileProblem::Pattern(short(pattern), why));
        }
    });
    problem.map_or(Ok(()), Err)
}

/// Names that are no variables: types, and the first half of a function's name.
const NO_VARIABLES: &[&str] = &[
    "base64",
    "bool",
    "bytes",
    "double",
    "dyn",
    "google",
    "int",
    "list",
    "map",
    "null_type",
    "optional",
    "sets",
    "string",
    "strings",
    "type",
    "uint",
];

/// The first variable that is not one of these.
pub(super) fn unknown_variable(tree: &IdedExpr, variables: &[&str]) -> Option<String> {
    let mut unknown = None;
    visit(tree, &mut Vec::new(), &mut |expr, bound| {
        if let Expr::Ident(name) = expr {
            let name = name.strip_prefix('.').unwrap_or(name);
            let known = [variables, bound, NO_VARIABLES].iter().any(|names| names.contains(&name));
            // The parser's own variables cannot be written.
            if !known && !name.starts_with('@') && unknown.is_none() {
                unknown = Some(name.to_owned());
            }
        }
    });
    unknown
}

/// Every part of a tree, with the variables that macros around it have bound.
fn visit<'t>(tree: &'t IdedExpr, bound: &mut Vec<&'t str>, see: &mut impl FnMut(&'t Expr, &[&'t str])) {
    see(&tree.expr, bound);
    match &tree.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
        Expr::Call(call) => {
            call.target.iter().map(AsRef::as_ref).chain(&call.args).for_each(|arg| visit(arg, bound, see))
        }
        Expr::Comprehension(comprehension) => visit_comprehension(comprehension, bound, see),
        Expr::List(list) => list.elements.iter().for_each(|element| visit(element, bound, see)),
        Expr::Select(select) => visit(&select.operand, bound, see),
        Expr::Map(map) => map.entries.iter().for_each(|entry| visit_entry(&entry.expr, bound, see)),
        Expr::Struct(message) => message.entries.iter().for_each(|entry| visit_entry(&entry.expr, bound, see)),
    }
}

fn visit_comprehension<'t>(
    comprehension: &'t ComprehensionExpr,
    bound: &mut Vec<&'t str>,
    see: &mut impl FnMut(&'t Expr, &[&'t str]),
) {
    visit(&comprehension.iter_range, bound, see);
    visit(&comprehension.accu_init, bound, see);
    let outside = bound.len();
    bound.push(&comprehension.iter_var);
    bound.extend(comprehension.iter_var2.as_deref());
    for part in [&comprehension.loop_cond, &comprehension.loop_step, &comprehension.result] {
        visit(part, bound, see);
    }
    bound.truncate(outside);
}

fn visit_entry<'t>(entry: &'t EntryExpr, bound: &mut Vec<&'t str>, see: &mut impl FnMut(&'t Expr, &[&'t str])) {
    match entry {
        EntryExpr::StructField(field) => visit(&field.value, bound, see),
        EntryExpr::MapEntry(entry) => {
            visit(&entry.key, bound, see);
            visit(&entry.value, bound, see);
        }
    }
}
