//! After definitions are applied: waits until they can be used, learns the kinds they bring, and watches those in use.
//!
//! Knows discovery and watches. Must not know what is applied next.

use std::collections::BTreeSet;
use std::time::Duration;

use towline_plan::decide::{Apply, ApplyStep};
use towline_plan::object::GroupKind;
use towline_plan::watched::Scope;

use super::apply::{Work, problem};
use crate::cluster::Served;

/// Between two looks at a definition that is not established yet; the API server needs some 10 to 100 ms.
const ESTABLISHED_POLL: Duration = Duration::from_millis(20);
/// After this long without being established, a definition is reported and its objects wait for the next pass.
const ESTABLISHED_TIMEOUT: Duration = Duration::from_secs(30);

impl Work<'_> {
    /// Waits until the definitions of a stage can be used, learns the kinds they bring, and watches those in use.
    pub(super) async fn established(&mut self, steps: &[ApplyStep], kinds: &BTreeSet<(&GroupKind, &str)>) -> bool {
        let deadline = tokio::time::Instant::now() + ESTABLISHED_TIMEOUT;
        let new: Vec<&ApplyStep> = steps.iter().filter(|s| s.apply != Apply::Keep).collect();
        for step in &new {
            let (id, version) = (&step.desired.id, &step.desired.version);
            loop {
                match self.cx.cluster.is_established(&self.served, id, version).await {
                    Ok(true) => break,
                    Ok(false) if tokio::time::Instant::now() < deadline && !self.pass.halt.is_cancelled() => {
                        tokio::time::sleep(ESTABLISHED_POLL).await;
                    }
                    Ok(false) => {
                        self.problems.push(format!("{id} is not established"));
                        return false;
                    }
                    Err(error) => {
                        self.problems.push(problem(self.redactor, id, None, &error));
                        return false;
                    }
                }
            }
        }
        let is_served = |served: &Served| kinds.iter().all(|(kind, version)| served.kinds.serves_in(kind, version));
        if new.is_empty() && is_served(&self.served) {
            return true;
        }
        loop {
            match self.cx.rediscover().await {
                Ok(served) => self.served = served,
                Err(error) => {
                    self.problems.push(towline_daemon::error::chain(&error));
                    return false;
                }
            }
            // Discovery runs a little behind the condition. What does not come in time is said object by object.
            let over = tokio::time::Instant::now() >= deadline || self.pass.halt.is_cancelled();
            if is_served(&self.served) || over {
                break;
            }
            tokio::time::sleep(ESTABLISHED_POLL).await;
        }
        // What was not served when the watches were started. Their first lists need not be waited for: verdicts that are
        // newer than a list outlive it.
        let scopes: BTreeSet<Scope> = self.owned.0.keys().map(|id| self.cx.watches.scope_of(id)).collect();
        for scope in &scopes {
            let _ = self.cx.watches.ensure(&self.cx.cluster, &self.served, &self.pass.key, scope);
        }
        true
    }
}
