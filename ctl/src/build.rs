//! `towline build`: the manifests of a local folder, read by the code the agent reads a commit with. Asks no cluster, so
//! it knows no scopes and no namespaces but the written ones.

use std::path::PathBuf;

use clap::Parser;
use serde_json::Value;
use towline_plan::manifest::{self, Manifest, Mistake};
use towline_plan::object::{GroupKind, ObjectId, group_version};
use towline_plan::order;
use towline_plan::tree::Limits;

use crate::exit::{Exit, Failure};
use crate::folder;
use crate::mask;
use crate::output::{self, ManifestForm};
use crate::ui::Ui;

#[derive(Parser)]
pub(crate) struct Args {
    /// A folder, read recursively, or one file
    path: PathBuf,
    /// The form of the manifests
    #[arg(short, long, value_enum, default_value = "yaml")]
    output: ManifestForm,
    /// Print the values of Secrets instead of ***
    #[arg(long)]
    show_secrets: bool,
}

pub(crate) fn run(args: &Args, ui: &mut Ui) -> Result<Exit, Failure> {
    let tree = folder::read(&args.path, Limits::default())?;
    let manifests = match manifest::read(&tree).and_then(in_order) {
        Ok(manifests) => manifests,
        Err(mistakes) => {
            mistakes.iter().for_each(|mistake| ui.note(&mistake.to_string()));
            return Ok(Exit::No);
        }
    };
    let mut values: Vec<Value> = manifests.into_iter().map(|manifest| manifest.value).collect();
    if !args.show_secrets {
        values.iter_mut().for_each(mask::secret);
    }
    let text = match args.output {
        ManifestForm::Yaml => output::yaml_documents(&values)?,
        ManifestForm::Json => output::json(&output::list(values))?,
    };
    ui.result(&text);
    Ok(Exit::Ok)
}

/// The order in which an agent applies them. What stands twice is a mistake, as it is for an agent.
fn in_order(manifests: Vec<Manifest>) -> Result<Vec<Manifest>, Vec<Mistake>> {
    let mut named: Vec<(ObjectId, Manifest)> =
        manifests.into_iter().map(|manifest| (id(&manifest), manifest)).collect();
    named.sort_by(|(a, left), (b, right)| {
        order::key(a).cmp(&order::key(b)).then_with(|| left.origin.cmp(&right.origin))
    });
    let twice = |pair: &[(ObjectId, Manifest)]| match pair {
        [(id, first), (same, second)] if id == same => Some(Mistake {
            origin: second.origin.clone(),
            problem: format!("{id} stands twice: first at {}", first.origin),
            may_pass: false,
        }),
        _ => None,
    };
    let mut mistakes: Vec<Mistake> = named.windows(2).filter_map(twice).collect();
    if mistakes.is_empty() {
        return Ok(named.into_iter().map(|(_, manifest)| manifest).collect());
    }
    mistakes.sort();
    Err(mistakes)
}

fn id(manifest: &Manifest) -> ObjectId {
    let (group, _) = group_version(&manifest.api_version);
    ObjectId {
        kind: GroupKind::new(group, &manifest.kind),
        namespace: manifest.namespace.clone(),
        name: manifest.name.clone(),
    }
}
