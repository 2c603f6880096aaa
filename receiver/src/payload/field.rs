//! A JSON body to the few fields a reader asks for. Knows JSON's shapes, and no provider.
//!
//! A field of another type than documented does not end the reading: it is remembered as such, so that the reader can
//! say which one it was. Everything that is not asked for is skipped without being held, however deep it is nested. A
//! field that is asked for and occurs twice is an error: another program could have read the other one.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Unreadable;

/// Refs in one delivery. GitHub and Gitea tell of one ref in each; a push of a thousand is a mirror being filled. They are
/// published well within the 5 s that a delivery has, and cost half a megabyte.
pub const REFS_MAX: usize = 1000;

/// Where in a body a field stands, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    list: Option<(&'static str, usize)>,
    field: &'static str,
}

/// A field as the sender wrote it.
#[derive(Debug, Default)]
pub(super) enum Field<T> {
    #[default]
    Missing,
    Null,
    Mistyped,
    Given(T),
}

/// What a field can be asked to be.
pub(super) trait Shape<'de>: Sized {
    const IS: &'static str;

    fn from_text(_text: &str) -> Option<Self> {
        None
    }

    fn from_list<A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn from_object<A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

/// An object with the fields of `T`.
#[derive(Debug)]
pub(super) struct Object<T>(pub(super) T);

/// A list: its first [`REFS_MAX`] items, and how many there are.
#[derive(Debug)]
pub(super) struct List<T> {
    items: Vec<Field<T>>,
    found: usize,
}

/// Reads a body that is an object.
pub(super) fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, Unreadable> {
    let body = serde_json::from_slice::<Field<Object<T>>>(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        if error.is_data() { Unreadable::Repeated { line, column } } else { Unreadable::NotJson { line, column } }
    })?;
    match body {
        Field::Given(Object(body)) => Ok(body),
        Field::Missing | Field::Null | Field::Mistyped => Err(Unreadable::NotAnObject),
    }
}

impl<'de, T: Shape<'de>> Field<T> {
    /// The value, which must be there.
    pub(super) fn required(self, place: impl Into<Place>) -> Result<T, Unreadable> {
        match self {
            Self::Given(value) => Ok(value),
            Self::Missing => Err(Unreadable::Missing(place.into())),
            Self::Null => Err(Unreadable::Null(place.into())),
            Self::Mistyped => Err(Unreadable::Mistyped { place: place.into(), expected: T::IS }),
        }
    }

    /// The value of a field which must be there and may be null.
    pub(super) fn nullable(self, place: impl Into<Place>) -> Result<Option<T>, Unreadable> {
        if let Self::Null = self { Ok(None) } else { self.required(place).map(Some) }
    }

    /// The value of a field which may be null, or not there at all.
    pub(super) fn optional(self, place: impl Into<Place>) -> Result<Option<T>, Unreadable> {
        if let Self::Missing = self { Ok(None) } else { self.nullable(place) }
    }
}

impl<T> List<T> {
    /// The items, if they are not too many.
    pub(super) fn items(self) -> Result<impl Iterator<Item = (usize, Field<T>)>, Unreadable> {
        match self.found {
            ..=REFS_MAX => Ok(self.items.into_iter().enumerate()),
            found => Err(Unreadable::TooMany { found }),
        }
    }
}

impl Place {
    /// A field of an item of a list.
    pub(super) fn in_list(list: &'static str, index: usize, field: &'static str) -> Self {
        Self { list: Some((list, index)), field }
    }
}

impl From<&'static str> for Place {
    fn from(field: &'static str) -> Self {
        Self { list: None, field }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.list {
            Some((list, index)) if self.field.is_empty() => write!(f, "{list}[{index}]"),
            Some((list, index)) => write!(f, "{list}[{index}].{}", self.field),
            None => f.write_str(self.field),
        }
    }
}

impl<'de> Shape<'de> for String {
    const IS: &'static str = "a text";

    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl<'de, T: Deserialize<'de>> Shape<'de> for Object<T> {
    const IS: &'static str = "an object";

    fn from_object<A: MapAccess<'de>>(object: A) -> Result<Option<Self>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(object)).map(|value| Some(Self(value)))
    }
}

impl<'de, T: Shape<'de>> Shape<'de> for List<T> {
    const IS: &'static str = "a list";

    fn from_list<A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let mut items = Vec::new();
        while items.len() < REFS_MAX {
            let Some(item) = list.next_element()? else { break };
            items.push(item);
        }
        let mut found = items.len();
        while list.next_element::<IgnoredAny>()?.is_some() {
            found += 1;
        }
        Ok(Some(Self { items, found }))
    }
}

impl<'de, T: Shape<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyShape(PhantomData))
    }
}

struct AnyShape<T>(PhantomData<T>);

impl<T> AnyShape<T> {
    fn field(value: Option<T>) -> Field<T> {
        value.map_or(Field::Mistyped, Field::Given)
    }
}

impl<'de, T: Shape<'de>> Visitor<'de> for AnyShape<T> {
    type Value = Field<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Field::Null)
    }

    fn visit_bool<E>(self, _value: bool) -> Result<Self::Value, E> {
        Ok(Field::Mistyped)
    }

    fn visit_i64<E>(self, _value: i64) -> Result<Self::Value, E> {
        Ok(Field::Mistyped)
    }

    fn visit_u64<E>(self, _value: u64) -> Result<Self::Value, E> {
        Ok(Field::Mistyped)
    }

    fn visit_f64<E>(self, _value: f64) -> Result<Self::Value, E> {
        Ok(Field::Mistyped)
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Self::field(T::from_text(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        T::from_list(list).map(Self::field)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
        T::from_object(object).map(Self::field)
    }
}
