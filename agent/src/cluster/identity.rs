//! Acting as a service account: the same connections, with a header that says on whose behalf.
//!
//! Knows Kubernetes' impersonation. Must not know which Sync names which account.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderValue, Request, StatusCode};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::Api;
use kube::client::Body;
use towline_plan::identity::Identity;

use super::{Cluster, RequestError, bounded};

/// The header by which a request is judged with another's rights.
const IMPERSONATE_USER: &str = "impersonate-user";

/// Who asks, and with what.
#[derive(Clone)]
pub(super) struct Acting {
    pub(super) identity: Identity,
    pub(super) client: kube::Client,
    /// Something was answered with 403 since this was made.
    forbidden: Arc<AtomicBool>,
}

impl Acting {
    pub(super) fn agent(client: kube::Client) -> Self {
        Self { identity: Identity::Agent, client, forbidden: Arc::default() }
    }

    /// A client over the agent's own: its connections and credentials are shared. Costs a task and a queue, so it is made
    /// for each pass and each watch, and nothing has to remember which accounts there are.
    fn account(identity: Identity, user: &HeaderValue, agent: &kube::Client) -> Self {
        let forbidden = Arc::<AtomicBool>::default();
        let (inner, user, refusals) = (agent.clone(), user.clone(), Arc::clone(&forbidden));
        let service = tower::service_fn(move |mut request: Request<Body>| {
            let (inner, refusals) = (inner.clone(), Arc::clone(&refusals));
            // The user alone: the API server adds a service account's groups. Naming them would ask for the right to
            // impersonate groups, and with that the agent could act as system:masters.
            request.headers_mut().insert(IMPERSONATE_USER, user.clone());
            async move {
                let answer = inner.send(request).await?;
                if answer.status() == StatusCode::FORBIDDEN {
                    refusals.store(true, Ordering::Relaxed);
                }
                Ok::<_, kube::Error>(answer)
            }
        });
        Self { identity, client: kube::Client::new(service, agent.default_namespace()), forbidden }
    }
}

impl Cluster {
    /// Syncs that name no account act as this one of their own namespace; `None`: as the agent.
    #[must_use]
    pub fn with_default_account(self, name: Option<&str>) -> Self {
        Self { default_account: name.map(Arc::from), ..self }
    }

    /// Whom a Sync of a namespace acts as.
    #[must_use]
    pub fn identity(&self, namespace: &str, account: Option<&str>) -> Identity {
        Identity::of(namespace, account, self.default_account.as_deref())
    }

    /// The same cluster, with every request for managed objects (dry-run, apply, look, delete, list, watch) made as
    /// `identity`. Discovery, Towline's own objects and Events stay the agent's.
    #[must_use]
    pub fn acting_as(&self, identity: &Identity) -> Self {
        let acting = match identity.user().map(|user| HeaderValue::from_str(&user)) {
            Some(Ok(user)) => Acting::account(identity.clone(), &user, &self.client),
            // A name that is no header is no service account's either: it must not become the agent.
            Some(Err(_)) => {
                Acting::account(identity.clone(), &HeaderValue::from_static("system:anonymous"), &self.client)
            }
            None => Acting::agent(self.client.clone()),
        };
        Self { acting, ..self.clone() }
    }

    /// Who managed objects are asked for and written as.
    #[must_use]
    pub fn acts_as(&self) -> &Identity {
        &self.acting.identity
    }

    /// Why something was forbidden, as far as the account explains it; `None` for the agent itself, and where nothing was.
    pub async fn why_forbidden(&self) -> Option<String> {
        let Identity::Account { .. } = &self.acting.identity else { return None };
        if !self.acting.forbidden.load(Ordering::Relaxed) {
            return None;
        }
        let account = &self.acting.identity;
        Some(match self.account_exists(account).await {
            Ok(false) => format!("{account}, as which this Sync acts, does not exist"),
            // Also where the agent may not look.
            Ok(true) | Err(_) => format!("this Sync acts as {account}: only what that account may do is done"),
        })
    }

    /// Whether an account is there. Asked as the agent. The agent itself always is.
    ///
    /// # Errors
    /// The API server does not answer, or the agent may not look at accounts.
    pub async fn account_exists(&self, identity: &Identity) -> Result<bool, RequestError> {
        let Identity::Account { namespace, name } = identity else { return Ok(true) };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        match bounded(|| format!("looking at {identity}"), accounts.get_metadata(name)).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }
}
