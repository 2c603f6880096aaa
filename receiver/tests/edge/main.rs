//! The edge in this process, on a real port, spoken to in plain bytes. NATS is away: what would be published is answered
//! with 503. That it is published when NATS is there is shown on real parts elsewhere.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod answers;
mod bodies;
mod client;
mod connections;
mod edge;
mod http;
mod slow;
mod tls;
