//! The pure core: what to do, decided from values.
//!
//! ```text
//! Tree ─manifest─▶ Manifests ─desired─▶ Desired ┐
//!                                    Inventory ├─decide─▶ Plan ─check─▶ CheckedPlan ─(the agent applies)─▶ Outcomes ─report─▶ Report
//!                             Observed (reads) ┘
//! ```
//!
//! Beside it: `health` judges what the watches show after a plan was applied, `schedule` when there is a next pass.
pub mod adopt;
pub mod awaited;
pub mod barrier;
pub mod check;
pub mod claims;
pub mod contents;
pub mod decide;
pub mod depends;
pub mod desired;
pub mod diff;
pub mod disown;
pub mod display;
pub mod expression;
pub mod health;
pub mod identity;
pub mod ignore;
pub mod inventory;
pub mod letting;
pub mod manifest;
pub mod members;
pub mod naming;
pub mod object;
pub mod observed;
pub mod order;
pub mod ownership;
pub mod part;
pub mod placed;
pub mod pointer;
pub mod policy;
pub mod redact;
pub mod schedule;
pub mod selector;
pub mod tag_range;
pub mod tree;
pub mod wait;
pub mod watched;
pub mod waves;
