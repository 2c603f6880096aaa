//! The webhook APIs of Git hosts as data: requests that nobody has sent, answers that somebody has read. Pure; one file for
//! each host says how it calls things, and nothing outside this folder knows that.

mod gitea;
mod github;
mod gitlab;

pub(crate) use gitlab::SIGNING_PREFIX;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use towline_receiver::Provider;

/// Whose webhooks. The names are checked: they become parts of a path.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Repository(String),
    /// GitLab calls it a group.
    Organisation(String),
}

/// A name that cannot be part of an API's path.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    #[error("`{0}` is not a repository's full name, as in org/app")]
    Repository(String),
    #[error("`{0}` is not an organisation's name")]
    Organisation(String),
}

/// One request, below the API's base address.
pub(crate) struct Call {
    pub(crate) verb: Verb,
    /// Not encoded: a segment may hold slashes.
    pub(crate) path: Vec<String>,
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) body: Option<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

/// What the hook has to become.
pub(crate) struct Wanted<'a> {
    pub(crate) url: &'a str,
    pub(crate) secret: &'a SecretString,
    pub(crate) verify_tls: bool,
}

/// A hook as its host tells of it. `None` is what the host does not tell.
#[derive(Debug, Default)]
pub(crate) struct Hook {
    pub(crate) id: u64,
    pub(crate) url: String,
    pub(crate) active: bool,
    /// Events that a receiver needs and this hook does not send.
    pub(crate) missing_events: Vec<&'static str>,
    /// Events that a receiver answers with 200 and forgets.
    pub(crate) idle_events: Vec<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) verifies_tls: Option<bool>,
    /// Only refs that fit are told of.
    pub(crate) branch_filter: Option<String>,
    pub(crate) secret: Secrecy,
    /// The payload is not the host's own: another kind of hook, or a template.
    pub(crate) altered: Option<String>,
    /// Why the host has stopped delivering.
    pub(crate) disabled: Option<String>,
}

/// What a host tells about a hook's secret, which it never shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Secrecy {
    #[default]
    Untold,
    Missing,
    /// A key that signs, or a token that is sent along.
    Set,
    /// GitLab: a key that signs.
    Signing,
}

/// One delivery that a host has made.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) id: u64,
    pub(crate) at: Option<Timestamp>,
    pub(crate) event: String,
    /// None: there was no answer.
    pub(crate) status: Option<u16>,
    /// What the host says of it.
    pub(crate) said: String,
}

/// One host's API.
pub(crate) trait Api: Sync {
    /// Where the API of the public service is, if there is one.
    fn public(&self) -> Option<&'static str>;

    /// What an address of a private instance ends with.
    fn base_path(&self) -> [&'static str; 2];

    /// Who asks, and in which version.
    fn headers(&self, token: &str) -> Vec<(&'static str, String)>;

    /// The collection of hooks.
    fn hooks(&self, place: &Place) -> Vec<String> {
        let mut path = place.as_path();
        path.push("hooks".to_owned());
        path
    }

    /// How a page's size is asked for, and the most a page may have.
    fn page_size(&self) -> (&'static str, u32);

    /// The body that makes a hook.
    fn create(&self, wanted: &Wanted<'_>) -> Value;

    /// What makes this hook the wanted one. None: the API cannot, and a new hook has to take its place.
    fn update(&self, hook: &Hook, wanted: &Wanted<'_>) -> Option<(Verb, Value)>;

    fn read_hook(&self, body: &Value) -> Result<Hook, serde_json::Error>;

    /// Below a hook: what asks for a test delivery, if anything does.
    fn test(&self, place: &Place) -> Option<&'static [&'static str]>;

    /// Below a hook: the list of deliveries, if there is one.
    fn deliveries(&self) -> Option<&'static str>;

    fn read_delivery(&self, body: &Value) -> Result<Delivery, serde_json::Error>;

    /// Whether a new hook is tested by its host without being asked.
    fn tests_new_hooks(&self) -> bool;

    /// The permission that a token needs.
    fn permission(&self, place: &Place) -> &'static str;
}

/// The API of a provider's host. None: webhooks of this provider are set up by hand.
pub(crate) fn of(provider: Provider) -> Option<&'static dyn Api> {
    match provider {
        Provider::Github => Some(&github::Github),
        Provider::Gitlab => Some(&gitlab::Gitlab),
        Provider::Gitea => Some(&gitea::Gitea { kind: "gitea" }),
        Provider::Forgejo => Some(&gitea::Gitea { kind: "forgejo" }),
        Provider::Bitbucket | Provider::BitbucketServer | Provider::AzureDevops | Provider::Generic => None,
    }
}

/// A page of the list of hooks.
pub(crate) fn list(api: &dyn Api, place: &Place, page: u32) -> Call {
    let (name, size) = api.page_size();
    let query = vec![(name, size.to_string()), ("page", page.to_string())];
    Call { verb: Verb::Get, path: api.hooks(place), query, body: None }
}

pub(crate) fn create(api: &dyn Api, place: &Place, wanted: &Wanted<'_>) -> Call {
    Call { verb: Verb::Post, path: api.hooks(place), query: Vec::new(), body: Some(api.create(wanted)) }
}

pub(crate) fn change(api: &dyn Api, place: &Place, id: u64, verb: Verb, body: Option<Value>) -> Call {
    Call { verb, path: below(api, place, id, &[]), query: Vec::new(), body }
}

pub(crate) fn test(api: &dyn Api, place: &Place, id: u64) -> Option<Call> {
    let path = below(api, place, id, api.test(place)?);
    Some(Call { verb: Verb::Post, path, query: Vec::new(), body: None })
}

/// The newest deliveries.
pub(crate) fn deliveries(api: &dyn Api, place: &Place, id: u64, number: u32) -> Option<Call> {
    let path = below(api, place, id, &[api.deliveries()?]);
    Some(Call { verb: Verb::Get, path, query: vec![("per_page", number.to_string())], body: None })
}

fn below(api: &dyn Api, place: &Place, id: u64, more: &[&str]) -> Vec<String> {
    let mut path = api.hooks(place);
    path.push(id.to_string());
    path.extend(more.iter().map(|&segment| segment.to_owned()));
    path
}

/// Whether there is another page. Hosts say it with a link or with how many there are in all; the link itself is not
/// followed, because a token goes only where the person who has it said.
pub(crate) fn has_next(link: Option<&str>, total: Option<&str>, seen: usize) -> bool {
    let linked = link.is_some_and(|link| link.split(',').any(|one| one.contains("rel=\"next\"")));
    linked || total.and_then(|total| total.trim().parse::<usize>().ok()).is_some_and(|total| total > seen)
}

impl Call {
    /// What its body holds that nobody may see.
    pub(crate) fn secrets(&self) -> Vec<&str> {
        let Some(body) = &self.body else { return Vec::new() };
        let places = ["/config/secret", "/token", "/signing_token"];
        places.iter().filter_map(|place| body.pointer(place)?.as_str()).collect()
    }
}

impl Place {
    pub(crate) fn repository(name: &str) -> Result<Self, PlaceError> {
        let fits = name.split('/').count() >= 2 && name.split('/').all(is_segment);
        if fits { Ok(Self::Repository(name.to_owned())) } else { Err(PlaceError::Repository(name.to_owned())) }
    }

    /// GitLab's groups may have slashes.
    pub(crate) fn organisation(name: &str) -> Result<Self, PlaceError> {
        let fits = name.split('/').all(is_segment);
        if fits { Ok(Self::Organisation(name.to_owned())) } else { Err(PlaceError::Organisation(name.to_owned())) }
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Repository(name) | Self::Organisation(name) => name,
        }
    }

    /// `repos/org/app` or `orgs/org`, as GitHub and those after it have it.
    fn as_path(&self) -> Vec<String> {
        let first = match self {
            Self::Repository(_) => "repos",
            Self::Organisation(_) => "orgs",
        };
        std::iter::once(first).chain(self.name().split('/')).map(str::to_owned).collect()
    }
}

/// Dots would walk up the path.
fn is_segment(text: &str) -> bool {
    !text.is_empty() && text != "." && text != ".." && !text.contains(|c: char| c.is_control() || c.is_whitespace())
}

impl Wanted<'_> {
    fn secret(&self) -> &str {
        self.secret.expose_secret()
    }
}

impl Delivery {
    pub(crate) fn is_accepted(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_within_their_path() {
        assert!(Place::repository("org/app").is_ok() && Place::organisation("a/b").is_ok());
        for bad in ["app", "", "/", "org/", "../app", "org/..", "org/a b", "org/a\n"] {
            assert!(Place::repository(bad).is_err(), "{bad:?}");
        }
        assert!(Place::organisation("..").is_err() && Place::organisation("").is_err());
    }

    #[test]
    fn another_page_is_seen_in_a_link_or_in_the_total() {
        let link = "<https://evil.example/?page=2>; rel=\"next\", <https://x/?page=9>; rel=\"last\"";
        assert!(has_next(Some(link), None, 30));
        assert!(!has_next(Some("<https://x/?page=1>; rel=\"prev\""), None, 30));
        assert!(has_next(None, Some("51"), 50) && !has_next(None, Some("50"), 50) && !has_next(None, None, 50));
    }

    #[test]
    fn a_call_knows_what_it_must_not_show() {
        let (place, secret) = (Place::repository("org/app").unwrap(), "hunter2".into());
        let wanted = Wanted { url: "u", secret: &secret, verify_tls: true };
        for provider in Provider::ALL.into_iter().filter_map(of) {
            assert_eq!(create(provider, &place, &wanted).secrets(), ["hunter2"]);
        }
    }

    #[test]
    fn every_call_stays_below_the_hooks_of_its_place() {
        let place = Place::repository("org/app").unwrap();
        let api = of(Provider::Github).unwrap();
        assert_eq!(list(api, &place, 2).path, ["repos", "org", "app", "hooks"]);
        assert_eq!(test(api, &place, 7).unwrap().path, ["repos", "org", "app", "hooks", "7", "pings"]);
        let call = deliveries(of(Provider::Gitlab).unwrap(), &place, 7, 5).unwrap();
        assert_eq!(call.path, ["projects", "org/app", "hooks", "7", "events"]);
    }
}
