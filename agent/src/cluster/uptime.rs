//! This machine's clock that goes on while it is suspended.
//!
//! `std::time::Instant` stops with the machine: a replica in a VM that was paused for a minute would believe that its Lease is
//! a moment old. Knows `/proc/uptime`, which is CLOCK_BOOTTIME to a hundredth of a second, at some microseconds a reading.

use std::time::Duration;

use towline_plan::members::Uptime;

/// How long the machine has been up.
///
/// # Errors
/// There is no `/proc`, or it says something else: then nothing can be known of a Lease.
pub fn uptime() -> std::io::Result<Uptime> {
    let text = std::fs::read_to_string("/proc/uptime")?;
    let seconds = text.split_ascii_whitespace().next().and_then(|first| first.parse().ok());
    let uptime = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    uptime.ok_or_else(|| std::io::Error::other("/proc/uptime does not begin with a number of seconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on() {
        let (first, start) = (uptime().unwrap(), std::time::Instant::now());
        while uptime().unwrap() == first {
            assert!(start.elapsed() < Duration::from_secs(60), "it stands still");
        }
        assert!(uptime().unwrap() > first);
    }
}
