//! The receiver as strangers and operators meet it: the real binary, a real nats-server, real Git hosts, and clients that mean
//! harm. Nothing is looked at but what it answers, stores, logs, and what it costs.
//!
//! Every test has a NATS server and receivers of its own. What must hold in all of them: a 202 is in the stream.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it has to be, in a helper too")]
#![expect(unreachable_pub, reason = "the modules are parts of one program, which has no outside")]

mod answers;
mod attack;
mod coalesce;
mod drain;
mod fake_github;
mod gitea;
mod hang_up;
mod hostile;
mod incidents;
mod memory;
mod nats_faults;
mod replicas;
mod sender;
mod set_up;
mod stored;
mod sweep;
mod wire;
mod world;
