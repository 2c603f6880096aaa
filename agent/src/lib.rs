//! One cluster's agent.
pub mod api;
pub mod bus;
pub mod cluster;
pub mod engine;
pub mod pass;
pub mod report;
pub mod mirror;
