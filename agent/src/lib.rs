//! One cluster's agent.
pub mod api;
pub mod cluster;
pub mod mirror;
