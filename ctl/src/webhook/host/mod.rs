//! The driver: sends what `api` describes to the host that was named, with the token, and reads what comes back. Bounded in
//! pages and bytes. Must not know how any host calls things.

mod address;
mod refusal;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Parser};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use towline_receiver::Provider;

use self::address::AddressError;
use self::refusal::Refusal;
use super::api::{self, Api, Call, Delivery, Hook, Place, PlaceError, Verb, Wanted};
use super::secret_file;
use crate::exit::{Exit, Fails, Failure};
use crate::http::{self, Answer, Client, HttpError, Method, Request, Url};

/// A hundred hooks a page. GitHub allows 20 for an event, GitLab 100 in a project: who has more has another problem.
const PAGES_MAX: u32 = 10;

/// GitLab repeats the payload of each delivery in its list; ten of them, with some hundred commits each.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// As many deliveries as fit a screen.
const DELIVERIES: u32 = 10;

/// A host gives the receiver 10 s, and then writes down what came of it.
const TEST_PERIODS_MAX: u32 = 20;
const TEST_PERIOD: Duration = Duration::from_secs(1);

/// Which hook, where, and who asks.
#[derive(Parser)]
#[command(group(ArgGroup::new("whose").required(true).args(["repo", "org"])))]
pub(crate) struct Flags {
    /// The Git host's kind: github, gitlab, gitea, forgejo
    #[arg(long)]
    pub(crate) provider: Provider,
    /// The repository's full name within its host, as in org/app
    #[arg(long, value_name = "NAME")]
    repo: Option<String>,
    /// The organisation (GitLab: group) whose repositories all have the hook
    #[arg(long, value_name = "NAME")]
    org: Option<String>,
    /// The hook's address, as in `https://hooks.example/hooks/github`
    #[arg(long)]
    pub(crate) url: Url,
    /// The file with a token for the host's API
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// The host's address, where it is not the public service: `https://git.example`
    #[arg(long, value_name = "URL")]
    api: Option<Url>,
    /// Send the token, and a secret that is sent along with deliveries, over http:// to another machine
    #[arg(long)]
    pub(crate) allow_http: bool,
    /// Trust the certificates in this file too
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

/// A host that can be asked.
pub(crate) struct Host {
    pub(crate) api: &'static dyn Api,
    pub(crate) place: Place,
    base: Url,
    token: SecretString,
    client: Client,
}

/// What became of a test delivery.
pub(crate) enum Tested {
    /// The host has no such call here.
    NotOffered,
    /// It was asked for, and the host's API does not show what came of it.
    Unseen,
    /// It was asked for, and is not in the list of deliveries yet.
    NotYet,
    /// The host would not send one.
    Refused(String),
    Delivered(Delivery),
}

/// Why a host was not asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FlagError {
    #[error("set up webhooks of {0}: it is done by hand, as docs/webhooks.md says")]
    NoApi(Provider),
    #[error("use --repo or --org")]
    Place(#[source] PlaceError),
    #[error("use --api")]
    Address(#[source] AddressError),
    #[error("use --url: it has to be http:// or https://, without user, password and fragment")]
    HookUrl,
}

/// Why an answer is not what was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostError {
    #[error("{doing} at {url}")]
    Refused { doing: &'static str, url: String, source: Refusal },
    #[error("{doing} at {url}: the answer is not what this API is documented to say")]
    Unreadable { doing: &'static str, url: String, source: serde_json::Error },
    #[error("{doing} at {url}: the answer has more than {ANSWER_BYTES_MAX} bytes")]
    TooLong { doing: &'static str, url: String },
    #[error("{doing} at {url}: there are more than {PAGES_MAX} pages of hooks")]
    TooMany { doing: &'static str, url: String },
    #[error(transparent)]
    Http(#[from] HttpError),
}

impl Fails for FlagError {
    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

impl Fails for HostError {
    fn exit(&self) -> Exit {
        Exit::Failed
    }
}

impl Flags {
    pub(crate) fn host(&self) -> Result<Host, Failure> {
        let api = api::of(self.provider).ok_or(FlagError::NoApi(self.provider))?;
        let place = match (&self.repo, &self.org) {
            (_, Some(org)) => Place::organisation(org),
            (repo, None) => Place::repository(repo.as_deref().unwrap_or_default()),
        };
        let place = place.map_err(FlagError::Place)?;
        let base = address::base(api, self.api.as_ref(), self.allow_http).map_err(FlagError::Address)?;
        if !address::is_hook(&self.url) {
            return Err(FlagError::HookUrl.into());
        }
        let token = secret_file::token(&self.token_file)?;
        let client = Client::new(&base, self.ca.as_deref())?;
        Ok(Host { api, place, base, token, client })
    }
}

impl Host {
    /// All hooks of the place.
    pub(crate) async fn hooks(&self) -> Result<Vec<Hook>, HostError> {
        let doing = "list the webhooks";
        let mut hooks = Vec::new();
        for page in 1..=PAGES_MAX {
            let call = api::list(self.api, &self.place, page);
            let url = self.shown(&call);
            let answer = self.ask(doing, call).await?;
            let items: Vec<Value> = self.json(doing, &url, &answer)?;
            for item in &items {
                hooks.push(self.hook(doing, &url, item)?);
            }
            let next = api::has_next(answer.header("link"), answer.header("x-total-count"), hooks.len());
            if items.is_empty() || !next {
                return Ok(hooks);
            }
        }
        Err(HostError::TooMany { doing, url: self.base.to_string() })
    }

    pub(crate) async fn create(&self, wanted: &Wanted<'_>) -> Result<Hook, HostError> {
        self.changed("make the webhook", api::create(self.api, &self.place, wanted)).await
    }

    pub(crate) async fn update(&self, id: u64, verb: Verb, body: Value) -> Result<Hook, HostError> {
        self.changed("change the webhook", api::change(self.api, &self.place, id, verb, Some(body))).await
    }

    pub(crate) async fn delete(&self, id: u64) -> Result<(), HostError> {
        let call = api::change(self.api, &self.place, id, Verb::Delete, None);
        self.ask("delete the webhook", call).await.map(drop)
    }

    /// The newest deliveries; `None` where the API does not show any.
    pub(crate) async fn deliveries(&self, id: u64) -> Result<Option<Vec<Delivery>>, HostError> {
        let doing = "list the webhook's deliveries";
        let Some(call) = api::deliveries(self.api, &self.place, id, DELIVERIES) else { return Ok(None) };
        let url = self.shown(&call);
        let answer = self.ask(doing, call).await?;
        let items: Vec<Value> = self.json(doing, &url, &answer)?;
        let read = items.iter().map(|item| self.api.read_delivery(item));
        let mut deliveries: Vec<Delivery> =
            read.collect::<Result<_, _>>().map_err(|source| HostError::Unreadable { doing, url, source })?;
        // Ids grow. Not every delivery has a time, and not every host says how it sorts.
        deliveries.sort_by_key(|delivery| std::cmp::Reverse(delivery.id));
        Ok(Some(deliveries))
    }

    /// Asks for a test delivery, unless the host makes one for a new hook by itself, and waits for its outcome.
    pub(crate) async fn test(&self, id: u64, new: bool) -> Result<Tested, HostError> {
        let Some(call) = api::test(self.api, &self.place, id) else { return Ok(Tested::NotOffered) };
        let by_itself = new && self.api.tests_new_hooks();
        let before = if by_itself { Some(Vec::new()) } else { self.deliveries(id).await? };
        if !by_itself {
            match self.ask("ask for a test delivery", call).await {
                // GitLab says so too when the receiver refused it: then it is among the deliveries.
                Err(HostError::Refused { source, .. }) if source.is_about_the_request() => {
                    let Some(delivery) = self.newer(id, before.as_deref()).await? else {
                        return Ok(Tested::Refused(source.to_string()));
                    };
                    return Ok(Tested::Delivered(delivery));
                }
                other => drop(other?),
            }
        }
        if before.is_none() {
            return Ok(Tested::Unseen);
        }
        for _ in 0..TEST_PERIODS_MAX {
            if let Some(delivery) = self.newer(id, before.as_deref()).await? {
                return Ok(Tested::Delivered(delivery));
            }
            tokio::time::sleep(TEST_PERIOD).await;
        }
        Ok(Tested::NotYet)
    }

    /// The newest delivery, if it was not there before.
    async fn newer(&self, id: u64, before: Option<&[Delivery]>) -> Result<Option<Delivery>, HostError> {
        let known = |delivery: &Delivery| before.unwrap_or_default().iter().any(|old| old.id == delivery.id);
        Ok(self.deliveries(id).await?.into_iter().flatten().find(|delivery| !known(delivery)))
    }

    async fn changed(&self, doing: &'static str, call: Call) -> Result<Hook, HostError> {
        let url = self.shown(&call);
        let answer = self.ask(doing, call).await?;
        let body: Value = self.json(doing, &url, &answer)?;
        self.hook(doing, &url, &body)
    }

    fn hook(&self, doing: &'static str, url: &str, body: &Value) -> Result<Hook, HostError> {
        self.api.read_hook(body).map_err(|source| HostError::Unreadable { doing, url: url.to_owned(), source })
    }

    fn json<T: serde::de::DeserializeOwned>(
        &self,
        doing: &'static str,
        url: &str,
        answer: &Answer,
    ) -> Result<T, HostError> {
        let unreadable = |source| HostError::Unreadable { doing, url: url.to_owned(), source };
        serde_json::from_slice(&answer.body).map_err(unreadable)
    }

    /// One call; anything but a 2xx is an error that says what to do.
    async fn ask(&self, doing: &'static str, call: Call) -> Result<Answer, HostError> {
        let url = self.shown(&call);
        let mut headers = self.api.headers(self.token.expose_secret());
        let body = call.body.as_ref().map(Value::to_string).map(String::into_bytes);
        if body.is_some() {
            headers.push(("content-type", "application/json".to_owned()));
        }
        let request = Request { method: method(call.verb), url: address::of(&self.base, &call), headers, body };
        let answer = self.client.send(request, ANSWER_BYTES_MAX).await?;
        if !answer.is_success() {
            let mut secrets = call.secrets();
            secrets.push(self.token.expose_secret());
            let source = refusal::read(&answer, self.api.permission(&self.place), &secrets);
            return Err(HostError::Refused { doing, url, source });
        }
        if answer.cut { Err(HostError::TooLong { doing, url }) } else { Ok(answer) }
    }

    fn shown(&self, call: &Call) -> String {
        let mut url = address::of(&self.base, call);
        url.set_query(None);
        http::shown(&url)
    }
}

fn method(verb: Verb) -> Method {
    match verb {
        Verb::Get => Method::GET,
        Verb::Post => Method::POST,
        Verb::Put => Method::PUT,
        Verb::Patch => Method::PATCH,
        Verb::Delete => Method::DELETE,
    }
}
