//! A conversation with GitHub's API: the requests of `github` sent by `wire`, one after the other, until it has said
//! enough or the bounds are reached. Decides nothing about deliveries.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use jiff::Timestamp;

use super::decide::Attempt;
use super::github::{self, Access, ApiError, Status};
use super::settings::{Sweep, Webhook};
use super::token::{Token, TokenError};
use super::wire::{Wire, WireError};

/// For the length of one sweep: token and authorities are read again for the next one.
pub(super) struct Client<'a> {
    sweep: &'a Sweep,
    access: Access<'a>,
    wire: Wire,
    /// So few requests are left that the rest is for others, until then.
    spent: Option<Duration>,
}

/// What a webhook delivered lately, newest first.
pub(super) struct Listing {
    pub(super) attempts: Vec<Attempt>,
    /// Of the first page: where it is unchanged, so are the others.
    etag: Option<HeaderValue>,
}

/// Why a sweep came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum SweepError {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("failed to make a request to the API")]
    Request(#[from] http::Error),
}

impl<'a> Client<'a> {
    pub(super) fn new(sweep: &'a Sweep) -> Result<Self, SweepError> {
        let authorization = Token::read(sweep.token())?.authorization().ok_or(TokenError::NoToken)?;
        let wire = Wire::new(sweep.route(), sweep.ca(), sweep.bounds().timeout)?;
        Ok(Self { sweep, access: Access { api: sweep.api(), authorization }, wire, spent: None })
    }

    pub(super) async fn find_hook(&mut self) -> Result<u64, SweepError> {
        let url = match self.sweep.webhook() {
            Webhook::Id(id) => return Ok(*id),
            Webhook::Url(url) => url,
        };
        let answer = self.send(self.access.hooks(self.sweep.scope())?).await?.1;
        Ok(github::hook_id(answer.body(), url)?)
    }

    /// The attempts since then; `None` where they are as they were at the last time.
    pub(super) async fn list(
        &mut self,
        hook_id: u64,
        since: Timestamp,
        last: Option<&Listing>,
    ) -> Result<Option<Listing>, SweepError> {
        let Some((mut listing, mut cursor)) = self.page(hook_id, None, last).await? else { return Ok(None) };
        for _ in 1..self.sweep.bounds().pages_max {
            let reached = listing.attempts.last().is_none_or(|oldest| oldest.delivered_at < since);
            let Some(next) = cursor.filter(|_| !reached) else { break };
            let Some((page, after)) = self.page(hook_id, Some(&next), None).await? else { break };
            listing.attempts.extend(page.attempts);
            cursor = after;
        }
        Ok(Some(listing))
    }

    /// Adds what has happened since the listing was made, as far as one page tells it.
    pub(super) async fn refresh(&mut self, hook_id: u64, listing: &mut Listing) -> Result<(), SweepError> {
        if let Some((newest, _)) = self.page(hook_id, None, Some(listing)).await? {
            listing.update(newest, self.sweep.bounds().pages_max.saturating_mul(github::PER_PAGE));
        }
        Ok(())
    }

    /// A page and the cursor of the next; `None` where it is the first page and unchanged.
    async fn page(
        &mut self,
        hook_id: u64,
        cursor: Option<&str>,
        last: Option<&Listing>,
    ) -> Result<Option<(Listing, Option<String>)>, SweepError> {
        let known = last.and_then(|last| last.etag.as_ref());
        let request = self.access.deliveries(self.sweep.scope(), hook_id, cursor, known)?;
        let (status, answer) = self.send(request).await?;
        if status == Status::Unchanged && known.is_some() {
            return Ok(None);
        }
        let (attempts, etag) = (github::attempts(answer.body())?, github::etag(answer.headers()));
        Ok(Some((Listing { attempts, etag }, github::next_cursor(answer.headers()))))
    }

    pub(super) async fn redeliver(&mut self, hook_id: u64, attempt: u64) -> Result<(), SweepError> {
        self.send(self.access.redeliver(self.sweep.scope(), hook_id, attempt)?).await.map(drop)
    }

    async fn send(&mut self, request: Request<Bytes>) -> Result<(Status, Response<Bytes>), SweepError> {
        if let Some(wait) = self.spent {
            return Err(ApiError::Limited { wait }.into());
        }
        let answer = self.wire.send(request).await?;
        let now = Timestamp::now();
        let status = github::judge(answer.status(), answer.headers(), now)?;
        self.spent = github::spent(answer.headers(), now);
        Ok((status, answer))
    }
}

impl Listing {
    /// What is newer takes precedence; where there is no room for all, the oldest go.
    fn update(&mut self, newest: Self, length_max: usize) {
        let ids: BTreeSet<u64> = newest.attempts.iter().map(|attempt| attempt.id).collect();
        let older = std::mem::replace(&mut self.attempts, newest.attempts);
        self.attempts.extend(older.into_iter().filter(|attempt| !ids.contains(&attempt.id)));
        self.attempts.truncate(length_max);
        self.etag = newest.etag;
    }
}

impl SweepError {
    /// A word for metrics; never changes.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Token(_) => "token_file",
            Self::Wire(WireError::Timeout) => "timeout",
            Self::Wire(WireError::TooLarge) => "too_large",
            Self::Wire(_) | Self::Request(_) => "unreachable",
            Self::Api(error) => error.reason(),
        }
    }

    /// How long the API wants to be left alone.
    pub(super) fn wait(&self) -> Option<Duration> {
        match self {
            Self::Api(ApiError::Limited { wait }) => Some(*wait),
            Self::Api(_) | Self::Token(_) | Self::Wire(_) | Self::Request(_) => None,
        }
    }

    /// The webhook is not where it was.
    pub(super) fn is_about_the_hook(&self) -> bool {
        matches!(self, Self::Api(ApiError::NotFound))
    }

    /// Said of one delivery; others may do better.
    pub(super) fn is_about_the_delivery(&self) -> bool {
        matches!(self, Self::Api(ApiError::NotFound | ApiError::Status(400 | 409 | 410 | 422)))
    }
}
