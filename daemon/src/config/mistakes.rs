//! A list of mistakes with the paths of their keys, so that one start reports all of them. Knows no key.

use std::fmt;
use std::path::{Path, PathBuf};

use super::ConfigError;

/// One mistake: where it is and what is wrong, as a fragment in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The key's path, `hooks[0].provider`; empty for the whole.
    pub key: String,
    pub problem: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() { write!(f, "{}", self.problem) } else { write!(f, "{}: {}", self.key, self.problem) }
    }
}

/// Everything that is wrong with one configuration. Collect with [`Mistakes::add`] and [`Mistakes::check`], end with
/// [`Mistakes::finish`].
#[derive(Clone, Debug, Default)]
pub struct Mistakes {
    file: Option<PathBuf>,
    list: Vec<Mistake>,
}

impl Mistakes {
    /// An empty list; the file is named in the message.
    pub fn new(file: Option<&Path>) -> Self {
        Self { file: file.map(Path::to_owned), list: Vec::new() }
    }

    pub fn add(&mut self, key: impl Into<String>, problem: impl fmt::Display) {
        self.list.push(Mistake { key: key.into(), problem: problem.to_string() });
    }

    /// The value of a result; its error is noted under the key.
    pub fn check<T, E: std::error::Error>(&mut self, key: impl Into<String>, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(key, crate::error::chain(&error))).ok()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.list.iter()
    }

    /// The value, if nothing is wrong.
    pub fn finish<T>(self, value: T) -> Result<T, ConfigError> {
        if self.list.is_empty() { Ok(value) } else { Err(ConfigError::Mistakes(self)) }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.list.len();
        write!(f, "{count} {} in the configuration", if count == 1 { "mistake" } else { "mistakes" })?;
        if let Some(file) = &self.file {
            write!(f, " ({})", file.display())?;
        }
        self.list.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}
