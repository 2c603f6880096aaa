//! One scenario: its files become the values a decision is made from, the plan becomes text.
//!
//! Knows the files' formats only. Must not judge: `plan` is called the way the agent's pass calls it.

mod text;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use towline_plan::check::{Ceiling, check};
use towline_plan::claims::Claims;
use towline_plan::decide::{OnDrift, Situation, decide};
use towline_plan::desired::{self, Desired, Kinds};
use towline_plan::inventory::{Entry, Inventory, State};
use towline_plan::manifest::{self, Mistake};
use towline_plan::object::{GroupKind, ObjectId, SyncKey};
use towline_plan::observed::Observed;
use towline_plan::part::PruneRules;
use towline_plan::placed;
use towline_plan::tree::{File, Tree};

/// `sync.yaml`: whatever is left out is as in a plain Sync that prunes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Settings {
    /// `namespace/name`.
    sync: String,
    prune: bool,
    allow_kinds: Vec<String>,
    /// As in `prunePolicy.maxDeletions`; `lifted` as by the annotation.
    max_deletions: Option<String>,
    /// The digest of a rebuilt inventory nobody has accepted.
    rebuilt: Option<String>,
    target_namespace: Option<String>,
    /// `warn` or `disabled`.
    drift_detection: Option<String>,
    /// Seconds: when the pass runs.
    now: i64,
}

impl Default for Settings {
    fn default() -> Self {
        let sync = "shop/prod".to_owned();
        Self {
            sync,
            prune: true,
            allow_kinds: Vec::new(),
            max_deletions: None,
            rebuilt: None,
            target_namespace: None,
            drift_detection: None,
            now: 1_000,
        }
    }
}

pub(crate) struct Scenario {
    tree: Tree,
    kinds: Kinds,
    settings: Settings,
    inventory: String,
    live: String,
    claims: String,
}

impl Scenario {
    pub(crate) fn read(folder: &Path) -> Self {
        let optional = |name: &str| fs::read_to_string(folder.join(name)).ok();
        let settings = optional("sync.yaml").map(|text| serde_saphyr::from_str(&text).unwrap()).unwrap_or_default();
        let mut files = Vec::new();
        collect(&folder.join("repo"), "", &mut files);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Self {
            tree: Tree { read: Vec::new(), files },
            kinds: text::kinds(optional("kinds.txt").as_deref().unwrap_or(text::KINDS)),
            settings,
            inventory: optional("inventory.txt").unwrap_or_default(),
            live: optional("live.txt").unwrap_or_default(),
            claims: optional("claims.txt").unwrap_or_default(),
        }
    }

    /// The checked plan as text, or the mistakes in Git.
    pub(crate) fn plan(&self) -> String {
        let sync = text::sync(&self.settings.sync);
        match self.checked(&sync) {
            Ok(text) => text,
            Err(mistakes) => {
                mistakes.iter().fold("mistakes\n".to_owned(), |text, mistake| format!("{text}  {mistake}\n"))
            }
        }
    }

    fn checked(&self, sync: &SyncKey) -> Result<String, Vec<Mistake>> {
        let mut manifests = manifest::read(&self.tree)?;
        if let Some(target) = &self.settings.target_namespace {
            placed::place(&mut manifests, &self.kinds, sync, target);
        }
        let desired = desired::resolve(manifests.clone(), &self.kinds, sync)?;
        let left_alone = desired::left_alone(&manifests, &self.kinds, sync);
        let inventory = self.inventory(&desired);
        let observed = self.observed(&desired);
        let plan = decide(Situation {
            sync,
            desired,
            left_alone: &left_alone,
            inventory: &inventory,
            observed: &observed,
            claims: &self.claims(),
            prune: &PruneRules { enabled: self.settings.prune, allow_kinds: self.settings.allow_kinds.clone() },
            on_drift: match self.settings.drift_detection.as_deref() {
                None => OnDrift::Revert,
                Some("warn") => OnDrift::Warn,
                Some("disabled") => OnDrift::Disregard,
                Some(other) => panic!("driftDetection is warn or disabled, not {other}"),
            },
            now: self.settings.now,
        });
        let ceiling = match self.settings.max_deletions.as_deref() {
            None => Ceiling::Default,
            Some("lifted") => Ceiling::Lifted,
            Some(text) => Ceiling::parse(text).unwrap(),
        };
        let checked = check(plan, ceiling, self.settings.rebuilt.as_deref());
        let mut text = checked.to_string();
        text.push_str("written ahead\n");
        for (id, entry) in &checked.inventory().0 {
            let new = match inventory.0.get(id) {
                None => ", new",
                Some(old) if old.state != entry.state => ", finished",
                Some(_) => "",
            };
            writeln!(text, "  {id} claimed at {}{new}", entry.claimed_at).unwrap();
        }
        Ok(text)
    }

    fn inventory(&self, desired: &[Desired]) -> Inventory {
        let digests: BTreeMap<&ObjectId, &Desired> = desired.iter().map(|d| (&d.id, d)).collect();
        let entries = text::lines(&self.inventory).map(|line| {
            let [object, applied, claimed_at] = text::words(line);
            let id = text::object(object);
            let wanted = digests.get(&id);
            let (state, digest) = match applied {
                "same" => (State::Applied, wanted.map(|d| d.digest.clone())),
                "older" => (State::Applied, Some("older".to_owned())),
                "finished" => (State::Finished, wanted.map(|d| d.digest.clone())),
                "older-finished" => (State::Finished, Some("older".to_owned())),
                "claimed" => (State::Claimed, None),
                other => panic!("an entry is same, older, finished, older-finished or claimed, not {other}"),
            };
            let uid = (state != State::Claimed).then(|| format!("uid of {id}"));
            let version = wanted.map_or("v1", |d| &d.version).to_owned();
            (id, Entry { version, uid, digest, claimed_at: claimed_at.parse().unwrap(), state })
        });
        Inventory(entries.collect())
    }

    fn observed(&self, desired: &[Desired]) -> Observed {
        let mut observed = Observed::default();
        for line in text::lines(&self.live) {
            let (object, says) = line.split_once(' ').unwrap();
            let (id, says) = (text::object(object), says.trim());
            // `<what is said> labelled shop/other [<what is known of that>]`
            let (says, labels) = says.split_once(" labelled ").unwrap_or((says, ""));
            if let Some((owner, known)) = text::labels(labels, &id) {
                observed.owners.insert(id.clone(), owner.clone());
                observed.others.extend(known.map(|known| (owner, known)));
            }
            let (says, finished) = says.strip_suffix(" finished").map_or((says, false), |says| (says, true));
            if finished {
                observed.finished.insert(id.clone(), format!("uid of {id}"));
            }
            let (says, defines) = says.split_once(" defining ").unwrap_or((says, ""));
            if let (false, Some((_, group))) = (defines.is_empty(), id.name.split_once('.')) {
                observed.defined.insert(id.clone(), GroupKind::new(group, defines));
            }
            match desired.iter().any(|d| d.id == id) {
                true => drop(observed.judgements.insert(id.clone(), text::judgement(&id, says))),
                false => drop(observed.left.insert(id.clone(), text::seen(&id, says))),
            }
        }
        observed
    }

    fn claims(&self) -> Claims {
        let mut inventories: BTreeMap<SyncKey, Inventory> = BTreeMap::new();
        for line in text::lines(&self.claims) {
            let [sync, object, claimed_at] = text::words(line);
            let claimed_at = claimed_at.parse().unwrap();
            let entry = Entry { version: "v1".into(), uid: None, digest: None, claimed_at, state: State::Applied };
            inventories.entry(text::sync(sync)).or_default().0.insert(text::object(object), entry);
        }
        let mut claims = Claims::default();
        inventories.iter().for_each(|(sync, inventory)| claims.replace(sync, inventory));
        claims
    }
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
        let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        match entry.path().is_dir() {
            true => collect(&entry.path(), &format!("{path}/"), files),
            false => files.push(File { path, contents: fs::read(entry.path()).unwrap() }),
        }
    }
}
