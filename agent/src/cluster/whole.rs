//! Managed objects as a whole, with their fields: for the few of which metadata does not say enough.
//!
//! Knows requests. Must not keep what it reads, nor say it: it may be a Secret's.

use kube::api::{Patch, PatchParams, PostParams, ValidationDirective};
use kube::core::DynamicObject;
use serde_json::Value;
use towline_plan::desired::Desired;
use towline_plan::observed::{FIELD_MANAGER, Live};

use super::live::live_of;
use super::{Cluster, RequestError, Served, bounded};

impl Cluster {
    /// The live object's metadata, all of it, and what an apply would make of it; `None`: it is gone.
    ///
    /// # Errors
    /// The API server refuses one of both, or does not answer.
    pub async fn compared(
        &self,
        served: &Served,
        object: &Desired,
    ) -> Result<Option<(Live, Value, Value)>, RequestError> {
        let api = self.objects(served, &object.id, &object.version)?;
        let name = &object.id.name;
        let Some(live) = bounded(|| format!("reading {}", object.id), api.get_opt(name)).await? else {
            return Ok(None);
        };
        let params = PatchParams {
            dry_run: true,
            force: true,
            field_manager: Some(FIELD_MANAGER.to_owned()),
            field_validation: Some(ValidationDirective::Strict),
        };
        let patch = Patch::Apply(object.standing());
        let wanted = bounded(|| format!("dry-running {}", object.id), api.patch(name, &params, &patch)).await?;
        let value = |object: DynamicObject| serde_json::to_value(object).unwrap_or_default();
        Ok(Some((live_of(&live.metadata), value(live), value(wanted))))
    }

    /// Whether the API server would create the object if it were not there: validation and admission come before it looks for
    /// one of that name.
    ///
    /// # Errors
    /// Why it would not.
    pub async fn would_create(&self, served: &Served, object: &Desired) -> Result<(), RequestError> {
        let api = self.objects(served, &object.id, &object.version)?;
        let what = || format!("dry-running the creation of {}", object.id);
        let Ok(new) = serde_json::from_value::<DynamicObject>(object.value.clone()) else {
            return Err(RequestError::unserved(what()));
        };
        let params = PostParams { dry_run: true, field_manager: Some(FIELD_MANAGER.to_owned()) };
        match bounded(what, api.create(&params, &new)).await {
            Err(error) if error.is_there_already() => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Creates the object with all that Git has of it, answering with its uid; `None`: one of that name is there, and nothing
    /// was written.
    ///
    /// # Errors
    /// The API server refuses it, or could not do it.
    pub async fn create(&self, served: &Served, object: &Desired) -> Result<Option<String>, RequestError> {
        let api = self.objects(served, &object.id, &object.version)?;
        let what = || format!("creating {}", object.id);
        let Ok(new) = serde_json::from_value::<DynamicObject>(object.value.clone()) else {
            return Err(RequestError::unserved(what()));
        };
        let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.to_owned()) };
        match bounded(what, api.create(&params, &new)).await {
            Ok(made) => Ok(Some(made.metadata.uid.unwrap_or_default())),
            Err(error) if error.is_there_already() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
