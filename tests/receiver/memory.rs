//! What a receiver may cost, from its configured limits, and what it costs, from `/proc`. A bound is a sum of what the
//! limits allow; it is never taken from a measurement.

use harness::towline::Daemon;

pub const KIB: u64 = 1024;
pub const MIB: u64 = 1024 * KIB;

/// One connection at its worst, as the limits reckon: twice a head of the largest size with what is read ahead, a record of TLS
/// in each direction, and its task.
const CONNECTION_BYTES: u64 = 64 * KIB;

/// What does not grow with an attack: pieces that the allocator keeps for each thread, the old piece of a body beside the new
/// one while it grows, the tables of addresses (5 MiB), and pages of the binary that are read in when code is first run.
const CONSTANT_BYTES: u64 = 24 * MIB;

/// The limits that bound memory, as a test configures them.
#[derive(Clone, Copy)]
pub struct Bounds {
    pub connections_max: u64,
    pub body_bytes_max: u64,
    pub bodies_bytes_max: u64,
}

/// Small, so that an attack passes them many times over in a moment.
pub const SMALL: Bounds = Bounds { connections_max: 256, body_bytes_max: MIB, bodies_bytes_max: 16 * MIB };

impl Bounds {
    /// Lines of the `[limits]` table.
    pub fn toml(&self) -> String {
        let Self { connections_max, body_bytes_max, bodies_bytes_max } = self;
        format!(
            "connections_max = {connections_max}\nbody_bytes_max = {body_bytes_max}\nbodies_bytes_max = {bodies_bytes_max}\n"
        )
    }

    /// By how much memory may grow, whatever strangers do.
    fn growth_bytes_max(&self) -> u64 {
        self.connections_max * CONNECTION_BYTES + self.bodies_bytes_max + CONSTANT_BYTES
    }
}

/// A receiver's memory before something happens to it.
pub struct Before {
    bounds: Bounds,
    resident_bytes: u64,
}

impl Before {
    pub fn of(daemon: &mut Daemon, bounds: Bounds) -> Self {
        Self { bounds, resident_bytes: daemon.process().unwrap().resident_bytes() }
    }

    /// The highest since then was within the bounds.
    pub fn assert_bounded(&self, daemon: &mut Daemon) {
        let peak = daemon.process().unwrap().peak_resident_bytes();
        assert!(peak > 0, "the receiver is gone:\n{}", daemon.log_tail());
        let (growth, most) = (peak.saturating_sub(self.resident_bytes), self.bounds.growth_bytes_max());
        assert!(growth <= most, "memory grew by {} MiB; the limits allow {} MiB", growth / MIB, most / MIB);
    }
}
