//! The receiver as strangers and operators meet it: the real binary, a real nats-server, real Git hosts, and clients that mean
//! harm. Nothing is looked at but what it answers, stores, logs, and what it costs.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it has to be, in a helper too")]
#![expect(unreachable_pub, reason = "the modules are parts of one program, which has no outside")]

mod fake_github;
mod sweep;
