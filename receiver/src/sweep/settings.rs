//! One `[[sweeps]]` table: which webhook's deliveries are looked at, with which token, how often and how far. Reads the
//! token and the authorities once, to see that they can be read; connects to nothing.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use serde::Deserialize;
use towline_daemon::config::Mistakes;

use super::token::Token;
use super::wire::{self, Route};
use crate::config::Hook;
use crate::provider::Provider;

/// What is written.
#[derive(Debug, Deserialize)]
pub(crate) struct RawSweep {
    hook: String,
    repository: Option<String>,
    organisation: Option<String>,
    id: Option<u64>,
    url: Option<String>,
    token: PathBuf,
    api: Option<String>,
    ca: Option<PathBuf>,
    interval_ms: Option<u64>,
    lookback_ms: Option<u64>,
    timeout_ms: Option<u64>,
    attempt_wait_ms: Option<u64>,
    attempts_max: Option<u64>,
    redeliveries_max: Option<u64>,
    pages_max: Option<u64>,
}

/// A sweep that was checked.
#[derive(Clone, Debug)]
pub struct Sweep {
    hook: String,
    scope: Scope,
    webhook: Webhook,
    token: PathBuf,
    api: String,
    ca: Option<PathBuf>,
    bounds: Bounds,
}

/// Whose webhook it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Repository(String),
    Organisation(String),
}

/// Which of the webhooks there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Webhook {
    Id(u64),
    Url(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// From sweep to sweep. An unchanged listing costs a request that GitHub does not count; a minute is soon against
    /// the five after which agents poll by default.
    pub(super) interval: Duration,
    /// The age of the oldest delivery that is sent again. After six hours every source has been polled many times; what
    /// an old event could still speed up is over.
    pub(super) lookback: Duration,
    /// From a request's start to the last byte of its answer: GitHub ends its own work after 10 s.
    pub(super) timeout: Duration,
    /// From a failed first attempt to the next, then longer and longer: long enough for a restart to be over.
    pub(super) attempt_wait: Duration,
    /// Of one delivery, with the first. What fails six times in six hours does not fail for want of another try.
    pub(super) attempts_max: usize,
    /// Asked for in one sweep, a second apart: a third of a minute. More wait for the next sweep.
    pub(super) redeliveries_max: usize,
    /// Of 100 deliveries each, newest first. The token's owner has 5,000 requests an hour; two looks at ten pages each
    /// minute are 1,200.
    pub(super) pages_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            interval: Duration::from_mins(1),
            lookback: Duration::from_hours(6),
            timeout: Duration::from_secs(30),
            attempt_wait: Duration::from_mins(1),
            attempts_max: 6,
            redeliveries_max: 20,
            pages_max: 10,
        }
    }
}

/// GitHub sends nothing again that is older.
const LOOKBACK_MAX: Duration = Duration::from_hours(3 * 24);

/// All sweeps; what is wrong with them is noted.
pub(crate) fn validate(raw: Vec<RawSweep>, hooks: &[Arc<Hook>], mistakes: &mut Mistakes) -> Vec<Sweep> {
    let check = |(index, raw): (usize, RawSweep)| raw.validate(&format!("sweeps[{index}]"), hooks, mistakes);
    raw.into_iter().enumerate().filter_map(check).collect()
}

impl RawSweep {
    /// The sweep, if nothing is wrong with it.
    fn validate(self, key: &str, hooks: &[Arc<Hook>], mistakes: &mut Mistakes) -> Option<Sweep> {
        let bounds = self.bounds(key, mistakes);
        let hook = hooks.iter().find(|hook| hook.path() == self.hook);
        match hook.map(|hook| hook.provider()) {
            None => mistakes.add(format!("{key}.hook"), "is the path of none of the hooks"),
            Some(Provider::Github) => {}
            Some(other) => mistakes.add(format!("{key}.hook"), format!("is a hook for {other}: only github can sweep")),
        }
        let scope = scope(self.repository, self.organisation, key, mistakes);
        if let (Some(Scope::Repository(name)), Some(hook)) = (&scope, hook)
            && !hook.allows(name)
        {
            mistakes.add(format!("{key}.repository"), format!("is not in the allow-list of hook {}", hook.path()));
        }
        let webhook = match (self.id, self.url) {
            (Some(id), None) => Some(Webhook::Id(id)),
            (None, Some(url)) => Some(Webhook::Url(url)),
            (None, None) | (Some(_), Some(_)) => {
                mistakes.add(key, "which webhook is it? Set one of id (its number) and url (where it delivers to)");
                None
            }
        };
        mistakes.check(format!("{key}.token ({})", self.token.display()), Token::read(&self.token));
        if let Some(ca) = &self.ca {
            mistakes.check(format!("{key}.ca"), wire::read_authorities(ca));
        }
        let api = self.api.or_else(|| hook.map(|hook| default_api(hook.host())));
        let api = api.and_then(|text| match check_api(&text) {
            Ok(()) => Some(text.trim_end_matches('/').to_owned()),
            Err(problem) => {
                mistakes.add(format!("{key}.api"), problem);
                None
            }
        });
        Some(Sweep {
            hook: self.hook,
            scope: scope?,
            webhook: webhook?,
            token: self.token,
            api: api?,
            ca: self.ca,
            bounds,
        })
    }

    fn bounds(&self, key: &str, mistakes: &mut Mistakes) -> Bounds {
        let default = Bounds::default();
        let mut above_zero = |name: &str, value: Option<u64>| {
            if value == Some(0) {
                mistakes.add(format!("{key}.{name}"), "must be greater than zero");
            }
            value
        };
        let mut time = |name: &str, value, default| above_zero(name, value).map_or(default, Duration::from_millis);
        let interval = time("interval_ms", self.interval_ms, default.interval);
        let lookback = time("lookback_ms", self.lookback_ms, default.lookback);
        let timeout = time("timeout_ms", self.timeout_ms, default.timeout);
        let attempt_wait = time("attempt_wait_ms", self.attempt_wait_ms, default.attempt_wait);
        let mut number = |name: &str, value, default| {
            above_zero(name, value).map_or(default, |value| usize::try_from(value).unwrap_or(usize::MAX))
        };
        let attempts_max = number("attempts_max", self.attempts_max, default.attempts_max);
        let redeliveries_max = number("redeliveries_max", self.redeliveries_max, default.redeliveries_max);
        let pages_max = number("pages_max", self.pages_max, default.pages_max);
        if lookback > LOOKBACK_MAX {
            mistakes.add(format!("{key}.lookback_ms"), "GitHub sends nothing again that is older than three days");
        }
        Bounds { interval, lookback, timeout, attempt_wait, attempts_max, redeliveries_max, pages_max }
    }
}

fn scope(
    repository: Option<String>,
    organisation: Option<String>,
    key: &str,
    mistakes: &mut Mistakes,
) -> Option<Scope> {
    // These become part of a URL's path.
    let plain = |part: &str| {
        let characters = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        characters && !part.is_empty() && part != "." && part != ".."
    };
    match (repository, organisation) {
        (Some(name), None) => match name.split_once('/') {
            Some((owner, repository)) if plain(owner) && plain(repository) => Some(Scope::Repository(name)),
            _ => {
                mistakes.add(format!("{key}.repository"), "must be a full name such as org/app");
                None
            }
        },
        (None, Some(name)) if plain(&name) => Some(Scope::Organisation(name)),
        (None, Some(_)) => {
            mistakes.add(format!("{key}.organisation"), "must be a name such as org");
            None
        }
        (None, None) | (Some(_), Some(_)) => {
            mistakes.add(key, "whose webhook is it? Set one of repository and organisation");
            None
        }
    }
}

/// Where a GitHub of this host has its API.
fn default_api(host: &str) -> String {
    match host {
        "github.com" => "https://api.github.com".to_owned(),
        tenant if tenant.ends_with(".ghe.com") => format!("https://api.{tenant}"),
        server => format!("https://{server}/api/v3"),
    }
}

/// The token goes there: never in clear text over a network.
fn check_api(text: &str) -> Result<(), &'static str> {
    let uri: Uri = text.parse().map_err(|_| "must be a URL such as https://git.example/api/v3")?;
    let authority = uri.authority().ok_or("must be a URL such as https://git.example/api/v3")?;
    if authority.as_str().contains('@') || uri.query().is_some() {
        return Err("must have neither user nor query: the token is in its own file");
    }
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if is_this_machine(authority.host()) => Ok(()),
        _ => Err("must be https: the token is sent there"),
    }
}

fn is_this_machine(host: &str) -> bool {
    matches!(host, "127.0.0.1" | "[::1]" | "localhost")
}

impl Sweep {
    /// The path of the hook that the deliveries are for.
    pub fn hook(&self) -> &str {
        &self.hook
    }

    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(super) fn webhook(&self) -> &Webhook {
        &self.webhook
    }

    /// The webhook's id, where it is configured.
    pub(super) fn id(&self) -> Option<u64> {
        match self.webhook {
            Webhook::Id(id) => Some(id),
            Webhook::Url(_) => None,
        }
    }

    pub(super) fn token(&self) -> &Path {
        &self.token
    }

    /// The API's URL, without a slash at its end.
    pub fn api(&self) -> &str {
        &self.api
    }

    pub(super) fn route(&self) -> Route {
        let uri = self.api.parse::<Uri>().ok();
        let is_direct = uri.as_ref().and_then(Uri::host).is_some_and(is_this_machine);
        if is_direct { Route::Direct } else { Route::AsTheEnvironmentSays }
    }

    pub(super) fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }

    pub(super) fn bounds(&self) -> &Bounds {
        &self.bounds
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Repository(name) | Self::Organisation(name)) = self;
        f.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("github.com", "https://api.github.com")]
    #[case("acme.ghe.com", "https://api.acme.ghe.com")]
    #[case("git.example", "https://git.example/api/v3")]
    fn apis(#[case] host: &str, #[case] api: &str) {
        assert_eq!(default_api(host), api);
        assert_eq!(check_api(api), Ok(()));
    }

    #[rstest]
    #[case("http://git.example/api/v3")]
    #[case("http://127.0.0.1.git.example")]
    #[case("https://user:password@git.example")]
    #[case("https://git.example?token=x")]
    #[case("ftp://git.example")]
    #[case("/api/v3")]
    #[case("")]
    fn a_token_is_sent_to_no_such_place(#[case] api: &str) {
        assert!(check_api(api).is_err());
    }
}
