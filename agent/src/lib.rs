//! One cluster's agent: it dials out, is woken by events, pulls repositories itself and keeps the cluster equal to them.
//!
//! In the order in which a revision travels:
//!
//! 1. [`config`]: what is connected to. [`run()`] puts the parts together.
//! 2. [`bus`]: NATS wakes; [`access`]: what a Git server is spoken to with; [`mirror`]: Git is fetched and read without a checkout.
//! 3. [`engine`]: one loop decides what runs when, for sources and Syncs.
//! 4. [`pass`]: revision → tree → manifests → observed → plan → checked plan → outcomes.
//! 5. [`cluster`]: the API server, its watches and our own records there; [`api`]: their shapes.
//! 6. [`report`]: what is said about it, on the cluster and through [`bus`] to the fleet; [`metrics`]: what is counted.

pub mod access;
pub mod api;
pub mod bus;
pub mod cluster;
pub mod config;
pub mod engine;
pub mod metrics;
pub mod mirror;
pub mod pass;
pub mod replicas;
pub mod report;
mod run;
pub mod signature;

pub use run::{RunError, run};
