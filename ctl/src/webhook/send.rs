//! `towline webhook send`: a signed test delivery, as the provider would send it, and what the receiver said to it.
//! Signing is the receiver's own code turned round; must not know how any provider signs.

use std::path::PathBuf;

use clap::Parser;
use jiff::Timestamp;
use serde::Serialize;
use towline_proto::{CommitId, NameError, RefName};
use towline_receiver::sign::{self, Push};
use towline_receiver::{Provider, Secret, SecretError};

use crate::exit::{Exit, Fails, Failure};
use crate::http::{self, Answer, Client, Method, Request, Url};
use crate::output::{self, Form};
use crate::ui::Ui;
use crate::webhook::meaning::meaning;
use crate::webhook::{in_clear, shown};

#[derive(Parser)]
pub(crate) struct Args {
    /// Who to send as: github, gitlab (a secret that begins with whsec_ signs, any other is sent as the token), gitea,
    /// forgejo, bitbucket, bitbucket-server, azure-devops (the secret is user:password), generic (it begins with whsec_)
    #[arg(long)]
    provider: Provider,
    /// The file with the hook's secret
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,
    /// The hook's address, as in `https://hooks.example/hooks/github`
    #[arg(long)]
    url: Url,
    /// The repository's full name within its host, as in org/app
    #[arg(long, value_name = "NAME")]
    repo: String,
    /// The full name of the ref that was pushed
    #[arg(long = "ref", value_name = "REF", default_value = "refs/heads/main")]
    reference: RefName,
    /// The commit the ref points at now; all zeros: the ref was deleted
    #[arg(long, value_name = "SHA", value_parser = commit)]
    after: Commit,
    /// The commit the ref pointed at before; without it the ref is new
    #[arg(long, value_name = "SHA", value_parser = commit)]
    before: Option<Commit>,
    /// The delivery's id; the same one again is a redelivery. Default: one from the time
    #[arg(long, value_name = "ID")]
    delivery: Option<String>,
    /// Send a secret that is itself part of the delivery (azure-devops, gitlab's token) over http:// to another machine
    #[arg(long)]
    allow_http: bool,
    /// Trust the certificates in this file too
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The form of the report
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

/// A receiver answers with a line. More is a proxy's error page, of which the beginning will do.
const ANSWER_BYTES_MAX: usize = 8 << 10;

/// A commit, or none where all digits are zero. A type of its own, because clap reads an Option in its own way.
#[derive(Clone)]
struct Commit(Option<CommitId>);

fn commit(text: &str) -> Result<Commit, NameError> {
    CommitId::parse_optional(text).map(Commit)
}

/// Why nothing was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebhookError {
    #[error("use the secret of {}", path.display())]
    Secret { path: PathBuf, source: SecretError },
}

impl Fails for WebhookError {
    fn exit(&self) -> Exit {
        Exit::Failed
    }
}

/// What programs read.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    url: String,
    provider: &'static str,
    headers: Vec<Header>,
    body: String,
    status: u16,
    answer: String,
    /// What the receiver's log line of this delivery has as `request`.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<String>,
    /// Whether the receiver answered with 2xx.
    accepted: bool,
    meaning: &'static str,
}

#[derive(Serialize)]
struct Header {
    name: &'static str,
    value: String,
}

pub(crate) async fn run(args: &Args, ui: &mut Ui) -> Result<Exit, Failure> {
    let secret = Secret::read(args.provider, &args.secret_file)
        .map_err(|source| WebhookError::Secret { path: args.secret_file.clone(), source })?;
    let now = Timestamp::now();
    let before = args.before.as_ref().and_then(|commit| commit.0.as_ref());
    let push = Push {
        repository: &args.repo,
        reference: args.reference.as_str(),
        before: before.map(CommitId::as_str),
        after: args.after.0.as_ref().map(CommitId::as_str),
    };
    let id = args.delivery.clone().unwrap_or_else(|| format!("towline-test-{}", now.as_nanosecond()));
    let delivery = sign::delivery(args.provider, &secret, &push, &id, now);
    in_clear::check(&delivery, &args.url, args.allow_http)?;
    let request = Request {
        method: Method::POST,
        url: args.url.clone(),
        headers: delivery.headers.clone(),
        body: Some(delivery.body.to_vec()),
    };
    let answer = Client::new(&args.url, args.ca.as_deref())?.send(request, ANSWER_BYTES_MAX).await?;
    let report = report(args, &delivery, answer);
    ui.result(&output::outcome(args.output, &text(&report), &report)?);
    Ok(if report.accepted { Exit::Ok } else { Exit::No })
}

fn report(args: &Args, delivery: &sign::SignedDelivery, answer: Answer) -> Report {
    let shown = |name: &str, value: &str| if sign::is_secret(name) { "***".to_owned() } else { value.to_owned() };
    let headers = &delivery.headers;
    Report {
        url: http::shown(&args.url),
        provider: args.provider.name(),
        headers: headers.iter().map(|(name, value)| Header { name, value: shown(name, value) }).collect(),
        body: String::from_utf8_lossy(&delivery.body).into_owned(),
        status: answer.status,
        accepted: answer.is_success(),
        answer: answer.text(),
        request_id: answer.header("x-request-id").map(str::to_owned),
        retry_after: answer.header("retry-after").map(str::to_owned),
        meaning: meaning(answer.status),
    }
}

fn text(report: &Report) -> String {
    let mut text = format!("POST {}\n", report.url);
    for Header { name, value } in &report.headers {
        text.push_str(&format!("  {name}: {value}\n"));
    }
    text.push_str(&format!("\n  {}\n\n", report.body));
    text.push_str(&format!("{}: {}\n", report.status, report.meaning));
    for (what, said) in [("answer", Some(&report.answer)), ("retry after", report.retry_after.as_ref())] {
        if let Some(said) = said.filter(|said| !said.is_empty()) {
            text.push_str(&format!("  {what}: {}\n", shown::line(said)));
        }
    }
    match &report.request_id {
        Some(id) => text.push_str(&format!("  request: {} (search the receiver's log for it)\n", shown::line(id))),
        None => text.push_str(
            "  request: no x-request-id, which a receiver's answers have: something else may have answered\n",
        ),
    }
    text
}
