//! Counts every request to the API server, whoever makes it, by what it asks for and how it is answered.
//!
//! Knows the paths and query parameters of the Kubernetes API. Must not change a request.

use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Method, Request, Response};
use tower::{Layer, Service};

use crate::metrics::Metrics;

/// Puts the counting around a client's service.
#[derive(Clone)]
pub(super) struct Counted(pub(super) Metrics);

impl<S> Layer<S> for Counted {
    type Service = Counting<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Counting { metrics: self.0.clone(), inner }
    }
}

#[derive(Clone)]
pub(super) struct Counting<S> {
    metrics: Metrics,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Counting<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let uri = request.uri();
        let asked = self.metrics.api_request(verb(request.method(), uri.path(), uri.query().unwrap_or_default()));
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            asked.answered(answer.status().as_u16());
            Ok(answer)
        })
    }
}

/// The verb of a request, in the API server's own words where it has one.
fn verb(method: &Method, path: &str, query: &str) -> &'static str {
    let has = |wanted: &str| query.split('&').any(|parameter| parameter == wanted);
    match (method.as_str(), has("dryRun=All")) {
        ("PATCH", true) => "dry-run",
        ("PATCH", false) => "patch",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("DELETE", _) => "delete",
        ("GET", _) if has("watch=true") || has("watch=1") => "watch",
        ("GET", _) => read_verb(path),
        _ => "other",
    }
}

/// `/api/v1/…` and `/apis/<group>/<version>/…`, with `namespaces/<namespace>/` or without it, then a resource, perhaps a name,
/// perhaps a subresource.
fn read_verb(path: &str) -> &'static str {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let resource = match segments.as_slice() {
        ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
        _ => return "discovery",
    };
    match resource {
        [] => "discovery",
        [_] | ["namespaces", _, _] => "list",
        _ => "get",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_what_the_api_server_would_call_them() {
        for (method, path, query, wanted) in [
            ("GET", "/apis", "", "discovery"),
            ("GET", "/api/v1", "", "discovery"),
            ("GET", "/apis/apps/v1", "", "discovery"),
            ("GET", "/version", "", "discovery"),
            ("GET", "/api/v1/pods", "labelSelector=a", "list"),
            ("GET", "/api/v1/namespaces", "", "list"),
            ("GET", "/api/v1/namespaces/default", "", "get"),
            ("GET", "/api/v1/namespaces/default/pods", "limit=500", "list"),
            ("GET", "/api/v1/namespaces/default/pods/a", "", "get"),
            ("GET", "/apis/apps/v1/namespaces/default/deployments/a/status", "", "get"),
            ("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/a", "", "get"),
            ("GET", "/apis/apps/v1/deployments", "allowWatchBookmarks=true&watch=true", "watch"),
            ("PATCH", "/api/v1/namespaces/a/pods/b", "fieldManager=towline&dryRun=All&force=true", "dry-run"),
            ("PATCH", "/api/v1/namespaces/a/pods/b", "fieldManager=towline&force=true", "patch"),
            ("POST", "/api/v1/namespaces/a/events", "", "create"),
            ("PUT", "/apis/towline.dev/v1alpha1/namespaces/a/syncs/b/status", "", "update"),
            ("DELETE", "/api/v1/namespaces/a/pods/b", "", "delete"),
            ("OPTIONS", "/", "", "other"),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(verb(&method, path, query), wanted, "{method} {path}?{query}");
        }
    }
}
