//! The real parts, started and stopped for tests and the demo: a Kubernetes control plane, NATS, Git hosts and
//! Towline's own binaries. A test asks for parts, acts, and waits for a condition; it never sleeps.
//!
//! The order of the modules: what every part needs, then outside parts, then ours.
//!
//! - [`failure`], [`wait`]: one error type; waiting for a condition with a deadline.
//! - [`guard`], [`process`]: a started process ends with the test, however the test ends.
//! - [`tools`], [`ports`], [`certs`]: where binaries are; ports that stay ours over a restart; throw-away certificates.
//! - [`control_plane`]: etcd, kube-apiserver, controller manager, identities, the CRDs.
//! - [`api_proxy`]: every request of a client to the API server seen, and faults committed on them.
//! - [`nats`], [`streams`]: a nats-server with users and file storage; Towline's streams.
//! - [`gate`]: cuts off who goes through it.
//! - [`git_server`], [`repo`]: `git http-backend` with faults; a repository that tests write to.
//! - [`gitea`]: a real Git host, for its own webhooks.
//! - [`towline`], [`config`]: Towline's binaries as processes, and their configuration files.
//!
//! Nothing here may know what a test wants to show.

pub mod api_proxy;
pub mod certs;
pub mod config;
pub mod control_plane;
pub mod failure;
pub mod gate;
pub mod git_server;
pub mod gitea;
pub mod guard;
pub mod nats;
pub mod ports;
pub mod process;
pub mod repo;
pub mod streams;
pub mod tools;
pub mod towline;
pub mod wait;

pub use failure::Failure;
pub use wait::wait_until;
