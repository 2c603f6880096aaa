//! `sync/NAME` and `source/NAME`: what a command is about. Knows the words people use for the two kinds.

use std::fmt;
use std::str::FromStr;

/// The kinds a command can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Source,
    Sync,
}

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) name: String,
}

/// Why a text names no object. Read by clap, which adds the argument.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum TargetError {
    #[error("write sync/NAME or source/NAME")]
    Form,
    #[error("`{0}` is not a kind: write sync/NAME or source/NAME")]
    Kind(String),
}

impl Kind {
    fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "sync" | "syncs" | "syncs.towline.dev" | "sync.towline.dev" => Some(Self::Sync),
            "source"
            | "sources"
            | "gitsource"
            | "gitsources"
            | "gsrc"
            | "gitsources.towline.dev"
            | "gitsource.towline.dev" => Some(Self::Source),
            _ => None,
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (kind, name) = text.split_once('/').ok_or(TargetError::Form)?;
        let kind = Kind::parse(kind).ok_or_else(|| TargetError::Kind(kind.to_owned()))?;
        if name.is_empty() || name.contains('/') {
            return Err(TargetError::Form);
        }
        Ok(Self { kind, name: name.to_owned() })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Source => "source",
            Kind::Sync => "sync",
        };
        write!(f, "{kind}/{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_by_any_of_their_names() {
        assert_eq!("syncs/a".parse(), Ok(Target { kind: Kind::Sync, name: "a".into() }));
        assert_eq!("gsrc/a".parse(), Ok(Target { kind: Kind::Source, name: "a".into() }));
        assert_eq!("GitSource/a".parse::<Target>().unwrap().to_string(), "source/a");
        for bad in ["a", "sync/", "sync/a/b", "pod/a"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }
}
