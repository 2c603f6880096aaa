//! How a command ends: the exit codes, in one place, and the error that becomes one. `docs/cli.md` documents them.

use std::error::Error;
use std::fmt;

/// What a caller may rely on. Usage errors end with 2, which clap sees to before a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, and what was asked about is so.
    Ok,
    /// Looked, and it is not so: not ready, not found, refused, mistakes.
    No,
    /// The arguments contradict each other in a way that clap cannot see.
    Usage,
    /// It could not be found out: unreachable, unreadable, denied.
    Failed,
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::No => 1,
            Self::Usage => 2,
            Self::Failed => 3,
        }
    }
}

/// An error of one operation, which knows how the process ends because of it.
pub(crate) trait Fails: Error + 'static {
    fn exit(&self) -> Exit;
}

/// What `main` prints, once, as a chain.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    error: Box<dyn Error>,
}

impl Failure {
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    pub(crate) fn runtime(error: std::io::Error) -> Self {
        Self { exit: Exit::Failed, error: Box::new(error) }
    }
}

impl<E: Fails> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { exit: error.exit(), error: Box::new(error) }
    }
}

impl fmt::Display for Failure {
    /// `failed to …: because …: because …`. Many libraries repeat their cause in their own message: it is said once.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = format!("failed to {}", self.error);
        let mut next = self.error.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if !text.is_empty() && !line.contains(&text) {
                line.push_str(": ");
                line.push_str(&text);
            }
            next = cause.source();
        }
        f.write_str(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("read the file")]
    struct Reading(#[source] std::io::Error);

    impl Fails for Reading {
        fn exit(&self) -> Exit {
            Exit::Failed
        }
    }

    #[test]
    fn an_error_is_a_chain_that_begins_with_what_was_tried() {
        let failure = Failure::from(Reading(std::io::Error::other("the disk is gone")));
        assert_eq!(failure.to_string(), "failed to read the file: the disk is gone");
        assert_eq!(failure.exit().code(), 3);
    }
}
