//! `towline webhook check`: the hook with this address, held against what a receiver expects, and what came of its last
//! deliveries. Changes nothing; with a secret it posts one signed ping, of which nothing follows.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Parser;
use jiff::Timestamp;
use serde::Serialize;
use towline_receiver::sign::{self, SignedDelivery};
use towline_receiver::{Secret, SecretError};

use super::api::Hook;
use super::deliveries::{self, Row};
use super::expected::{self, Finding};
use super::host::{self, Host};
use super::meaning::meaning;
use super::{in_clear, same, shown};
use crate::exit::{Exit, Fails, Failure};
use crate::http::{Client, Method, Request};
use crate::output::{self, Form};
use crate::ui::Ui;

/// A receiver answers with a line.
const ANSWER_BYTES_MAX: usize = 8 << 10;

#[derive(Parser)]
pub(crate) struct Args {
    #[command(flatten)]
    host: host::Flags,
    /// Find out too whether the receiver takes this file's secret, by a signed ping
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// The Git host is meant to deliver without verifying the receiver's certificate
    #[arg(long)]
    no_verify_tls: bool,
    /// The form of the report
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

/// Why a ping was not signed.
#[derive(Debug, thiserror::Error)]
#[error("use the secret of {}", path.display())]
pub(crate) struct CheckError {
    path: PathBuf,
    source: SecretError,
}

impl Fails for CheckError {
    fn exit(&self) -> Exit {
        Exit::Failed
    }
}

/// What programs read.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    as_expected: bool,
    url: String,
    place: String,
    provider: &'static str,
    /// One, if all is well.
    ids: Vec<u64>,
    findings: Vec<Finding>,
    /// What could not be found out.
    unknown: Vec<&'static str>,
    /// Newest first; absent where the host's API does not show them.
    #[serde(skip_serializing_if = "Option::is_none")]
    deliveries: Option<Vec<Row>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ping: Option<Ping>,
}

/// What the receiver said to a ping that was signed here.
#[derive(Serialize)]
struct Ping {
    status: u16,
    accepted: bool,
    meaning: &'static str,
}

pub(crate) async fn run(args: &Args, ui: &mut Ui) -> Result<Exit, Failure> {
    let host = args.host.host()?;
    let signed = args.secret_file.as_deref().map(|path| sign_ping(args, path)).transpose()?;
    let (mut found, others) = same::with_url(host.hooks().await?, &args.host.url);
    let mut report = empty(args, &host, same::ids(&found));
    match (found.pop(), found.is_empty()) {
        (None, _) => report.findings.push(missing(&same::near(&others, &args.host.url))),
        (Some(_), false) => report.findings.push(several(&report.ids)),
        (Some(hook), true) => look(args, &host, &hook, &mut report).await?,
    }
    if let (Some(signed), Some(path)) = (signed, &args.secret_file) {
        ping(args, signed, path, &mut report).await?;
    }
    report.as_expected = report.findings.iter().all(|finding| !finding.deviation);
    ui.result(&output::outcome(args.output, &text(&report), &report)?);
    Ok(if report.as_expected { Exit::Ok } else { Exit::No })
}

fn empty(args: &Args, host: &Host, ids: Vec<u64>) -> Report {
    Report {
        as_expected: false,
        url: args.host.url.to_string(),
        place: host.place.name().to_owned(),
        provider: args.host.provider.name(),
        ids,
        findings: Vec::new(),
        unknown: Vec::new(),
        deliveries: None,
        ping: None,
    }
}

/// One hook: its settings, then its deliveries.
async fn look(args: &Args, host: &Host, hook: &Hook, report: &mut Report) -> Result<(), Failure> {
    report.findings.extend(expected::compare(hook, !args.no_verify_tls));
    report.unknown.extend(expected::unknown(hook));
    match host.deliveries(hook.id).await? {
        Some(deliveries) => {
            let rows: Vec<Row> = deliveries.iter().map(deliveries::row).collect();
            report.findings.extend(rows.first().filter(|newest| !newest.accepted).map(last_failed));
            report.deliveries = Some(rows);
        }
        None => report.unknown.push("deliveries: this host's API does not show them, its pages do"),
    }
    Ok(())
}

fn sign_ping(args: &Args, path: &Path) -> Result<SignedDelivery, Failure> {
    let provider = args.host.provider;
    let secret = Secret::read(provider, path).map_err(|source| CheckError { path: path.to_owned(), source })?;
    let now = Timestamp::now();
    let id = format!("towline-check-{}", now.as_nanosecond());
    let signed = sign::sign(provider, &secret, "ping", Bytes::from_static(b"{}"), &id, now);
    in_clear::check(&signed, &args.host.url, args.host.allow_http)?;
    Ok(signed)
}

async fn ping(args: &Args, signed: SignedDelivery, path: &Path, report: &mut Report) -> Result<(), Failure> {
    let url = args.host.url.clone();
    let request = Request { method: Method::POST, url, headers: signed.headers, body: Some(signed.body.to_vec()) };
    let answer = Client::new(&args.host.url, args.host.ca.as_deref())?.send(request, ANSWER_BYTES_MAX).await?;
    let (accepted, meaning) = (answer.is_success(), meaning(answer.status));
    if !accepted {
        report.findings.push(Finding {
            setting: "receiver",
            configured: format!("answers {} to the secret in {}", answer.status, path.display()),
            expected: "200".to_owned(),
            advice: meaning,
            deviation: true,
        });
    }
    report.ping = Some(Ping { status: answer.status, accepted, meaning });
    Ok(())
}

fn missing(near: &[String]) -> Finding {
    let others = if near.is_empty() { String::new() } else { format!("; but {}", near.join(", ")) };
    Finding {
        setting: "webhook",
        configured: format!("none with this address{others}"),
        expected: "one".to_owned(),
        advice: "`towline webhook create` makes it",
        deviation: true,
    }
}

fn several(ids: &[u64]) -> Finding {
    Finding {
        setting: "webhook",
        configured: format!("{} with this address (ids {})", ids.len(), same::joined(ids)),
        expected: "one".to_owned(),
        advice: "every push is delivered as often; delete all but one with `towline webhook delete --id`",
        deviation: true,
    }
}

fn last_failed(newest: &Row) -> Finding {
    Finding {
        setting: "last delivery",
        configured: newest.meaning.clone(),
        expected: "an answer of 200 or 202".to_owned(),
        advice: "once the cause is gone, a test delivery or a push shows it",
        deviation: true,
    }
}

fn text(report: &Report) -> String {
    let ids =
        if report.ids.is_empty() { "no webhook".to_owned() } else { format!("webhook {}", same::joined(&report.ids)) };
    let mut text = format!("{ids} of {} to {}\n", report.place, report.url);
    for Finding { setting, configured, expected, advice, deviation } in &report.findings {
        let (kind, configured) = (if *deviation { "wrong" } else { "note" }, shown::line(configured));
        text.push_str(&format!("{kind}: {setting}: {configured}; expected: {expected}\n  {advice}\n"));
    }
    for unknown in &report.unknown {
        text.push_str(&format!("unknown: {unknown}\n"));
    }
    if let Some(ping) = report.ping.as_ref().filter(|ping| ping.accepted) {
        text.push_str(&format!("receiver: takes the secret ({})\n", ping.status));
    }
    if report.as_expected {
        text.push_str("as expected\n");
    }
    match report.deliveries.as_deref() {
        None => {}
        Some([]) => text.push_str("\nno deliveries yet\n"),
        Some(rows) => text.push_str(&format!("\n{}", deliveries::table(rows))),
    }
    text
}
