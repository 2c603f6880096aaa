use super::*;
use crate::health::Status;
use crate::identity::Identity;
use crate::letting::Letting;
use crate::object::GroupKind;

fn id() -> ObjectId {
    ObjectId { kind: GroupKind::new("", "ConfigMap"), namespace: Some("ns".into()), name: "c".into() }
}

fn scope() -> Scope {
    Scope::of(&Identity::Agent, &id())
}

fn sync() -> SyncKey {
    SyncKey { namespace: "ns".into(), name: "s".into() }
}

fn live(resource_version: u32, fingerprint: u64) -> Live {
    Live {
        uid: "u".into(),
        resource_version: resource_version.to_string(),
        fingerprint,
        owner: Some(sync()),
        applied: true,
        letting: Letting::Late,
        deleting: false,
        left_alone: false,
        last_writer: None,
    }
}

fn plain(resource_version: u32, fingerprint: u64) -> Shown {
    Shown::plain(live(resource_version, fingerprint))
}

fn with_health(resource_version: u32, status: Status, message: &'static str) -> Shown {
    let health = Health { status, reason: "Because".into(), message: message.into() };
    Shown { health: Some(Box::new(health)), ..plain(resource_version, 1) }
}

fn watched() -> Watched {
    let mut watched = Watched::default();
    watched.remember(&sync(), &id(), "d", &live(10, 1));
    watched
}

fn listed(watched: &mut Watched, objects: Vec<Shown>) -> News {
    watched.begin_list(&scope());
    for shown in objects {
        assert_eq!(watched.applied(&scope(), id(), shown).progressed, BTreeSet::new());
    }
    watched.end_list(&scope())
}

fn of_us() -> BTreeSet<SyncKey> {
    BTreeSet::from([sync()])
}

fn nobody() -> BTreeSet<SyncKey> {
    BTreeSet::new()
}

#[test]
fn our_own_writes_are_not_drift() {
    let mut watched = watched();
    assert_eq!(watched.applied(&scope(), id(), plain(9, 0)).drifted, nobody(), "the watch is behind");
    assert_eq!(watched.applied(&scope(), id(), plain(10, 1)).drifted, nobody());
    assert_eq!(watched.applied(&scope(), id(), plain(11, 1)).drifted, nobody(), "a status update");
    assert_eq!(watched.clean(&id(), "d"), Some("u"));
    assert_eq!(watched.clean(&id(), "e"), None);
}

#[test]
fn a_moved_fingerprint_is_drift_and_said_once() {
    let mut watched = watched();
    assert_eq!(watched.applied(&scope(), id(), plain(11, 2)).drifted, of_us());
    assert_eq!(watched.applied(&scope(), id(), plain(12, 3)).drifted, nobody());
    assert_eq!(watched.clean(&id(), "d"), None);
    assert!(!watched.remember(&sync(), &id(), "d", &live(13, 1)));
    assert_eq!(watched.clean(&id(), "d"), Some("u"));
}

#[test]
fn a_change_seen_before_the_verdict_is_not_lost() {
    let mut watched = Watched::default();
    watched.applied(&scope(), id(), plain(11, 2));
    assert!(watched.remember(&sync(), &id(), "d", &live(10, 1)));
    assert_eq!(watched.clean(&id(), "d"), None);
}

#[test]
fn the_newest_state_is_the_watchs_or_our_own() {
    let mut watched = Watched::default();
    assert_eq!(watched.fingerprint(&id()), None);
    watched.remember(&sync(), &id(), "d", &live(10, 1));
    assert_eq!(watched.fingerprint(&id()), Some(1), "the watch has not seen it");
    watched.applied(&scope(), id(), plain(9, 0));
    assert_eq!(watched.fingerprint(&id()), Some(1), "the watch is behind");
    watched.applied(&scope(), id(), plain(11, 2));
    assert_eq!(watched.fingerprint(&id()), Some(2));
    watched.forget(&id());
    assert_eq!(watched.fingerprint(&id()), Some(2));
}

#[test]
fn a_deletion_is_drift_but_not_that_of_a_predecessor() {
    let mut watched = watched();
    let gone = |uid: &str, version| Shown::plain(Live { uid: uid.into(), ..live(version, 1) });
    assert_eq!(watched.deleted(&scope(), &id(), &gone("older", 11)).drifted, nobody());
    assert_eq!(watched.deleted(&scope(), &id(), &gone("u", 10)).drifted, nobody(), "its labels were put back since");
    assert_eq!(watched.deleted(&scope(), &id(), &gone("u", 11)).drifted, of_us());
    let mut watched = self::watched();
    watched.forget(&id());
    assert_eq!(watched.deleted(&scope(), &id(), &gone("u", 11)).drifted, nobody(), "we deleted it ourselves");
}

#[test]
fn with_a_watch_its_verdicts_go_and_their_syncs_are_named() {
    let mut watched = watched();
    let other = ObjectId { kind: GroupKind::new("", "Secret"), ..id() };
    let bystander = SyncKey { namespace: "ns".into(), name: "bystander".into() };
    watched.remember(&bystander, &other, "d", &live(10, 1));
    watched.applied(&scope(), id(), plain(10, 1));
    assert_eq!(watched.unwatch(&scope()), of_us());
    assert_eq!((watched.live(&id()), watched.clean(&id(), "d")), (None, None));
    assert_eq!(watched.clean(&other, "d"), Some("u"));
    assert_eq!(watched.unwatch(&scope()), nobody());
}

#[test]
fn a_new_list_finds_what_went_while_the_watch_was_away() {
    let mut watched = watched();
    watched.begin_list(&scope());
    assert!(!watched.is_synced(&scope()));
    assert_eq!(watched.end_list(&scope()).drifted, of_us());
    assert!(watched.is_synced(&scope()));
    watched.begin_list(&scope());
    watched.remember(&sync(), &id(), "d", &live(12, 1));
    assert_eq!(watched.end_list(&scope()).drifted, nobody(), "created while the list was under way");
}

/// As after a 410, or an API server that dropped its watches.
#[test]
fn a_list_again_of_what_has_not_moved_is_no_news() {
    let mut watched = watched();
    assert_eq!(listed(&mut watched, vec![plain(10, 1)]), News { progressed: of_us(), ..News::default() });
    for version in [10, 14] {
        assert_eq!(listed(&mut watched, vec![plain(version, 1)]), News::default());
        assert_eq!(watched.clean(&id(), "d"), Some("u"), "it is not judged again");
    }
    let news = listed(&mut watched, Vec::new());
    assert_eq!((news.drifted, news.progressed), (of_us(), of_us()));
    assert_eq!(watched.live(&id()), None);
}

#[test]
fn an_accounts_watches_end_at_their_namespaces() {
    let account = Identity::Account { namespace: "ns".into(), name: "deployer".into() };
    let (here, there) = (id(), ObjectId { namespace: Some("there".into()), ..id() });
    let cluster = ObjectId { kind: GroupKind::new("", "Namespace"), namespace: None, name: "ns".into() };
    let scopes: BTreeSet<Scope> = [&here, &there, &cluster].map(|id| Scope::of(&account, id)).into();
    assert_eq!(
        scopes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["ConfigMap in ns", "ConfigMap in there", "Namespace"]
    );
    let everywhere: BTreeSet<Scope> = [&here, &there, &cluster].map(|id| Scope::of(&Identity::Agent, id)).into();
    assert_eq!(everywhere.iter().map(ToString::to_string).collect::<Vec<_>>(), ["ConfigMap", "Namespace"]);

    let mut watched = Watched::default();
    for id in [&here, &there] {
        watched.remember(&sync(), id, "d", &live(10, 1));
    }
    let scope = Scope::of(&account, &here);
    watched.begin_list(&scope);
    assert_eq!(watched.end_list(&scope).drifted, of_us());
    assert_eq!((watched.clean(&here, "d"), watched.clean(&there, "d")), (None, Some("u")));
    watched.applied(&Scope::of(&account, &there), there.clone(), plain(11, 1));
    assert!(watched.live(&there).is_some() && watched.live(&here).is_none());
    watched.unwatch(&Scope::of(&account, &there));
    assert_eq!((watched.live(&there), watched.clean(&there, "d")), (None, None));
}

#[test]
fn health_is_that_of_what_was_applied_last() {
    let mut watched = Watched::default();
    assert_eq!(watched.health(&id()), None, "nobody watches");
    listed(&mut watched, Vec::new());
    assert_eq!(watched.health(&id()), Some(Health::absent()));
    watched.remember(&sync(), &id(), "d", &live(10, 1));
    assert_eq!(watched.health(&id()), None, "applied, and not shown yet");
    watched.applied(&scope(), id(), with_health(9, Status::Current, "of before"));
    assert_eq!(watched.health(&id()), None, "what is shown is older");
    watched.applied(&scope(), id(), with_health(10, Status::InProgress, "0 of 1"));
    assert_eq!(watched.health(&id()).map(|h| h.status), Some(Status::InProgress));
    watched.applied(&scope(), id(), plain(11, 1));
    assert_eq!(watched.health(&id()), Some(Health::exists()), "of a kind without a rule");
    watched.is_current(&scope(), false);
    assert_eq!(watched.health(&id()), None, "the watch is lost");
    watched.is_current(&scope(), true);
    assert_eq!(watched.health(&id()), Some(Health::exists()), "and goes on");
}

#[test]
fn a_change_of_health_is_progress_and_counting_is_not() {
    let mut watched = watched();
    listed(&mut watched, Vec::new());
    let mut progressed = |shown| watched.applied(&scope(), id(), shown).progressed;
    assert_eq!(progressed(with_health(10, Status::InProgress, "0 of 3")), of_us());
    assert_eq!(progressed(with_health(11, Status::InProgress, "1 of 3")), nobody());
    assert_eq!(progressed(with_health(12, Status::Current, "3 of 3")), of_us());
    assert_eq!(watched.health(&id()).unwrap().message, "3 of 3");
    let failed = Health { status: Status::Failed, ..Health::exists() };
    assert_eq!(watched.judged(&scope(), &id(), "another", failed.clone()), News::default());
    assert_eq!(watched.judged(&scope(), &id(), "u", failed.clone()).progressed, of_us(), "by its Pods");
    assert_eq!(watched.judged(&scope(), &id(), "u", failed.clone()).progressed, nobody());
    assert_eq!(watched.health(&id()), Some(failed));
    watched.forget(&id());
    assert_eq!(watched.deleted(&scope(), &id(), &plain(13, 1)).progressed, of_us(), "whoever waits for its end");
}

#[test]
fn an_object_that_is_watched_by_name_says_nothing_of_anybodys_own() {
    let mut watched = watched();
    let named = Scope::named(&id());
    assert_eq!(watched.foreign_health(&id(), &sync()), None);
    watched.begin_list(&named);
    assert_eq!(watched.end_list(&named), News { named: true, ..News::default() }, "that it is not there is known now");
    watched.begin_list(&named);
    assert_eq!(watched.end_list(&named), News::default());
    assert_eq!(watched.clean(&id(), "d"), Some("u"), "it is no list of own objects");
    assert_eq!(watched.foreign_health(&id(), &sync()), Some(Health::absent()));
    let mut shown = with_health(20, Status::Current, "");
    shown.judged_for = vec![(sync(), Health { status: Status::Failed, ..Health::exists() })];
    assert_eq!(watched.applied(&named, id(), shown.clone()), News { named: true, ..News::default() });
    assert_eq!(watched.applied(&named, id(), shown.clone()), News::default());
    assert_eq!((watched.live(&id()), watched.health(&id())), (None, None));
    assert!(watched.foreign_health(&id(), &sync()).unwrap().is_failed());
    let other = SyncKey { name: "other".into(), ..sync() };
    assert!(watched.foreign_health(&id(), &other).unwrap().is_current());
    assert!(watched.deleted(&named, &id(), &shown).named);
}

#[test]
fn a_finished_job_is_told_once_and_known_when_it_is_gone() {
    let finished = |version| Shown { finished: true, ..plain(version, 1) };
    let mut watched = watched();
    assert_eq!(watched.applied(&scope(), id(), plain(10, 1)).drifted, nobody());
    assert_eq!(watched.finished(&id()), None);
    assert_eq!(watched.applied(&scope(), id(), finished(11)).drifted, of_us(), "so that it is recorded");
    assert_eq!(watched.applied(&scope(), id(), finished(12)).drifted, nobody());
    watched.deleted(&scope(), &id(), &finished(13));
    assert_eq!(watched.finished(&id()), Some("u"));
    watched.applied(&scope(), id(), Shown::plain(Live { uid: "next".into(), ..live(14, 1) }));
    assert_eq!(watched.finished(&id()), None, "it runs again");

    // A pass let go of it and deleted it: nobody will ask.
    let mut watched = self::watched();
    watched.remember(&sync(), &ObjectId { name: "stays".into(), ..id() }, "d", &live(10, 1));
    watched.applied(&scope(), id(), finished(11));
    watched.forget(&id());
    watched.deleted(&scope(), &id(), &finished(12));
    assert_eq!(watched.finished(&id()), None);

    // Its end and its removal in one moment.
    let mut watched = self::watched();
    watched.deleted(&scope(), &id(), &finished(11));
    assert_eq!(watched.finished(&id()), Some("u"));
}

#[test]
fn a_list_verifies_what_is_unmoved_and_no_other_syncs() {
    let mut watched = watched();
    let other = SyncKey { name: "other".into(), ..sync() };
    let theirs = ObjectId { name: "theirs".into(), ..id() };
    watched.remember(&other, &theirs, "d", &live(10, 1));
    watched.verify(&sync(), &scope(), [(&id(), &live(12, 1))]);
    assert_eq!(watched.clean(&id(), "d"), Some("u"));
    watched.verify(&sync(), &scope(), [(&id(), &live(13, 2))]);
    assert_eq!(watched.clean(&id(), "d"), None, "it was changed while nobody watched");
    watched.remember(&sync(), &id(), "d", &live(14, 1));
    watched.verify(&sync(), &scope(), []);
    assert_eq!(watched.clean(&id(), "d"), None, "it is gone");
    assert_eq!(watched.clean(&theirs, "d"), Some("u"));
    watched.forget_scope(&other, &scope());
    assert_eq!(watched.clean(&theirs, "d"), None);
}

#[test]
fn the_first_sight_of_what_was_applied_is_progress_though_it_is_as_healthy_as_before() {
    let mut watched = Watched::default();
    listed(&mut watched, vec![with_health(9, Status::Current, "well")]);
    watched.remember(&sync(), &id(), "d", &live(10, 1));
    assert_eq!(watched.health(&id()), None, "what is shown is older");
    let caught_up = watched.applied(&scope(), id(), with_health(10, Status::Current, "well"));
    assert_eq!((caught_up.progressed, caught_up.drifted), (of_us(), nobody()));
    let later = watched.applied(&scope(), id(), with_health(11, Status::Current, "well"));
    assert_eq!(later.progressed, nobody(), "a status update");
}

#[test]
fn that_a_watch_is_lost_and_found_is_news_to_all_who_rely_on_it_once_each() {
    let mut watched = Watched::default();
    listed(&mut watched, vec![with_health(9, Status::InProgress, "not yet")]);
    assert_eq!(watched.is_current(&scope(), true).progressed, nobody(), "it was complete");
    assert_eq!(watched.is_current(&scope(), false).progressed, of_us());
    assert_eq!(watched.health(&id()), None, "it may be another by now");
    assert_eq!(watched.is_current(&scope(), false).progressed, nobody(), "it still fails, for another reason");
    assert_eq!(watched.is_current(&scope(), true).progressed, of_us(), "it goes on from where it was");
    assert_eq!(watched.is_current(&scope(), false).progressed, of_us());
    watched.begin_list(&scope());
    watched.applied(&scope(), id(), with_health(9, Status::InProgress, "not yet"));
    assert_eq!(watched.end_list(&scope()).progressed, of_us(), "it begins again, though nothing is other than it was");
    assert_eq!(watched.is_current(&scope(), true).progressed, nobody());

    // One that never had a list, of what was applied.
    let mut watched = Watched::default();
    watched.begin_list(&scope());
    watched.remember(&sync(), &id(), "d", &live(10, 1));
    assert_eq!(watched.is_current(&scope(), false).progressed, of_us());
}

#[test]
fn what_is_judged_by_other_rules_is_not_known_before_a_list_that_began_after_that() {
    let mut watched = Watched::default();
    listed(&mut watched, vec![with_health(9, Status::Current, "by the old rules")]);
    watched.begin_list(&scope());
    watched.rejudge(&scope(), &sync());
    assert_eq!(watched.health(&id()), None);
    watched.applied(&scope(), id(), with_health(9, Status::Current, "by the old rules"));
    assert_eq!(watched.end_list(&scope()).progressed, nobody());
    assert_eq!(watched.health(&id()), None, "that list had begun before");
    watched.begin_list(&scope());
    watched.applied(&scope(), id(), with_health(9, Status::Current, "by the old rules"));
    assert_eq!(watched.end_list(&scope()).progressed, of_us(), "now it is known, though it is as healthy as before");
    assert_eq!(watched.health(&id()).map(|health| health.status), Some(Status::Current));

    let named = Scope::named(&id());
    listed_in(&mut watched, &named, with_health(9, Status::Current, "well"));
    watched.rejudge(&named, &sync());
    assert_eq!(watched.foreign_health(&id(), &sync()), None);
    let other = SyncKey { name: "other".into(), ..sync() };
    assert!(watched.foreign_health(&id(), &other).is_some(), "it judges by what it did");
    assert!(listed_in(&mut watched, &named, with_health(9, Status::Current, "well")).named);
    assert!(watched.foreign_health(&id(), &sync()).is_some());
}

fn listed_in(watched: &mut Watched, scope: &Scope, shown: Shown) -> News {
    watched.begin_list(scope);
    watched.applied(scope, id(), shown);
    watched.end_list(scope)
}
