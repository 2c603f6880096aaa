//! Azure DevOps' deliveries, which name event and delivery in the body.

use super::{Read, Unreadable, other_event};
use crate::verify::{Names, Verified};

#[expect(clippy::unnecessary_wraps, reason = "reading what there is to read can fail")]
pub(super) fn read(verified: &Verified) -> Result<Read, Unreadable> {
    Ok(Read { reading: other_event(verified), names: Some(Names::default()) })
}
