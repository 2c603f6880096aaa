//! One cluster's agent.
pub mod api;
pub mod mirror;
