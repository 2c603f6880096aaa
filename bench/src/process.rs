//! What a process has cost so far, as Linux counts it. Reads `/proc`, starts nothing.

use std::fs;
use std::time::Duration;

use serde::Serialize;

/// `USER_HZ`: 100 on every Linux that Rust runs on; the unit of the times in `/proc/<pid>/stat`.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cost {
    pub(crate) cpu_seconds: f64,
    /// The most that was resident at any time.
    pub(crate) peak_resident_mib: f64,
}

/// Zeroes when it has ended.
pub(crate) fn cost(pid: u32) -> Cost {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    let peak_kib = peak.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or_default();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may have spaces; utime and stime are the 14th and 15th fields, 12th and 13th after it.
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    Cost { cpu_seconds: ticks.sum::<f64>() / TICKS_PER_SECOND, peak_resident_mib: peak_kib / 1024.0 }
}

impl Cost {
    /// CPU time since an earlier reading.
    pub(crate) fn cpu_since(&self, earlier: &Self) -> Duration {
        Duration::from_secs_f64((self.cpu_seconds - earlier.cpu_seconds).max(0.0))
    }
}
