//! Who a cluster is asked as: the agent itself, or a service account it acts as.
//!
//! Knows names only. Must not know how one acts as another, nor what anybody may do.

use std::fmt;

/// Who requests for a Sync's objects are made as.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// With the agent's own rights.
    Agent,
    /// As a service account in the Sync's namespace.
    Account { namespace: String, name: String },
}

impl Identity {
    /// Whom a Sync acts as: the account it names, the agent's default, or the agent.
    #[must_use]
    pub fn of(namespace: &str, named: Option<&str>, default: Option<&str>) -> Self {
        let given = |name: &&str| !name.is_empty();
        match named.filter(given).or(default.filter(given)) {
            Some(name) => Self::Account { namespace: namespace.to_owned(), name: name.to_owned() },
            None => Self::Agent,
        }
    }

    /// What the API server calls an account. The groups of a service account (`system:serviceaccounts`, the same of its
    /// namespace, `system:authenticated`) follow from it: the server adds them.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        match self {
            Self::Agent => None,
            Self::Account { namespace, name } => Some(format!("system:serviceaccount:{namespace}:{name}")),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent => f.write_str("the agent"),
            Self::Account { namespace, name } => write!(f, "ServiceAccount {namespace}/{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_acts_as_the_account_it_names_or_the_default_in_its_own_namespace() {
        let account = |name: &str| Identity::Account { namespace: "team".into(), name: name.into() };
        assert_eq!(Identity::of("team", Some("deployer"), Some("default")), account("deployer"));
        assert_eq!(Identity::of("team", None, Some("default")), account("default"));
        assert_eq!(Identity::of("team", None, None), Identity::Agent);
        // Not naming one is no way past the default.
        assert_eq!(Identity::of("team", Some(""), Some("default")), account("default"));
        assert_eq!(Identity::of("team", Some(""), Some("")), Identity::Agent);
        assert_eq!(account("deployer").user().as_deref(), Some("system:serviceaccount:team:deployer"));
    }
}
