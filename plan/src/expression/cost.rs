//! How much an expression may look at, before it does: an upper bound from its tree and from how large its objects are.
//!
//! A loop costs what it copies of its list, and for each element of it what its body costs; so loops within loops over long
//! lists are refused, and anything over short ones is not. Knows sizes, not values.

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use serde_json::Value;

/// A unit is one value looked at or copied, or [`BYTES_PER_UNIT`] of text: some 100 ns of an optimised build, so that the
/// dearest expression takes a few tenths of a second. A loop over the 2,000 endpoints of an object of 1 MiB costs 200,000; a
/// loop within it over all of them again, 2,000 times as much.
pub(super) const COST_MAX: u64 = 2_000_000;
const BYTES_PER_UNIT: u64 = 64;

/// The interpreter compiles a pattern each time it matches with it: a pattern of [`PATTERN_BYTES_MAX`] in some 0.2 ms.
const MATCH_COST: u64 = 2_000;
/// The same of a pattern that only the object knows: as large as the interpreter lets it become, which takes tens of ms.
const UNKNOWN_MATCH_COST: u64 = 200_000;
/// A literal pattern compiles to so many bytes at most: `^v[0-9]+\.[0-9]+$` to 6 KiB, `\w{100}` to some 3 MiB.
pub(super) const PATTERN_BYTES_MAX: usize = 64 << 10;

/// The pattern that a call of `matches` is given, where it stands in the expression.
pub(super) fn pattern_of(call: &CallExpr) -> Option<Option<&str>> {
    if call.func_name != "matches" {
        return None;
    }
    Some(match call.args.last().map(|arg| &arg.expr) {
        Some(Expr::Literal(LiteralValue::String(text))) => Some(text.inner()),
        _ => None,
    })
}

/// An upper bound of a value's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Measure {
    /// Elements of the longest collection in it.
    length: u64,
    /// What it costs to look at or copy all of it; of an element of a list, on an average of the list's elements.
    weight: u64,
    /// The same of the largest element.
    most: u64,
}

impl Measure {
    pub(super) const NONE: Self = Self { length: 0, weight: 0, most: 0 };
    const SCALAR: Self = Self { length: 0, weight: 1, most: 1 };

    pub(super) fn of(value: &Value) -> Self {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => Self::SCALAR,
            Value::String(text) => Self::text(text.len()),
            Value::Array(items) => items.iter().map(Self::of).fold(Self::collection(items.len()), Self::with),
            Value::Object(map) => {
                let keys = map.keys().map(|key| Self::text(key.len())).fold(Self::NONE, Self::with);
                map.values().map(Self::of).fold(Self::collection(map.len()).with(keys), Self::with)
            }
        }
    }

    fn text(bytes: usize) -> Self {
        let weight = 1 + bytes as u64 / BYTES_PER_UNIT;
        Self { length: 0, weight, most: weight }
    }

    fn collection(length: usize) -> Self {
        Self { length: length as u64, ..Self::SCALAR }
    }

    /// An element of it. All of them together weigh what it weighs, which is what a loop over them has to do with.
    fn element(self) -> Self {
        Self { weight: 1 + self.weight / self.length.max(1), ..self }
    }

    /// Both, one beside the other.
    pub(super) fn with(self, other: Self) -> Self {
        let (weight, most) = (self.weight.saturating_add(other.weight), self.most.saturating_add(other.most));
        Self { length: self.length.max(other.length), weight, most }
    }

    /// Either of them.
    fn or(self, other: Self) -> Self {
        let (weight, most) = (self.weight.max(other.weight), self.most.max(other.most));
        Self { length: self.length.max(other.length), weight, most }
    }
}

/// Functions whose results are small, whatever they are given.
const SCALARS: &[&str] = &[
    "bool",
    "contains",
    "double",
    "duration",
    "endsWith",
    "indexOf",
    "int",
    "lastIndexOf",
    "size",
    "startsWith",
    "timestamp",
    "type",
    "uint",
];

/// Whether a call is one of [`super::sets`], which compare each element of one list with each of another. The parser takes
/// the namespace for what the function is a method of.
fn is_of_sets(call: &CallExpr) -> bool {
    let target = call.target.as_deref().map(|target| &target.expr);
    matches!(target, Some(Expr::Ident(name)) if name == "sets") || call.func_name.starts_with("sets.")
}

/// An upper bound of what evaluating costs, where every variable is as large as all of them together.
pub(super) fn of(tree: &IdedExpr, variables: Measure) -> u64 {
    Walk { variables, bound: Vec::new() }.expression(tree).cost.saturating_add(variables.weight)
}

/// What a part of an expression costs, and how large its result is.
#[derive(Clone, Copy)]
struct Part {
    cost: u64,
    result: Measure,
}

struct Walk<'t> {
    variables: Measure,
    bound: Vec<(&'t str, Measure)>,
}

impl<'t> Walk<'t> {
    fn expression(&mut self, tree: &'t IdedExpr) -> Part {
        let scalar = |cost| Part { cost, result: Measure::SCALAR };
        match &tree.expr {
            Expr::Unspecified => scalar(1),
            Expr::Ident(name) => {
                let bound = self.bound.iter().rev().find(|(bound, _)| bound == name).map(|(_, measure)| *measure);
                Part { cost: 1, result: bound.unwrap_or(self.variables) }
            }
            Expr::Literal(LiteralValue::String(text)) => Part { cost: 1, result: Measure::text(text.inner().len()) },
            Expr::Literal(LiteralValue::Bytes(bytes)) => Part { cost: 1, result: Measure::text(bytes.inner().len()) },
            Expr::Literal(_) => scalar(1),
            Expr::Select(select) => {
                let operand = self.expression(&select.operand);
                let result = if select.test { Measure::SCALAR } else { operand.result };
                Part { cost: operand.cost.saturating_add(1), result }
            }
            Expr::Call(call) => self.call(call),
            Expr::List(list) => self.collection(list.elements.len(), list.elements.iter()),
            Expr::Map(map) => self.entries(map.entries.iter().map(|entry| &entry.expr)),
            Expr::Struct(message) => self.entries(message.entries.iter().map(|entry| &entry.expr)),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
        }
    }

    fn entries(&mut self, entries: impl Iterator<Item = &'t EntryExpr>) -> Part {
        let parts: Vec<&IdedExpr> = entries
            .flat_map(|entry| match entry {
                EntryExpr::StructField(field) => vec![&field.value],
                EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
            })
            .collect();
        self.collection(parts.len(), parts.into_iter())
    }

    fn collection(&mut self, length: usize, elements: impl Iterator<Item = &'t IdedExpr>) -> Part {
        let mut all = Part { cost: 1, result: Measure::collection(length) };
        for element in elements {
            let part = self.expression(element);
            // Making a collection copies what goes into it.
            all.cost = all.cost.saturating_add(part.cost).saturating_add(part.result.weight);
            all.result = all.result.with(part.result);
        }
        all
    }

    fn call(&mut self, call: &'t CallExpr) -> Part {
        let target = call.target.as_deref().into_iter();
        let parts: Vec<Part> = target.chain(&call.args).map(|arg| self.expression(arg)).collect();
        let spent = parts.iter().fold(1_u64, |sum, part| sum.saturating_add(part.cost));
        let all = parts.iter().map(|part| part.result).fold(Measure::NONE, Measure::with);
        let any = parts.iter().map(|part| part.result).fold(Measure::NONE, Measure::or);
        let least = parts.iter().map(|part| part.result.weight).min().unwrap_or(0);
        let (more, result) = match call.func_name.as_str() {
            operators::LOGICAL_AND
            | operators::LOGICAL_OR
            | operators::LOGICAL_NOT
            | operators::NOT_STRICTLY_FALSE
            | operators::NEGATE => (1, Measure::SCALAR),
            operators::CONDITIONAL => (1, any),
            // Of two that differ in kind or size, nothing more is compared.
            operators::EQUALS
            | operators::NOT_EQUALS
            | operators::LESS
            | operators::LESS_EQUALS
            | operators::GREATER
            | operators::GREATER_EQUALS => (least, Measure::SCALAR),
            operators::INDEX | operators::OPT_INDEX | operators::OPT_SELECT => (1, any),
            operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO => (1, Measure::SCALAR),
            operators::ADD if any == Measure::SCALAR => (1, Measure::SCALAR),
            operators::ADD => {
                let length = parts.iter().fold(0_u64, |sum, part| sum.saturating_add(part.result.length));
                (all.weight, Measure { length, ..all })
            }
            operators::IN => (all.weight, Measure::SCALAR),
            _ if is_of_sets(call) => (any.length.max(1).saturating_mul(all.most), Measure::SCALAR),
            "matches" => {
                let compiling = pattern_of(call).flatten().map_or(UNKNOWN_MATCH_COST, |_| MATCH_COST);
                (all.weight.saturating_add(compiling), Measure::SCALAR)
            }
            name if SCALARS.contains(&name) => (all.weight, Measure::SCALAR),
            // One text put between, or in the place of, each character of another.
            "replace" | "join" | "format" => {
                let weight = any.most.saturating_mul(BYTES_PER_UNIT).saturating_mul(all.most);
                (weight, Measure { length: any.length, weight, most: weight })
            }
            // A list with an element for each character.
            "split" => {
                let bytes = all.most.saturating_mul(BYTES_PER_UNIT);
                (bytes, Measure { length: bytes, weight: bytes, most: bytes })
            }
            // Of texts: cut, encoded, made of something; nothing that makes more than twice as much.
            _ => (all.weight, all.with(all)),
        };
        Part { cost: spent.saturating_add(more), result }
    }

    fn comprehension(&mut self, comprehension: &'t ComprehensionExpr) -> Part {
        let range = self.expression(&comprehension.iter_range);
        let start = self.expression(&comprehension.accu_init);
        let times = range.result.length;
        // An element is no larger than the whole; what has been gathered so far is not looked at by the body.
        let outside = self.bound.len();
        self.bound.push((&comprehension.accu_var, start.result));
        let element = range.result.element();
        self.bound.push((&comprehension.iter_var, element));
        self.bound.extend(comprehension.iter_var2.as_deref().map(|name| (name, element)));
        let condition = self.expression(&comprehension.loop_cond);
        let step = self.expression(&comprehension.loop_step);
        let result = self.expression(&comprehension.result);
        self.bound.truncate(outside);
        let each = condition.cost.saturating_add(step.cost);
        let all = |one: u64| times.saturating_mul(one).saturating_add(1);
        // `map` and `filter` gather a list with up to one element each time, everything else a number or a boolean.
        let gathered = Measure {
            length: times.max(step.result.length),
            weight: all(step.result.weight),
            most: all(step.result.most),
        };
        let spent = [range.cost, range.result.weight, start.cost, times.saturating_mul(each), result.cost];
        Part {
            cost: spent.into_iter().fold(0, u64::saturating_add),
            result: if step.result == Measure::SCALAR { Measure::SCALAR } else { gathered },
        }
    }
}
