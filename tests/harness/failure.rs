//! The harness's one error. A test only shows it, so it is text: what was attempted, and why it did not work.
//! Knows no part.

use std::fmt::{self, Display};

/// "failed to …: …". `Debug` is the same text, because `unwrap` and a failing test print that.
#[derive(thiserror::Error)]
#[error("failed to {doing}: {why}")]
pub struct Failure {
    doing: String,
    why: String,
}

impl Failure {
    pub fn new(doing: impl Into<String>, why: impl Display) -> Self {
        Self { doing: doing.into(), why: why.to_string() }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, out)
    }
}

/// Says what was attempted when something outside failed.
pub trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: std::error::Error> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| {
            let mut why = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                let text = cause.to_string();
                if !why.contains(&text) {
                    why = format!("{why}: {text}");
                }
                source = cause.source();
            }
            Failure::new(what(), why)
        })
    }
}
