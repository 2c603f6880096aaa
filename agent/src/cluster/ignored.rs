//! Fields that are left to others: what the API server records as Towline's of them, and letting go of that.
//!
//! Knows requests. Must not know rules: `towline_plan::disown` says what is to be written.

use kube::api::{Patch, PatchParams};
use serde_json::Value;
use towline_plan::desired::Desired;
use towline_plan::disown::disown;
use towline_plan::observed::{FIELD_MANAGER, Live};

use super::live::live;
use super::{Cluster, RequestError, Served, bounded};

impl Cluster {
    /// Whether fields that are left to others are still recorded as Towline's.
    ///
    /// # Errors
    /// The API server does not answer or does not allow it, or a field is a part of what can be had as a whole only.
    pub async fn holds_ignored(&self, served: &Served, object: &Desired) -> Result<bool, RequestError> {
        Ok(self.held(served, object).await?.is_some_and(|(_, patch)| patch.is_some()))
    }

    /// Lets go of the fields that are left to others, and answers with what the object is then; `None`: it does not exist.
    /// `is_meant`: whether it is what was decided on.
    ///
    /// # Errors
    /// It is not what is meant; it changed since it was read (a conflict); the API server refuses; or a field is a part of what
    /// can be had as a whole only.
    pub async fn disown(
        &self,
        served: &Served,
        object: &Desired,
        is_meant: &(dyn Fn(&Live) -> bool + Sync),
    ) -> Result<Option<Live>, RequestError> {
        let Some((seen, patch)) = self.held(served, object).await? else { return Ok(None) };
        let what = || format!("letting go of fields of {}", object.id);
        if !is_meant(&seen) {
            return Err(RequestError::changed(what()));
        }
        let Some(patch) = patch else { return Ok(Some(seen)) };
        let api = self.objects(served, &object.id, &object.version)?;
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let written = bounded(what, api.patch_metadata(&object.id.name, &params, &Patch::Merge(patch))).await?;
        Ok(Some(live(&written)))
    }

    /// A live object, and the patch that lets go of what is to be let go of; `None`: it does not exist.
    async fn held(&self, served: &Served, object: &Desired) -> Result<Option<(Live, Option<Value>)>, RequestError> {
        let api = self.objects(served, &object.id, &object.version)?;
        let what = || format!("looking at {}", object.id);
        let meta = match bounded(what, api.get_metadata(&object.id.name)).await {
            Ok(meta) => meta,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = serde_json::to_value(&meta.metadata).unwrap_or_default();
        let patch = disown(&metadata, &object.value, &object.ignored.paths)
            .map_err(|problem| RequestError::impossible(what(), problem.to_string()))?;
        Ok(Some((live(&meta), patch)))
    }
}
