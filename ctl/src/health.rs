//! `towline health`: how an agent would judge objects, told from a file or from what kubectl prints. Asks no cluster.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use clap::Parser;
use serde::Serialize;
use serde_json::Value;
use towline_plan::health::{self, Health, HealthExprs, HealthRules, RuleError, Status};
use towline_plan::manifest::{self, Manifest, Mistake};
use towline_plan::object::{GroupKind, ObjectId, group_version};
use towline_plan::tree::{Limits, Tree};

use crate::exit::{Exit, Fails, Failure};
use crate::folder::{self, FolderError};
use crate::output::{self, ListForm, OutputError};
use crate::table;
use crate::ui::Ui;

/// A line of 200 characters, with the other columns.
const MESSAGE_CHARS_MAX: usize = 120;

#[derive(Parser)]
pub(crate) struct Args {
    /// A file or folder with live objects, or `-` for stdin, as in `kubectl get all -o yaml | towline health -f -`
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    file: Vec<PathBuf>,
    /// A file with a Sync: its healthCheckExprs judge, too
    #[arg(long, value_name = "FILE")]
    sync: Option<PathBuf>,
    /// The form of the list
    #[arg(short, long, value_enum, default_value = "table")]
    output: ListForm,
}

/// Why objects could not be judged. Whatever it is, it is no answer: not even "not healthy".
#[derive(Debug, thiserror::Error)]
pub(crate) enum HealthError {
    #[error("read the objects")]
    Read(#[source] FolderError),
    #[error("read the objects: {} in what is given, listed above", mistakes(*.0))]
    Mistakes(usize),
    #[error("find an object: there is none in what is given")]
    NoObject,
    #[error("use the Sync: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Rules(Vec<RuleError>),
    #[error("find healthCheckExprs: {} holds no object with spec.healthCheckExprs", .0.display())]
    NoRules(PathBuf),
}

fn mistakes(n: usize) -> String {
    if n == 1 { "there is a mistake".to_owned() } else { format!("there are {n} mistakes") }
}

impl Fails for HealthError {
    fn exit(&self) -> Exit {
        Exit::Failed
    }
}

/// One judgement as programs read it. Fields are added, never renamed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Judged<'m> {
    api_version: &'m str,
    kind: &'m str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'m str>,
    name: &'m str,
    status: Status,
    reason: Cow<'static, str>,
    message: Cow<'static, str>,
}

#[derive(Serialize)]
struct List<'m> {
    items: Vec<Judged<'m>>,
}

pub(crate) fn run(args: &Args, ui: &mut Ui) -> Result<Exit, Failure> {
    let rules = args.sync.as_ref().map_or_else(|| Ok(HealthRules::default()), |file| rules(file, ui))?;
    let mut manifests = Vec::new();
    for path in &args.file {
        manifests.extend(read(path, ui)?);
    }
    if manifests.is_empty() {
        return Err(HealthError::NoObject.into());
    }
    let pods: Vec<&Value> = manifests.iter().map(|m| &m.value).filter(|value| is_pod(value)).collect();
    let items: Vec<Judged<'_>> = manifests.iter().map(|manifest| judge(manifest, &rules, &pods)).collect();
    let all_current = items.iter().all(|item| item.status == Status::Current);
    ui.result(&render(args.output, List { items })?);
    Ok(if all_current { Exit::Ok } else { Exit::No })
}

fn read(path: &Path, ui: &mut Ui) -> Result<Vec<Manifest>, HealthError> {
    let tree: Tree = if path.as_os_str() == "-" {
        folder::stdin(Limits::default()).map_err(HealthError::Read)?
    } else {
        folder::read(path, Limits::default()).map_err(HealthError::Read)?
    };
    manifest::read(&tree).map_err(|mistakes: Vec<Mistake>| {
        mistakes.iter().for_each(|mistake| ui.note(&mistake.to_string()));
        HealthError::Mistakes(mistakes.len())
    })
}

/// The rules of the first object that has some.
fn rules(path: &Path, ui: &mut Ui) -> Result<HealthRules, HealthError> {
    let manifests = read(path, ui)?;
    let exprs = manifests.iter().find_map(|m| m.value.pointer("/spec/healthCheckExprs").and_then(Value::as_array));
    let exprs = exprs.ok_or_else(|| HealthError::NoRules(path.to_owned()))?;
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let exprs: Vec<HealthExprs> = exprs
        .iter()
        .map(|value| HealthExprs {
            api_version: text(value, "apiVersion").unwrap_or_default(),
            kind: text(value, "kind").unwrap_or_default(),
            in_progress: text(value, "inProgress"),
            failed: text(value, "failed"),
            current: text(value, "current").unwrap_or_default(),
        })
        .collect();
    HealthRules::compile(&exprs).map_err(HealthError::Rules)
}

fn is_pod(object: &Value) -> bool {
    object["apiVersion"] == "v1" && object["kind"] == "Pod"
}

/// An agent lists the Pods of a workload that does not progress; here, those that are given count.
fn judge<'m>(manifest: &'m Manifest, rules: &HealthRules, pods: &[&Value]) -> Judged<'m> {
    let judged = rules.judge(&manifest.value);
    let Health { status, reason, message } = match health::selector_of(&manifest.value) {
        Some(selector) if !rules.contains(&kind(manifest)) => {
            let own: Vec<Value> = pods.iter().filter(|pod| selector.matches(pod)).map(|&pod| pod.clone()).collect();
            health::judge_pods(&judged, &own)
        }
        Some(_) | None => judged,
    };
    Judged {
        api_version: &manifest.api_version,
        kind: &manifest.kind,
        namespace: manifest.namespace.as_deref(),
        name: &manifest.name,
        status,
        reason,
        message,
    }
}

fn kind(manifest: &Manifest) -> GroupKind {
    GroupKind::new(group_version(&manifest.api_version).0, &manifest.kind)
}

fn render(form: ListForm, list: List<'_>) -> Result<String, OutputError> {
    match form {
        ListForm::Json => output::json(&list),
        ListForm::Yaml => output::yaml(&list),
        ListForm::Table => Ok(table(&list.items, MESSAGE_CHARS_MAX)),
        ListForm::Wide => Ok(table(&list.items, usize::MAX)),
    }
}

fn table(items: &[Judged<'_>], message_chars_max: usize) -> String {
    let row = |item: &Judged<'_>| {
        let id = ObjectId {
            kind: GroupKind::new(group_version(item.api_version).0, item.kind),
            namespace: item.namespace.map(str::to_owned),
            name: item.name.to_owned(),
        };
        let message = table::cut(&item.message, message_chars_max);
        vec![id.to_string(), item.status.to_string(), item.reason.to_string(), message]
    };
    table::render(&["OBJECT", "STATUS", "REASON", "MESSAGE"], &items.iter().map(row).collect::<Vec<_>>())
}
