//! Outcome to what is said of it: status, Kubernetes Events and signed reports.
//!
//! Pure: everything said is derived from what was done. Nothing here claims more than the outcome does, and a failed pass is
//! announced everywhere.

mod notes;
mod ready;
mod sent;
mod sources;
mod standing;
mod status;

pub use notes::{Note, notes};
pub use ready::{ready, waits};
pub use sent::{changes, sync_status, told};
pub use sources::{source_change, source_note};
pub use standing::{standing, suspension};
pub use status::{News, news, status, summary};

#[cfg(test)]
pub(crate) mod tests;
