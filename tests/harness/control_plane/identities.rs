//! Who may use a control plane: its certificates, the administrator's token, kubeconfigs for others.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use super::ControlPlane;
use crate::certs::{self, Authority};
use crate::failure::{Doing, Failure};
use crate::guard;

/// The administrator's bearer token, for `curl`.
pub const ADMIN_TOKEN: &str = "towline-tests-admin";

/// Longer than any run.
const ACCOUNT_TOKEN_SECONDS: i64 = 24 * 3600;

pub(super) struct Files {
    pub(super) authority: PathBuf,
    pub(super) server_certificate: PathBuf,
    pub(super) server_key: PathBuf,
    pub(super) tokens: PathBuf,
    pub(super) account_key: PathBuf,
    pub(super) account_public_key: PathBuf,
    pub(super) kubeconfig: PathBuf,
}

pub(super) struct Identities {
    authority: Authority,
    url: String,
    files: Files,
}

impl Identities {
    pub(super) fn create(dir: &Path, address: SocketAddr) -> Result<Self, Failure> {
        let authority = Authority::new("towline-tests")?;
        let server = authority.server(&["127.0.0.1", "localhost", "kubernetes.default.svc"])?;
        let (account_key, account_public_key) = certs::signing_key()?;
        let file = |name: &str, text: &str| -> Result<PathBuf, Failure> {
            let path = dir.join(name);
            fs::write(&path, text).doing(|| format!("write {}", path.display()))?;
            Ok(path)
        };
        let url = format!("https://{address}");
        let admin = kubeconfig(&url, authority.certificate(), json!({ "token": ADMIN_TOKEN }));
        let files = Files {
            authority: file("ca.crt", authority.certificate())?,
            server_certificate: file("server.crt", &server.certificate)?,
            server_key: file("server.key", &server.key)?,
            tokens: file("tokens.csv", &format!("{ADMIN_TOKEN},admin,admin,system:masters\n"))?,
            account_key: file("accounts.key", &account_key)?,
            account_public_key: file("accounts.pub", &account_public_key)?,
            kubeconfig: file("admin.kubeconfig", &admin.to_string())?,
        };
        Ok(Self { authority, url, files })
    }

    pub(super) fn files(&self) -> &Files {
        &self.files
    }
}

impl ControlPlane {
    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.identities.files.kubeconfig
    }

    /// The PEM file to trust the API server by.
    pub fn authority(&self) -> &Path {
        &self.identities.files.authority
    }

    /// A kubeconfig for a user (a client certificate), who may do what RBAC allows that name and group.
    pub fn kubeconfig_for_user(&self, user: &str, group: Option<&str>) -> Result<PathBuf, Failure> {
        let identity = self.identities.authority.client(user, group)?;
        self.write_kubeconfig(json!({
            "client-certificate-data": BASE64.encode(identity.certificate.as_bytes()),
            "client-key-data": BASE64.encode(identity.key.as_bytes()),
        }))
    }

    /// A kubeconfig for a service account, with a real token; the account is made if it is not there.
    pub async fn kubeconfig_for_account(&self, namespace: &str, name: &str) -> Result<PathBuf, Failure> {
        let doing = || format!("get a token for the service account {namespace}/{name}");
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        if accounts.get_opt(name).await.doing(doing)?.is_none() {
            let account = serde_json::from_value(json!({ "metadata": { "name": name } })).doing(doing)?;
            accounts.create(&PostParams::default(), &account).await.doing(doing)?;
        }
        let spec = TokenRequestSpec { expiration_seconds: Some(ACCOUNT_TOKEN_SECONDS), ..Default::default() };
        let request = TokenRequest { spec: Some(spec), ..Default::default() };
        let answer = accounts.create_token_request(name, &PostParams::default(), &request).await.doing(doing)?;
        let token = answer.status.map(|status| status.token);
        let token = token.ok_or_else(|| Failure::new(doing(), "the answer holds no token"))?;
        self.write_kubeconfig(json!({ "token": token }))
    }

    /// The administrator's kubeconfig for whoever goes through a proxy that speaks plain HTTP.
    pub fn kubeconfig_through(&self, proxy: SocketAddr) -> Result<PathBuf, Failure> {
        let url = format!("http://{proxy}");
        let text = kubeconfig(&url, self.identities.authority.certificate(), json!({ "token": ADMIN_TOKEN }));
        write(&text.to_string())
    }

    /// A client of the administrator, for the runtime that asks.
    pub async fn client(&self) -> Result<kube::Client, Failure> {
        client_from(self.kubeconfig()).await
    }

    fn write_kubeconfig(&self, user: Value) -> Result<PathBuf, Failure> {
        write(&kubeconfig(&self.identities.url, self.identities.authority.certificate(), user).to_string())
    }
}

fn write(kubeconfig: &str) -> Result<PathBuf, Failure> {
    let path = guard::scratch("kubeconfig").join("kubeconfig");
    fs::write(&path, kubeconfig).doing(|| format!("write {}", path.display()))?;
    Ok(path)
}

/// A client for any kubeconfig.
pub async fn client_from(kubeconfig: &Path) -> Result<kube::Client, Failure> {
    certs::install_provider();
    let doing = || format!("make a client from {}", kubeconfig.display());
    let file = Kubeconfig::read_from(kubeconfig).doing(doing)?;
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.doing(doing)?;
    kube::Client::try_from(config).doing(doing)
}

/// As JSON, which every reader of kubeconfigs takes.
fn kubeconfig(url: &str, authority: &str, user: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "test", "cluster": { "server": url, "certificate-authority-data": BASE64.encode(authority.as_bytes()) } }],
        "users": [{ "name": "test", "user": user }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        "current-context": "test",
    })
}
