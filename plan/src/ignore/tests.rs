use rstest::rstest;

use super::*;
use crate::desired::{Kinds, Scope, resolve};
use crate::manifest;
use crate::object::{GroupKind, SyncKey};
use crate::tree::{File, Tree};

const WEB: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web-1, namespace: shop, labels: {app: web}, annotations: {scaled: hpa}}\nspec: {replicas: 2, paused: false}\n";

fn desired(text: &str) -> Desired {
    let file = File { path: "a.yaml".into(), contents: text.as_bytes().to_vec() };
    let mut kinds = Kinds::default();
    kinds.add(GroupKind::new("apps", "Deployment"), "v1", Scope::Namespaced);
    let manifests = manifest::read(&Tree { read: Vec::new(), files: vec![file] }).unwrap();
    let sync = SyncKey { namespace: "shop".into(), name: "prod".into() };
    resolve(manifests, &kinds, &sync).unwrap().remove(0)
}

fn marked(text: &str, path: &str, target: Option<TargetText>) -> Desired {
    let mut objects = [desired(text)];
    Rules::new(&[RuleText { paths: vec![path.into()], target }]).unwrap().mark(&mut objects);
    let [object] = objects;
    object
}

#[rstest]
#[case(|t: &mut TargetText| t.kind = "Deployment".into(), true)]
#[case(|t: &mut TargetText| t.kind = "deployment".into(), false)]
#[case(|t: &mut TargetText| t.kind = "Deploy".into(), false)]
#[case(|t: &mut TargetText| t.kind = "Deploy.*|StatefulSet".into(), true)]
#[case(|t: &mut TargetText| t.name = "web-[0-9]".into(), true)]
#[case(|t: &mut TargetText| t.name = "web".into(), false)]
#[case(|t: &mut TargetText| t.group = "apps".into(), true)]
#[case(|t: &mut TargetText| t.group = "batch".into(), false)]
#[case(|t: &mut TargetText| t.version = "v1".into(), true)]
#[case(|t: &mut TargetText| t.version = "v2".into(), false)]
#[case(|t: &mut TargetText| t.namespace = "shop".into(), true)]
#[case(|t: &mut TargetText| t.namespace = "other".into(), false)]
#[case(|t: &mut TargetText| t.label_selector = "app=web".into(), true)]
#[case(|t: &mut TargetText| t.label_selector = "app=api".into(), false)]
#[case(|t: &mut TargetText| t.annotation_selector = "scaled in (hpa)".into(), true)]
#[case(|t: &mut TargetText| t.annotation_selector = "!scaled".into(), false)]
#[case(|t: &mut TargetText| { t.kind = "Deployment".into(); t.name = "other".into(); }, false)]
#[case(|_: &mut TargetText| {}, true)]
fn everything_a_target_says_has_to_fit(#[case] say: fn(&mut TargetText), #[case] is_meant: bool) {
    let mut target = TargetText::default();
    say(&mut target);
    assert_eq!(marked(WEB, "/spec/replicas", Some(target)).ignored.rest.is_some(), is_meant);
}

#[test]
fn the_digest_is_that_of_what_is_not_ignored() {
    let (plain, ignored) = (desired(WEB), marked(WEB, "/spec/replicas", None));
    assert_ne!(plain.digest, ignored.digest, "a rule that comes or goes is a reason to apply");
    assert_eq!(ignored.value, plain.value, "on creation, all of it is applied");
    assert_eq!(ignored.ignored.rest.as_ref().unwrap()["spec"], serde_json::json!({"paused": false}));
    let more = WEB.replace("replicas: 2", "replicas: 7");
    assert_eq!(marked(&more, "/spec/replicas", None).digest, ignored.digest, "Git's change of it is none");
    let gone = WEB.replace("replicas: 2, ", "");
    assert_eq!(marked(&gone, "/spec/replicas", None).digest, ignored.digest);
    assert_ne!(marked(&WEB.replace("false", "true"), "/spec/replicas", None).digest, ignored.digest);
    let unmet = marked(WEB, "/spec/minReadySeconds", None);
    assert_eq!((unmet.digest, unmet.ignored.rest, unmet.ignored.paths.len()), (plain.digest, None, 1));
}

#[rstest]
#[case("/kind", TargetText::default(), "spec.driftDetection.ignore[1].paths[0]: \"/kind\" cannot be ignored")]
#[case("/a", TargetText { name: "web-(".into(), ..TargetText::default() }, "ignore[1].target.name: \"web-(\" is no regular expression")]
#[case("/a", TargetText { name: "a)(b".into(), ..TargetText::default() }, "ignore[1].target.name")]
#[case("/a", TargetText { kind: "(\\w{200}){200}".into(), ..TargetText::default() }, "it is too large")]
#[case("/a", TargetText { label_selector: "a b".into(), ..TargetText::default() }, "ignore[1].target.labelSelector: \"a b\" is no requirement")]
fn a_rule_that_means_nothing_is_named(#[case] path: &str, #[case] target: TargetText, #[case] told: &str) {
    let good = RuleText { paths: vec!["/spec/replicas".into()], target: None };
    let error =
        Rules::new(&[good, RuleText { paths: vec![path.into()], target: Some(target) }]).unwrap_err().to_string();
    assert!(error.contains(told), "{error}");
}
