//! `towline webhook create`: the hook with this address becomes as the receiver expects it, whatever it was. Running it again
//! changes nothing that is right.

use std::path::PathBuf;

use clap::Parser;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use towline_receiver::Provider;

use super::api::{Hook, SIGNING_PREFIX, Secrecy, Wanted};
use super::deliveries::{self, TestRow};
use super::expected::{self, Finding};
use super::host::{self, Host, HostError};
use super::same;
use super::secret_file::{self, Form as SecretForm, SecretFile};
use crate::exit::{Exit, Fails, Failure};
use crate::output::{self, Form};
use crate::ui::Ui;

#[derive(Parser)]
pub(crate) struct Args {
    #[command(flatten)]
    host: host::Flags,
    /// The file with the hook's secret; where there is none, it is made, with a new secret
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,
    /// Let the Git host deliver without verifying the receiver's certificate
    #[arg(long)]
    no_verify_tls: bool,
    /// Write all of a hook that is there again, also where it looks right; where the host's API does not change secrets
    /// (Gitea, Forgejo), put a new hook in its place
    #[arg(long)]
    replace: bool,
    /// Ask for no test delivery
    #[arg(long)]
    no_test: bool,
    /// The form of the report
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

/// Why the hook is not as it should be, although the host answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateError {
    #[error(
        "choose a hook: {number} have this address (ids {ids}), and nothing was changed; delete all but one with `towline \
         webhook delete --id`"
    )]
    Several { number: usize, ids: String },
    #[error(
        "give webhook {id} its secret: this GitLab does not take signing tokens (19.0 and later do) and left the hook without \
         one; put other text than whsec_… into {}, give it to the receiver, and run this again", path.display()
    )]
    NoSigning { id: u64, path: PathBuf },
    #[error("take the old webhook {old} away; the new one is {new}, and until the old one is deleted both deliver")]
    OldStays { old: u64, new: u64, source: HostError },
    #[error(
        "set the webhook up, and then to remove the new secret in {}, which no webhook has ({trouble}): remove it before \
         you run this again", path.display()
    )]
    SecretStays { path: PathBuf, trouble: std::io::Error, source: HostError },
}

impl Fails for CreateError {
    fn exit(&self) -> Exit {
        match self {
            Self::Several { .. } | Self::NoSigning { .. } => Exit::No,
            Self::OldStays { .. } | Self::SecretStays { .. } => Exit::Failed,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Created,
    Updated,
    Unchanged,
}

/// What programs read.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    outcome: Outcome,
    id: u64,
    url: String,
    place: String,
    provider: &'static str,
    secret_file: String,
    /// Whether this run made the secret: then the receiver does not have it yet.
    secret_made: bool,
    /// What was not as expected before.
    corrected: Vec<Finding>,
    notes: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    test: Option<TestRow>,
}

/// What was done.
struct Done {
    outcome: Outcome,
    hook: Hook,
    corrected: Vec<Finding>,
    note: Option<&'static str>,
    secret: SecretFile,
}

pub(crate) async fn run(args: &Args, ui: &mut Ui) -> Result<Exit, Failure> {
    let host = args.host.host()?;
    let (mut same, _) = same::with_url(host.hooks().await?, &args.host.url);
    if same.len() > 1 {
        return Err(CreateError::Several { number: same.len(), ids: same::joined(&same::ids(&same)) }.into());
    }
    let secret = secret_file::read_or_make(args.host.provider, &args.secret_file, form(args))?;
    let done = match same.pop() {
        None => make(args, &host, secret).await?,
        Some(old) => correct(args, &host, old, secret).await?,
    };
    let test = if args.no_test {
        None
    } else {
        let new = done.outcome == Outcome::Created;
        let tested = host.test(done.hook.id, new).await;
        // The hook is there, whatever becomes of its test.
        Some(tested.map_or_else(|error| deliveries::test_failed(&Failure::from(error)), |it| deliveries::test_row(&it)))
    };
    let report = report(args, &host, done, test);
    ui.result(&output::outcome(args.output, &text(&report), &report)?);
    Ok(Exit::Ok)
}

/// The form of a new secret: the one that signs, where there are two.
fn form(args: &Args) -> SecretForm {
    if args.host.provider == Provider::Gitlab { SecretForm::SigningToken } else { SecretForm::Text }
}

async fn make(args: &Args, host: &Host, secret: SecretFile) -> Result<Done, Failure> {
    let hook = carried(&secret, host.create(&wanted(args, &secret)).await)?;
    let (hook, secret) = settle(args, host, hook, secret).await?;
    Ok(Done { outcome: Outcome::Created, hook, corrected: Vec::new(), note: None, secret })
}

async fn correct(args: &Args, host: &Host, old: Hook, secret: SecretFile) -> Result<Done, Failure> {
    let mut corrected = expected::compare(&old, !args.no_verify_tls);
    corrected.retain(|finding| finding.deviation);
    let right = corrected.is_empty() && !secret.made_now && !args.replace;
    // Where a hook can be changed it is: a second one with its address is refused by GitHub.
    let (outcome, hook, note) = match host.api.update(&old, &wanted(args, &secret)) {
        // The secret cannot be compared, so it is always written.
        Some((verb, body)) => {
            let hook = carried(&secret, host.update(old.id, verb, body).await)?;
            let note = "the secret was written again, because hosts do not show it";
            if right { (Outcome::Unchanged, hook, Some(note)) } else { (Outcome::Updated, hook, None) }
        }
        None if right && old.secret == Secrecy::Untold => {
            let note = "whether the hook has the secret in this file is not known: the host's API neither shows nor changes \
                        secrets; if it may have another, use --replace";
            return Ok(Done { outcome: Outcome::Unchanged, hook: old, corrected, note: Some(note), secret });
        }
        None => {
            let hook = carried(&secret, host.create(&wanted(args, &secret)).await)?;
            let (old, new) = (old.id, hook.id);
            host.delete(old).await.map_err(|source| CreateError::OldStays { old, new, source })?;
            (
                Outcome::Updated,
                hook,
                Some("a new hook has taken the old one's place: the host's API does not change secrets"),
            )
        }
    };
    let (hook, secret) = settle(args, host, hook, secret).await?;
    Ok(Done { outcome, hook, corrected, note, secret })
}

/// A signing token that an older GitLab ignored is no secret: one that was made just now becomes text instead.
async fn settle(args: &Args, host: &Host, hook: Hook, secret: SecretFile) -> Result<(Hook, SecretFile), Failure> {
    if !is_signing(args, &secret) || hook.secret == Secrecy::Signing {
        return Ok((hook, secret));
    }
    if !secret.made_now {
        return Err(CreateError::NoSigning { id: hook.id, path: secret.path }.into());
    }
    let secret = secret_file::make_again(secret, SecretForm::Text)?;
    match host.api.update(&hook, &wanted(args, &secret)) {
        Some((verb, body)) => Ok((carried(&secret, host.update(hook.id, verb, body).await)?, secret)),
        None => Err(CreateError::NoSigning { id: hook.id, path: secret.path }.into()),
    }
}

/// A new secret that did not get to the host, as far as is known, does not stay: the next run would take it for the one that
/// the hook has, and could not see that it is not. Without it, the next run makes another and writes that.
fn carried(secret: &SecretFile, result: Result<Hook, HostError>) -> Result<Hook, Failure> {
    let source = match result {
        Err(error) if secret.made_now => error,
        other => return other.map_err(Failure::from),
    };
    match std::fs::remove_file(&secret.path) {
        Ok(()) => Err(source.into()),
        Err(trouble) => Err(CreateError::SecretStays { path: secret.path.clone(), trouble, source }.into()),
    }
}

fn is_signing(args: &Args, secret: &SecretFile) -> bool {
    args.host.provider == Provider::Gitlab && secret.text.expose_secret().starts_with(SIGNING_PREFIX)
}

fn wanted<'a>(args: &'a Args, secret: &'a SecretFile) -> Wanted<'a> {
    Wanted { url: args.host.url.as_str(), secret: &secret.text, verify_tls: !args.no_verify_tls }
}

fn report(args: &Args, host: &Host, done: Done, test: Option<TestRow>) -> Report {
    let not_here = "whether the receiver's certificate is verified is a setting of the whole host, not of the hook";
    let not_here = (args.no_verify_tls && done.hook.verifies_tls.is_none()).then_some(not_here);
    Report {
        outcome: done.outcome,
        id: done.hook.id,
        url: args.host.url.to_string(),
        place: host.place.name().to_owned(),
        provider: args.host.provider.name(),
        secret_file: done.secret.path.display().to_string(),
        secret_made: done.secret.made_now,
        corrected: done.corrected,
        notes: done.note.into_iter().chain(not_here).collect(),
        test,
    }
}

fn text(report: &Report) -> String {
    let outcome = match report.outcome {
        Outcome::Created => "created",
        Outcome::Updated => "updated",
        Outcome::Unchanged => "unchanged",
    };
    let mut text = format!("{outcome}: webhook {} of {} to {}\n", report.id, report.place, report.url);
    for Finding { setting, configured, expected, .. } in &report.corrected {
        text.push_str(&format!("  {setting}: {}, now {expected}\n", super::shown::line(configured)));
    }
    for note in &report.notes {
        text.push_str(&format!("note: {note}\n"));
    }
    if report.secret_made {
        let file = &report.secret_file;
        text.push_str(&format!("secret: new, in {file}: give it to the receiver, as one of this hook's `secrets` in receiver.toml; until it has \
             it, it answers 401\n"));
    }
    if let Some(test) = &report.test {
        text.push_str(&test.text());
    }
    text
}
