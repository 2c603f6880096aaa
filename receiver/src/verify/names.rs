//! What a delivery calls itself: the event's name and the delivery's id. For logs, metrics and the choice of a reader;
//! most providers do not sign the headers they are read from, so nothing else may depend on them.

use http::HeaderMap;
use towline_proto::bounds;
use towline_proto::commit_event::DELIVERY_BYTES_MAX;

use crate::provider::Provider;

/// The longest event name in use has 40 characters.
const EVENT_BYTES_MAX: usize = 64;

/// Printable ASCII, whatever was sent; empty where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// The event's name, spaces as hyphens.
    pub event: String,
    /// The sender's id of the delivery.
    pub delivery: String,
}

impl Names {
    /// Makes both safe for a log.
    pub fn new(event: &str, delivery: &str) -> Self {
        // "Push Hook" has a space, which an identifier has not.
        let event = bounds::identifier(&event.replace(' ', "-"), EVENT_BYTES_MAX);
        Self { event, delivery: bounds::identifier(delivery, DELIVERY_BYTES_MAX) }
    }
}

/// The names as the headers give them. Azure DevOps has them in the body only, where `payload` finds them.
pub fn names(provider: Provider, headers: &HeaderMap) -> Names {
    let (event, delivery) = headers_of(provider);
    let text = |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let event = match provider {
        // There is one event, and it has no header.
        Provider::Generic => "push".to_owned(),
        _ => event.and_then(text).unwrap_or_default(),
    };
    let delivery = delivery.iter().find_map(|name| text(name)).unwrap_or_default();
    Names::new(&event, &delivery)
}

/// Where a provider says the event's name, and where the delivery's id: the first that is there.
pub(super) fn headers_of(provider: Provider) -> (Option<&'static str>, &'static [&'static str]) {
    match provider {
        Provider::Github => (Some("x-github-event"), &["x-github-delivery"]),
        Provider::Gitlab => (Some("x-gitlab-event"), &["webhook-id", "idempotency-key", "x-gitlab-event-uuid"]),
        Provider::Gitea => (Some("x-gitea-event"), &["x-gitea-delivery"]),
        Provider::Forgejo => (Some("x-forgejo-event"), &["x-forgejo-delivery"]),
        Provider::Bitbucket => (Some("x-event-key"), &["x-request-uuid"]),
        Provider::BitbucketServer => (Some("x-event-key"), &["x-request-id"]),
        Provider::AzureDevops => (None, &[]),
        Provider::Generic => (None, &["webhook-id"]),
    }
}
