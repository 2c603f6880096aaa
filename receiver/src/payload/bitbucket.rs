//! Bitbucket Cloud's deliveries.

use super::{Reading, Unreadable, other_event};
use crate::verify::Verified;

#[expect(clippy::unnecessary_wraps, reason = "reading what there is to read can fail")]
pub(super) fn read(verified: &Verified) -> Result<Reading, Unreadable> {
    Ok(other_event(verified))
}
