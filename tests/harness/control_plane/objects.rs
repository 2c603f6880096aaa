//! What a test needs in the API server before it begins: Towline's CRDs, a namespace of its own.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{fs, process};

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::Condition;
use serde_json::{Value, json};

use super::ControlPlane;
use crate::failure::{Doing, Failure};
use crate::wait::wait_until;

const ESTABLISHED: Duration = Duration::from_secs(30);

impl ControlPlane {
    /// Applies `deploy/crds/*.yaml` and waits until the API server serves them.
    pub async fn apply_crds(&self) -> Result<(), Failure> {
        self.apply_crds_from(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds")).await
    }

    /// The same for the CRDs of any folder.
    pub async fn apply_crds_from(&self, folder: &Path) -> Result<(), Failure> {
        let doing = || format!("apply {}", folder.display());
        let api: Api<CustomResourceDefinition> = Api::all(self.client().await?);
        let mut names = Vec::new();
        for crd in read_crds(folder)? {
            let name = crd["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            api.patch(&name, &PatchParams::apply("towline-tests").force(), &Patch::Apply(&crd)).await.doing(doing)?;
            names.push(name);
        }
        for name in names {
            wait_until(&format!("the CRD {name} is established"), ESTABLISHED, async || {
                let crd = api.get(&name).await.map_err(|error| error.to_string())?;
                let conditions = crd.status.as_ref().map(|status| format!("{:?}", status.conditions));
                if is_crd_established().matches_object(Some(&crd)) {
                    Ok(())
                } else {
                    Err(conditions.unwrap_or_default())
                }
            })
            .await?;
        }
        Ok(())
    }

    /// Makes a new namespace whose name begins with `prefix`.
    pub async fn namespace(&self, prefix: &str) -> Result<String, Failure> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{prefix}-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let doing = || format!("make the namespace {name}");
        let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": name } })).doing(doing)?;
        Api::all(self.client().await?).create(&PostParams::default(), &namespace).await.doing(doing)?;
        Ok(name)
    }
}

fn read_crds(folder: &Path) -> Result<Vec<Value>, Failure> {
    let doing = || format!("read {}; `cargo xtask codegen` writes it", folder.display());
    let mut crds = Vec::new();
    for entry in fs::read_dir(folder).doing(doing)? {
        let path = entry.doing(doing)?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = fs::read_to_string(&path).doing(doing)?;
            let documents: Vec<Value> = serde_saphyr::from_multiple(&text).doing(doing)?;
            crds.extend(documents.into_iter().filter(|document| document["kind"] == "CustomResourceDefinition"));
        }
    }
    if crds.is_empty() { Err(Failure::new(doing(), "there is no CustomResourceDefinition")) } else { Ok(crds) }
}
