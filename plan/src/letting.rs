//! What an object's own annotations say of its deletion.
//!
//! Knows the annotations and what their values mean. Must not know who may write them, or what else keeps an object.

use crate::policy::ANNOTATION_SSA;

/// On a live object: whether and when it may be deleted once Git no longer has it.
pub const ANNOTATION_PRUNE: &str = "towline.dev/prune";
/// On a live object that asks for it: somebody has said that it may be deleted.
pub const ANNOTATION_PRUNE_CONFIRMED: &str = "towline.dev/prune-confirmed";
/// On an object: `disabled` leaves it alone altogether.
pub const ANNOTATION_RECONCILE: &str = "towline.dev/reconcile";

/// What an object says of its deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Letting {
    /// It goes when everything else is applied.
    #[default]
    Late,
    /// It goes before the stage that may bring what replaces it.
    Early,
    /// It goes when a person has confirmed it, and nobody has.
    Asks,
    /// It is let go of and stays in the cluster.
    Never,
    /// It says something that nobody understands: it stays, and stays owned.
    Unreadable,
}

/// Values of the confirmation that say the opposite. Anything else confirms: a time, a name, a ticket.
const DENIALS: &[&str] = &["", "false", "no", "n", "f", "0", "off", "disabled", "pending"];

/// Whether a live object asks to be left alone altogether. A word that nobody understands asks for it, too.
#[must_use]
pub fn is_left_alone<'a>(annotation: impl Fn(&str) -> Option<&'a str>) -> bool {
    let is_ignored = annotation(ANNOTATION_SSA).is_some_and(|value| value.trim().eq_ignore_ascii_case("ignore"));
    let reconcile = annotation(ANNOTATION_RECONCILE).map(str::trim);
    is_ignored || reconcile.is_some_and(|value| !value.eq_ignore_ascii_case("enabled"))
}

impl Letting {
    /// Reads the annotations of a live object. `from_git`: the confirmation stands in Git and came with the object. What was
    /// there before its deletion was asked for, copied from one manifest to the next, confirms nothing.
    #[must_use]
    pub fn of<'a>(annotation: impl Fn(&str) -> Option<&'a str>, from_git: bool) -> Self {
        let is = |value: &str, word: &str| value.eq_ignore_ascii_case(word);
        if is_left_alone(&annotation) {
            return Self::Never;
        }
        let confirmed = || {
            let value = annotation(ANNOTATION_PRUNE_CONFIRMED).map(str::trim);
            value.is_some_and(|value| !from_git && !DENIALS.iter().any(|word| is(value, word)))
        };
        match annotation(ANNOTATION_PRUNE).map(str::trim) {
            None => Self::Late,
            Some(value) if is(value, "enabled") => Self::Late,
            Some(value) if is(value, "disabled") => Self::Never,
            Some(value) if is(value, "early") => Self::Early,
            Some(value) if is(value, "confirm") && confirmed() => Self::Late,
            Some(value) if is(value, "confirm") => Self::Asks,
            // A misspelt wish to be kept must not be read as none.
            Some(_) => Self::Unreadable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(annotations: &[(&str, &str)]) -> Letting {
        Letting::of(|key| annotations.iter().find(|(k, _)| *k == key).map(|(_, value)| *value), false)
    }

    #[test]
    fn a_misspelt_wish_keeps_the_object() {
        assert_eq!(of(&[]), Letting::Late);
        assert_eq!(of(&[(ANNOTATION_PRUNE, "enabled")]), Letting::Late);
        assert_eq!(of(&[(ANNOTATION_PRUNE, "Disabled")]), Letting::Never);
        assert_eq!(of(&[(ANNOTATION_PRUNE, "early")]), Letting::Early);
        for misspelt in ["disable", "", "conform", "never", "false"] {
            assert_eq!(of(&[(ANNOTATION_PRUNE, misspelt)]), Letting::Unreadable, "{misspelt}");
        }
        assert_eq!(of(&[(ANNOTATION_RECONCILE, "disabled"), (ANNOTATION_PRUNE, "early")]), Letting::Never);
        assert_eq!(of(&[(ANNOTATION_RECONCILE, "disable")]), Letting::Never);
        assert_eq!(of(&[(ANNOTATION_RECONCILE, "Enabled ")]), Letting::Late);
        assert_eq!(of(&[(ANNOTATION_SSA, "Ignore")]), Letting::Never);
    }

    #[test]
    fn a_confirmation_is_a_persons_and_no_denial() {
        let asks = |value| [(ANNOTATION_PRUNE, "confirm"), (ANNOTATION_PRUNE_CONFIRMED, value)];
        assert_eq!(of(&asks("")[..1]), Letting::Asks);
        for denial in ["", " ", "false", "No", "0", "off"] {
            assert_eq!(of(&asks(denial)), Letting::Asks, "{denial:?}");
        }
        for yes in ["true", "yes", "2026-11-23T18:00:00Z", "OPS-12", "main@sha1:0123"] {
            assert_eq!(of(&asks(yes)), Letting::Late, "{yes}");
            let asked = asks(yes);
            let annotation = |key: &str| asked.iter().find(|(k, _)| *k == key).map(|(_, value)| *value);
            assert_eq!(Letting::of(annotation, true), Letting::Asks, "{yes} in Git");
        }
        assert_eq!(of(&[(ANNOTATION_PRUNE, "disabled"), (ANNOTATION_PRUNE_CONFIRMED, "true")]), Letting::Never);
    }
}
