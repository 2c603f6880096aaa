//! The whole of Towline on real parts: signed deliveries or pushes in, objects at the API server out.
//!
//! Every test has a namespace, a NATS server, a Git server and daemons of its own; the control plane is shared. Waits are
//! for conditions; a time that is asserted is a bound on patience, never on speed.

mod push;
mod world;
