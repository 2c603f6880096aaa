//! Every folder in `scenarios/` is a case: what Git, the inventory and the API server say, and the plan that follows.
//!
//! `plan.txt` is compared exactly; `UPDATE_SCENARIOS=1` writes it anew. The formats stand in `scenarios/README.md`.

#![expect(clippy::unwrap_used, reason = "a scenario that cannot be read fails its test")]

mod folders;
mod scenario;

use scenario::Scenario;

#[test]
fn every_scenario_gives_its_plan() {
    folders::check("scenarios", 100, "plan.txt", |folder| Scenario::read(folder).plan());
}
