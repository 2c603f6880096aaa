//! The harness, tried on itself: each part comes up, does its work, and goes away.

#![expect(clippy::unwrap_used, reason = "everything here is a test, helper functions too")]

mod api_proxy;
mod control_plane;
mod daemons;
mod git_hosts;
mod leaks;
mod nats;

use std::time::Duration;

/// For anything that is quick unless something is wrong.
const SOON: Duration = Duration::from_secs(60);
