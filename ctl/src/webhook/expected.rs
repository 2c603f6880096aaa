//! What a receiver expects of a hook, held against what its host has. Pure; knows no host by name.

use serde::Serialize;

use super::api::{Hook, Secrecy};

/// One setting that is not as expected, and what to do about it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) setting: &'static str,
    pub(crate) configured: String,
    pub(crate) expected: String,
    pub(crate) advice: &'static str,
    /// Whether `create` would set it right. Otherwise it is only worth knowing.
    pub(crate) deviation: bool,
}

const SET_UP_AGAIN: &str = "`towline webhook create` sets it right";

/// In the order in which a delivery would meet them.
pub(crate) fn compare(hook: &Hook, verify_tls: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut deviation = |setting, configured: String, expected: &str, advice| {
        found.push(Finding { setting, configured, expected: expected.to_owned(), advice, deviation: true });
    };
    if !hook.active {
        deviation("active", "no".to_owned(), "yes", SET_UP_AGAIN);
    }
    if let Some(disabled) = &hook.disabled {
        let advice = "find out why from the deliveries and the receiver's log; a test delivery that succeeds, as \
                      `towline webhook create` asks for, enables it again";
        deviation("enabled", format!("disabled {disabled}"), "enabled", advice);
    }
    if !hook.missing_events.is_empty() {
        let configured = format!("without {}", hook.missing_events.join(", "));
        deviation("events", configured, "pushes of branches and tags", SET_UP_AGAIN);
    }
    if let Some(filter) = &hook.branch_filter {
        let advice = "refs that do not fit are only noticed by polling; `towline webhook create` takes it away";
        deviation("branch filter", filter.clone(), "none", advice);
    }
    if let Some(other) = hook.content_type.as_deref().filter(|kind| *kind != "json") {
        deviation("content type", other.to_owned(), "json", SET_UP_AGAIN);
    }
    if let Some(altered) = &hook.altered {
        deviation("payload", altered.clone(), "as the host makes it", SET_UP_AGAIN);
    }
    if hook.secret == Secrecy::Missing {
        let advice = "a receiver believes nobody without one; `towline webhook create` sets one";
        deviation("secret", "none".to_owned(), "one of the receiver's", advice);
    }
    match (hook.verifies_tls, verify_tls) {
        (Some(false), true) => deviation("TLS verification", "off".to_owned(), "on", SET_UP_AGAIN),
        (Some(true), false) => deviation("TLS verification", "on".to_owned(), "off", SET_UP_AGAIN),
        _ => {}
    }
    found.extend(worth_knowing(hook));
    found
}

fn worth_knowing(hook: &Hook) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut note = |setting, configured: String, expected: &str, advice| {
        found.push(Finding { setting, configured, expected: expected.to_owned(), advice, deviation: false });
    };
    if !hook.idle_events.is_empty() {
        let advice = "a receiver answers them with 200 and does nothing";
        note("other events", hook.idle_events.join(", "), "pushes only", advice);
    }
    if hook.url.starts_with("http://") {
        let advice = "everybody on the way can read deliveries, and a token that is sent along";
        note("address", "http://".to_owned(), "https://", advice);
    }
    found
}

/// What the host does not tell, and where it can be seen instead.
pub(crate) fn unknown(hook: &Hook) -> Vec<&'static str> {
    let mut unknown = Vec::new();
    if hook.secret == Secrecy::Untold {
        unknown.push("secret: this host does not tell whether one is set; the receiver's log shows whether deliveries are signed");
    }
    if hook.verifies_tls.is_none() {
        unknown.push("TLS verification: a setting of the whole host, not of the hook");
    }
    unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Hook {
        Hook { active: true, url: "https://h.example/x".to_owned(), verifies_tls: Some(true), ..Hook::default() }
    }

    fn settings(hook: &Hook) -> Vec<&'static str> {
        compare(hook, true).iter().map(|finding| finding.setting).collect()
    }

    #[test]
    fn a_good_hook_has_nothing_to_say() {
        assert!(settings(&good()).is_empty());
    }

    #[test]
    fn everything_that_loses_deliveries_is_named() {
        let bad = Hook {
            missing_events: vec!["push"],
            content_type: Some("form".to_owned()),
            verifies_tls: Some(false),
            branch_filter: Some("main".to_owned()),
            secret: Secrecy::Missing,
            altered: Some("a template".to_owned()),
            disabled: Some("for good".to_owned()),
            ..Hook::default()
        };
        let named = ["active", "enabled", "events", "branch filter", "content type", "payload", "secret"];
        assert_eq!(settings(&bad), [&named[..], &["TLS verification"]].concat());
        assert!(compare(&bad, true).iter().all(|finding| finding.deviation));
    }

    #[test]
    fn what_costs_nothing_is_no_deviation() {
        let hook = Hook { idle_events: vec!["issues".to_owned()], url: "http://h.example/x".to_owned(), ..good() };
        assert_eq!(settings(&hook), ["other events", "address"]);
        assert!(compare(&hook, true).iter().all(|finding| !finding.deviation));
    }

    #[test]
    fn verification_may_be_off_where_that_was_said() {
        let off = Hook { verifies_tls: Some(false), ..good() };
        assert!(compare(&off, false).is_empty());
        assert_eq!(compare(&good(), false)[0].setting, "TLS verification");
    }
}
