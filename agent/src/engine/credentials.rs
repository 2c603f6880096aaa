//! What a fetch is made with: the Secrets of its source, read now, and a token where they hold an App's key.
//!
//! Knows which Secrets a source names. Must not know what their keys mean: that is `access`. What goes wrong is said in words for
//! the source's condition, with the Secret's name and nothing that it holds.

use jiff::Timestamp;
use towline_daemon::error::chain;
use towline_plan::schedule::hosts::Answer;

use super::secrets::{self, Versions};
use super::{FetchFailure, SourceKey};
use crate::access::{self, Access, App, Data, PlainHttp, Tokens};
use crate::api::GitSourceSpec;
use crate::cluster::{Cluster, SecretKey};

/// Flux's reason for what has to do with credentials.
pub(super) const REFUSED: &str = "AuthenticationFailed";

/// What credentials are made of, besides Secrets. Clones share the tokens.
#[derive(Clone)]
pub struct Keyring {
    pub cluster: Cluster,
    pub tokens: Tokens,
    pub plain_http: PlainHttp,
}

/// The Secrets a source names.
#[derive(Debug, Clone, Default)]
pub struct Named {
    pub credentials: Option<SecretKey>,
    pub proxy: Option<SecretKey>,
    /// Of the keys that signatures are verified with.
    pub verification: Option<SecretKey>,
}

/// What one fetch is made with.
#[derive(Default)]
pub(super) struct Key {
    pub access: Access,
    /// Whose token is in it.
    pub app: Option<App>,
}

impl Named {
    pub(super) fn of(source: &SourceKey, spec: &GitSourceSpec) -> Self {
        let key = |name: &String| SecretKey { namespace: source.namespace.clone(), name: name.clone() };
        Self {
            credentials: spec.secret_ref.as_ref().map(|reference| key(&reference.name)),
            proxy: spec.proxy_secret_ref.as_ref().map(|reference| key(&reference.name)),
            verification: spec.verify.as_ref().map(|verification| key(&verification.secret_ref.name)),
        }
    }

    pub(super) fn all(self) -> impl Iterator<Item = SecretKey> {
        [self.credentials, self.proxy, self.verification].into_iter().flatten()
    }
}

impl Keyring {
    /// Reads, and asks where it has to. `read` tells which versions this came from, also if it fails.
    pub(super) async fn key(&self, named: &Named, url: &str, read: &mut Versions) -> Result<Key, FetchFailure> {
        let mut key = Key::default();
        if let Some(secret) = &named.credentials {
            let data = self.data(secret, "secretRef", read).await?;
            let credentials = access::read(&data, url).map_err(|error| unusable(secret, &error))?;
            (key.access, key.app) = (credentials.access, credentials.app);
        }
        if let Some(secret) = &named.proxy {
            let data = self.data(secret, "proxySecretRef", read).await?;
            key.access.proxy = Some(access::read_proxy(&data).map_err(|error| unusable(secret, &error))?);
        }
        key.access.plain_http = self.plain_http.clone();
        if let Some(app) = &key.app {
            let login = self.tokens.login(app, &key.access, Timestamp::now()).await;
            key.access.login = Some(login.map_err(|error| FetchFailure {
                message: format!("get a token for the GitHub App: {}", chain(&error)),
                retryable: error.is_retryable(),
                retry_after: None,
                answer: Answer::NotAsked,
                reason: REFUSED,
                verification: None,
            })?);
        }
        Ok(key)
    }

    async fn data(&self, secret: &SecretKey, field: &str, read: &mut Versions) -> Result<Data, FetchFailure> {
        let fail = |message: String| FetchFailure {
            message,
            retryable: true,
            retry_after: None,
            answer: Answer::NotAsked,
            reason: REFUSED,
            verification: None,
        };
        match secrets::read(&self.cluster, secret, read).await {
            Ok(Some(data)) => Ok(data),
            Ok(None) => Err(fail(format!("the Secret {secret} that spec.{field} names does not exist"))),
            Err(error) => Err(fail(format!("the Secret {secret} that spec.{field} names: {}", chain(&error)))),
        }
    }
}

fn unusable(secret: &SecretKey, error: &access::SecretError) -> FetchFailure {
    // Nothing but a change of it helps, and that wakes the source.
    FetchFailure {
        message: format!("the Secret {secret} cannot be used: {error}"),
        retryable: false,
        retry_after: None,
        answer: Answer::NotAsked,
        reason: REFUSED,
        verification: None,
    }
}
