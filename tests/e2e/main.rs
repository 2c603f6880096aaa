//! The whole of Towline on real parts: signed deliveries or pushes in, objects at the API server out.
//!
//! Every test has a namespace, a NATS server, a Git server and daemons of its own; the control plane is shared. Waits are
//! for conditions; a time that is asserted is a bound on patience, never on speed.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it has to be, in a helper too")]
#![expect(unreachable_pub, reason = "the modules are parts of one program, which has no outside")]

mod access;
mod accounts;
mod admission;
mod adopt;
mod aggregated;
mod api_faults;
mod bootstrap;
mod broken_yaml;
mod contained;
mod contents;
mod crash;
mod definitions;
mod depends;
mod deploy;
mod drift;
mod elsewhere;
mod force_push;
mod forged;
mod git_faults;
mod health;
mod health_watch;
mod history;
mod holding;
mod ignored;
mod inventory;
mod jobs;
mod kill;
mod large;
mod letting_go;
mod look;
mod metrics;
mod moving;
mod nats_outage;
mod nested;
mod newer;
mod order;
mod policies;
mod preconditions;
mod prune;
mod push;
mod quiet;
mod recreate;
mod refs;
mod refusals;
mod replicas;
mod reports;
mod rotation;
mod scale;
mod signed;
mod stages;
mod teardown;
mod told;
mod two_pushes;
mod verify;
mod waiting;
mod warned;
mod workloads;
mod world;
