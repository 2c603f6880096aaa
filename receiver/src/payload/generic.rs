//! The generic provider's one event, specified in `docs/webhooks.md`: a repository, a ref, and its commits before and after.
//! Fields that it does not know are ignored, so that a sender may say more.

use serde::Deserialize;

use super::field::{self, Field};
use super::refs::{self, Change};
use super::{Reading, Unreadable};
use crate::verify::Verified;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    repository: Field<String>,
    #[serde(rename = "ref")]
    reference: Field<String>,
    before: Field<String>,
    after: Field<String>,
}

pub(super) fn read(verified: &Verified) -> Result<Reading, Unreadable> {
    let body: Body = field::object(verified.body())?;
    let full_name = refs::full_name(body.repository.required("repository")?)?;
    let commit = |field: &'static str, text: Option<String>| refs::commit(field, &text.unwrap_or_default());
    let change = Change {
        reference: refs::reference("ref", &body.reference.required("ref")?)?,
        before: commit("before", body.before.optional("before")?)?,
        // Must be there: what is forgotten is not deleted.
        after: commit("after", body.after.nullable("after")?)?,
    };
    Ok(refs::reading(full_name, vec![change]))
}
