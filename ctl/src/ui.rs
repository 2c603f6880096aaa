//! Where results and notes go: results to stdout, for programs too; notes to stderr, for people. Knows no command.

use std::io::{self, Write};

/// Made by `main`, lent to commands.
pub(crate) struct Ui {
    results: Box<dyn Write>,
    notes: Box<dyn Write>,
    /// Whoever read our stdout has gone, as in `towline get syncs | head -1`: nothing more to say, and no error.
    closed: bool,
}

impl Ui {
    pub(crate) fn process() -> Self {
        Self { results: Box::new(io::stdout()), notes: Box::new(io::stderr()), closed: false }
    }

    /// A result as it stands; a line break is added where there is none at the end.
    pub(crate) fn result(&mut self, text: &str) {
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        let written = write!(self.results, "{text}{end}").and_then(|()| self.results.flush());
        self.closed |= written.is_err();
    }

    /// A line for people.
    pub(crate) fn note(&mut self, text: &str) {
        // Nobody is left to hear that stderr is closed.
        let _unheard = writeln!(self.notes, "{}", text.trim_end());
    }

    /// Whether going on would be for nobody.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }
}
