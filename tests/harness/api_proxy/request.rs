//! What a request asks of the Kubernetes API. Knows its paths and parameters; answers nothing.

use std::fmt;
use std::time::Instant;

use http::Method;

/// A request that was seen.
#[derive(Debug, Clone)]
pub struct Seen {
    /// As RBAC has it (`get`, `list`, `watch`, `create`, `update`, `patch`, `delete`), or `discovery`.
    pub verb: &'static str,
    /// `configmaps`; empty for discovery.
    pub resource: String,
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub subresource: Option<String>,
    pub dry_run: bool,
    /// Of a user or service account, if somebody else asks on its behalf.
    pub acts_as: Option<String>,
    pub path: String,
    pub query: String,
    /// The uid and resource version of the object that a patch names in its body.
    pub meant: (Option<String>, Option<String>),
    pub at: Instant,
}

impl Seen {
    pub(super) fn new(method: &Method, uri: &http::Uri, body: &[u8], acts_as: Option<String>) -> Self {
        let (path, query) = (uri.path().to_owned(), uri.query().unwrap_or_default().to_owned());
        let has = |wanted: &str| query.split('&').any(|parameter| parameter == wanted);
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let rest = match segments.as_slice() {
            ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
            _ => &[],
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() && !matches!(rest, ["status" | "finalize"]) => {
                (Some(*namespace), rest)
            }
            rest => (None, rest),
        };
        let part = |index: usize| rest.get(index).map(|part| (*part).to_owned());
        let verb = match (method.as_str(), rest.len()) {
            (_, 0) => "discovery",
            ("GET", _) if has("watch=true") || has("watch=1") => "watch",
            ("GET", 1) => "list",
            ("GET", _) => "get",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", _) => "delete",
            _ => "other",
        };
        Self {
            verb,
            resource: part(0).unwrap_or_default(),
            namespace: namespace.map(str::to_owned),
            name: part(1),
            subresource: part(2),
            dry_run: has("dryRun=All"),
            acts_as,
            meant: if verb == "patch" { meant(body) } else { (None, None) },
            at: Instant::now(),
            path,
            query,
        }
    }

    /// Of this verb and resource: `is("patch", "configmaps")`.
    pub fn is(&self, verb: &str, resource: &str) -> bool {
        self.verb == verb && self.resource == resource
    }

    /// A request that a rest costs as well: watches, and the leases of replicas.
    pub fn is_rest(&self) -> bool {
        self.verb == "watch" || self.resource == "leases"
    }
}

fn meant(body: &[u8]) -> (Option<String>, Option<String>) {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let field = |name: &str| body["metadata"][name].as_str().map(str::to_owned);
    (field("uid"), field("resourceVersion"))
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}?{}", self.verb, self.path, self.query)
    }
}
