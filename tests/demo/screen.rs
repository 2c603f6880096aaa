//! What the demo prints. Knows lines and times, nothing of what they tell.

use std::fmt::Display;
use std::io::Write as _;

use jiff::Timestamp;

/// Prints a line. A reader that went away is no reason to stop half-way: the exit code still tells.
pub(crate) fn say(line: impl Display) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Milliseconds from one moment to another.
pub(crate) fn ms(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64() * 1000.0
}

/// Moments of one scene, counted from its begin and printed in their own order.
pub(crate) struct Timeline {
    begin: Timestamp,
    rows: Vec<(Timestamp, &'static str, String)>,
}

impl Timeline {
    pub(crate) fn from(begin: Timestamp) -> Self {
        Self { begin, rows: Vec::new() }
    }

    /// Who saw it, and what it was.
    pub(crate) fn add(&mut self, at: Timestamp, who: &'static str, what: impl Into<String>) {
        self.rows.push((at, who, what.into()));
    }

    pub(crate) fn print(mut self) {
        self.rows.sort_by_key(|(at, _, _)| *at);
        for (at, who, what) in self.rows {
            say(format!("  {:>8.1} ms  {who:<10}  {what}", ms(self.begin, at)));
        }
    }
}
