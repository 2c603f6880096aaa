//! The Git hosts whose webhooks are understood. Knows their names only: how each signs is in `verify`, what each sends
//! is in `payload`. A hook's route decides its provider; nothing in a request does.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// Who sends to a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    Github,
    Gitlab,
    Gitea,
    Forgejo,
    /// Bitbucket Cloud.
    Bitbucket,
    /// Bitbucket Data Center, once Bitbucket Server.
    BitbucketServer,
    AzureDevops,
    /// Whatever signs by Standard Webhooks and sends our own small JSON.
    Generic,
}

/// A name that no provider has.
#[derive(Debug, thiserror::Error)]
#[error("unknown provider `{0}`, known are: {known}", known = Provider::ALL.map(Provider::name).join(", "))]
pub struct UnknownProvider(String);

impl Provider {
    pub const ALL: [Self; 8] = [
        Self::Github,
        Self::Gitlab,
        Self::Gitea,
        Self::Forgejo,
        Self::Bitbucket,
        Self::BitbucketServer,
        Self::AzureDevops,
        Self::Generic,
    ];

    /// The name in configuration, events, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Gitlab => "gitlab",
            Self::Gitea => "gitea",
            Self::Forgejo => "forgejo",
            Self::Bitbucket => "bitbucket",
            Self::BitbucketServer => "bitbucket-server",
            Self::AzureDevops => "azure-devops",
            Self::Generic => "generic",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Provider {
    type Err = UnknownProvider;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|provider| provider.name() == text).ok_or_else(|| UnknownProvider(text.to_owned()))
    }
}
