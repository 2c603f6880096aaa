//! What one watch shows.

use std::fmt;

use crate::identity::Identity;
use crate::object::{GroupKind, ObjectId};

/// A kind everywhere or in one namespace, of which what carries owner labels is shown; or one object by its name, whoever owns
/// it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    pub kind: GroupKind,
    /// `None`: all of them, or a kind without namespaces.
    pub namespace: Option<String>,
    pub name: Option<String>,
}

impl Scope {
    /// The watch that shows an object of a Sync: of the whole cluster for the agent, which needs one for each kind; of the
    /// object's namespace for an account, whose rights may end there.
    #[must_use]
    pub fn of(identity: &Identity, id: &ObjectId) -> Self {
        let namespace = match identity {
            Identity::Agent => None,
            Identity::Account { .. } => id.namespace.clone(),
        };
        Self { kind: id.kind.clone(), namespace, name: None }
    }

    /// The watch of one object, for those that are another's.
    #[must_use]
    pub fn named(id: &ObjectId) -> Self {
        Self { kind: id.kind.clone(), namespace: id.namespace.clone(), name: Some(id.name.clone()) }
    }

    /// Whether this is the watch of a Sync's own objects in which the object would show.
    pub(super) fn covers(&self, id: &ObjectId) -> bool {
        self.name.is_none() && self.kind == id.kind && (self.namespace.is_none() || self.namespace == id.namespace)
    }
}

impl fmt::Display for Scope {
    /// `Deployment.apps`, `Deployment.apps in shop`, `Deployment.apps shop/web`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.namespace, &self.name) {
            (None, None) => write!(f, "{}", self.kind),
            (Some(namespace), None) => write!(f, "{} in {namespace}", self.kind),
            (None, Some(name)) => write!(f, "{} {name}", self.kind),
            (Some(namespace), Some(name)) => write!(f, "{} {namespace}/{name}", self.kind),
        }
    }
}
