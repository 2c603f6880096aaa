//! Reads a merged tree of settings into a type, and knows at each step the path of the key it reads: unknown keys are
//! found while a struct is entered, because only then its field names are known. Values are never quoted in a mistake,
//! except the name of a choice that does not exist: a setting may hold a password.

use std::cell::RefCell;
use std::fmt;

use ::config::{Map, Value, ValueKind};
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::{Mistakes, SECTION_SEPARATOR, VARIABLE_PREFIX};

/// The origin that the `config` crate writes on values from variables.
const ENVIRONMENT_ORIGIN: &str = "the environment";

/// Reads the tree. What is wrong goes to the mistakes; None if no value could be made at all.
pub(super) fn read<T: DeserializeOwned>(tree: Map<String, Value>, mistakes: &mut Mistakes) -> Option<T> {
    let found = RefCell::new(std::mem::take(mistakes));
    let root = Node { value: Value::new(None, tree), path: String::new(), mistakes: &found };
    let result = T::deserialize(root);
    *mistakes = found.into_inner();
    result.map_err(|stop| mistakes.add(stop.path.unwrap_or_default(), stop.problem)).ok()
}

/// The error that ends reading: what, and once it is known, where.
#[derive(Debug)]
struct Stop {
    path: Option<String>,
    problem: String,
}

impl Stop {
    fn at(mut self, path: &str) -> Self {
        match &mut self.path {
            None => self.path = Some(path.to_owned()),
            // A missing key knows its own name, and here the path to its table.
            Some(key) if key.starts_with('.') => {
                let whole = format!("{path}{key}");
                *key = whole.trim_start_matches('.').to_owned();
            }
            Some(_) => {}
        }
        self
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for Stop {}

impl de::Error for Stop {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { path: None, problem: message.to_string() }
    }

    fn missing_field(field: &'static str) -> Self {
        Self { path: Some(format!(".{field}")), problem: "is missing".to_owned() }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format!("unknown value `{variant}`, {}", suggestion(variant, expected)))
    }
}

fn suggestion(found: &str, known: &[&str]) -> String {
    // Below this likeness a suggestion confuses more than the list does.
    const LIKENESS_MIN: f64 = 0.75;
    let nearest = known
        .iter()
        .map(|known| (strsim::jaro_winkler(found, known), known))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((_, nearest)) => format!("did you mean `{nearest}`?"),
        None => format!("known are: {}", known.join(", ")),
    }
}

struct Node<'a> {
    value: Value,
    path: String,
    mistakes: &'a RefCell<Mistakes>,
}

impl Node<'_> {
    fn is_from_environment(&self) -> bool {
        self.value.origin() == Some(ENVIRONMENT_ORIGIN)
    }

    /// Which variable set this, for a mistake's text.
    fn setter(&self) -> String {
        if !self.is_from_environment() {
            return String::new();
        }
        let name = self.path.to_uppercase().replace('.', SECTION_SEPARATOR);
        format!(" (set by {VARIABLE_PREFIX}{SECTION_SEPARATOR}{name})")
    }

    fn wrong_type(&self, expected: &dyn de::Expected) -> Stop {
        let found = match &self.value.kind {
            ValueKind::Nil => Unexpected::Unit,
            ValueKind::Boolean(_) => Unexpected::Other("boolean"),
            ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => {
                Unexpected::Other("integer")
            }
            ValueKind::Float(_) => Unexpected::Other("float"),
            ValueKind::String(_) => Unexpected::Other("string"),
            ValueKind::Table(_) => Unexpected::Map,
            ValueKind::Array(_) => Unexpected::Seq,
        };
        let problem = format!("invalid type: {found}, expected {expected}{}", self.setter());
        Stop { path: Some(self.path.clone()), problem }
    }

    /// A variable holds text; where a number or a truth value is wanted the text is read as one.
    fn text_from_environment<T: std::str::FromStr>(&self) -> Option<T> {
        match &self.value.kind {
            ValueKind::String(text) if self.is_from_environment() => text.trim().parse().ok(),
            _ => None,
        }
    }
}

/// Numbers and truth values: from the tree as they are, from a variable by reading its text.
macro_rules! scalars {
    ($($method:ident $visit:ident $type:ty, $what:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
            if let Some(value) = self.text_from_environment::<$type>() {
                let path = self.path;
                return visitor.$visit(value).map_err(|stop: Stop| stop.at(&path));
            }
            match self.value.kind {
                ValueKind::String(_) | ValueKind::Table(_) | ValueKind::Array(_) => Err(self.wrong_type(&$what)),
                _ => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Node<'_> {
    type Error = Stop;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let path = self.path.clone();
        let result = match self.value.kind {
            ValueKind::Nil => visitor.visit_unit(),
            ValueKind::Boolean(value) => visitor.visit_bool(value),
            ValueKind::I64(value) => visitor.visit_i64(value),
            ValueKind::I128(value) => visitor.visit_i128(value),
            ValueKind::U64(value) => visitor.visit_u64(value),
            ValueKind::U128(value) => visitor.visit_u128(value),
            ValueKind::Float(value) => visitor.visit_f64(value),
            ValueKind::String(value) => visitor.visit_string(value),
            ValueKind::Table(table) => visitor.visit_map(Entries::new(table, &self.path, self.mistakes)),
            ValueKind::Array(items) => visitor.visit_seq(Items::new(items, &self.path, self.mistakes)),
        };
        result.map_err(|stop: Stop| stop.at(&path))
    }

    scalars! {
        deserialize_bool visit_bool bool, "true or false";
        deserialize_i8 visit_i64 i64, "a number";
        deserialize_i16 visit_i64 i64, "a number";
        deserialize_i32 visit_i64 i64, "a number";
        deserialize_i64 visit_i64 i64, "a number";
        deserialize_u8 visit_u64 u64, "a number";
        deserialize_u16 visit_u64 u64, "a number";
        deserialize_u32 visit_u64 u64, "a number";
        deserialize_u64 visit_u64 u64, "a number";
        deserialize_f32 visit_f64 f64, "a number";
        deserialize_f64 visit_f64 f64, "a number";
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        match self.value.kind {
            ValueKind::Nil => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Stop> {
        let path = self.path.clone();
        visitor.visit_newtype_struct(self).map_err(|stop: Stop| stop.at(&path))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        match &self.value.kind {
            ValueKind::String(_) => self.deserialize_any(visitor),
            _ => Err(self.wrong_type(&"a string")),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        if let (true, ValueKind::String(text)) = (self.is_from_environment(), &self.value.kind) {
            let origin = ENVIRONMENT_ORIGIN.to_owned();
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            let items: Vec<Value> = items.map(|item| Value::new(Some(&origin), item)).collect();
            self.value.kind = ValueKind::Array(items);
        }
        match &self.value.kind {
            ValueKind::Array(_) => self.deserialize_any(visitor),
            _ => Err(self.wrong_type(&"a list")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let ValueKind::Table(table) = self.value.kind else { return Err(self.wrong_type(&"a table")) };
        let (mut known, mut unknown): (Map<_, _>, Map<_, _>) = Default::default();
        for (key, value) in table {
            if fields.contains(&key.as_str()) { &mut known } else { &mut unknown }.insert(key, value);
        }
        let mut names: Vec<_> = unknown.into_iter().collect();
        names.sort_by(|a, b| a.0.cmp(&b.0));
        for (key, value) in names {
            let node = Node { value, path: join(&self.path, &key), mistakes: self.mistakes };
            let problem = format!("unknown key{}, {}", node.setter(), suggestion(&key, fields));
            self.mistakes.borrow_mut().add(node.path, problem);
        }
        visitor.visit_map(Entries::new(known, &self.path, self.mistakes)).map_err(|stop: Stop| stop.at(&self.path))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let path = self.path.clone();
        let choice = match self.value.kind {
            ValueKind::String(name) => Choice { name, content: None },
            ValueKind::Table(table) if table.len() == 1 => {
                let Some((name, value)) = table.into_iter().next() else {
                    return Err(Stop { path: Some(path), problem: "is empty".to_owned() });
                };
                let content = Node { value, path: join(&path, &name), mistakes: self.mistakes };
                Choice { name, content: Some(content) }
            }
            _ => return Err(self.wrong_type(&"the name of a choice")),
        };
        visitor.visit_enum(choice).map_err(|stop: Stop| stop.at(&path))
    }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct map identifier ignored_any
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

struct Entries<'a> {
    rest: std::vec::IntoIter<(String, Value)>,
    current: Option<Node<'a>>,
    path: String,
    mistakes: &'a RefCell<Mistakes>,
}

impl<'a> Entries<'a> {
    fn new(table: Map<String, Value>, path: &str, mistakes: &'a RefCell<Mistakes>) -> Self {
        let mut entries: Vec<_> = table.into_iter().collect();
        // Mistakes come in the same order each time.
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        Self { rest: entries.into_iter(), current: None, path: path.to_owned(), mistakes }
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Stop> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        self.current = Some(Node { value, path: join(&self.path, &key), mistakes: self.mistakes });
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stop> {
        let Some(node) = self.current.take() else { return Err(de::Error::custom("a value without its key")) };
        let path = node.path.clone();
        seed.deserialize(node).map_err(|stop| stop.at(&path))
    }
}

struct Items<'a> {
    rest: std::iter::Enumerate<std::vec::IntoIter<Value>>,
    path: String,
    mistakes: &'a RefCell<Mistakes>,
}

impl<'a> Items<'a> {
    fn new(items: Vec<Value>, path: &str, mistakes: &'a RefCell<Mistakes>) -> Self {
        Self { rest: items.into_iter().enumerate(), path: path.to_owned(), mistakes }
    }
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Stop;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Stop> {
        let Some((index, value)) = self.rest.next() else { return Ok(None) };
        let path = format!("{}[{index}]", self.path);
        let node = Node { value, path: path.clone(), mistakes: self.mistakes };
        seed.deserialize(node).map(Some).map_err(|stop| stop.at(&path))
    }
}

struct Choice<'a> {
    name: String,
    content: Option<Node<'a>>,
}

impl<'de, 'a> EnumAccess<'de> for Choice<'a> {
    type Error = Stop;
    type Variant = Content<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Content<'a>), Stop> {
        let name: de::value::StringDeserializer<Stop> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, Content(self.content)))
    }
}

struct Content<'a>(Option<Node<'a>>);

impl Content<'_> {
    fn missing() -> Stop {
        de::Error::custom("this choice needs settings of its own")
    }
}

impl<'de> VariantAccess<'de> for Content<'_> {
    type Error = Stop;

    fn unit_variant(self) -> Result<(), Stop> {
        match self.0 {
            None => Ok(()),
            Some(node) => Err(Stop { path: Some(node.path), problem: "this choice has no settings".to_owned() }),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Stop> {
        seed.deserialize(self.0.ok_or_else(Self::missing)?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Stop> {
        self.0.ok_or_else(Self::missing)?.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Stop> {
        self.0.ok_or_else(Self::missing)?.deserialize_struct("", fields, visitor)
    }
}
