//! How many files and connections this process may have open: as many as the system allows, and what that leaves for
//! the public port. Knows the process; knows nothing of connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For NATS, the admin port, logs, files that are read again, and connections that were accepted and have no place yet.
const RESERVED: u64 = 64;

/// Raises the soft limit to the hard one. Returns how many of the wanted connections fit; if not all, it was said.
pub(crate) fn make_room(connections_max: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::warn!(error = %error, "failed to raise the limit of open files");
    }
    let open_files = getrlimit(Resource::Nofile).current;
    let places = fit(connections_max, open_files);
    if places < connections_max {
        tracing::warn!(
            connections_max,
            places,
            open_files,
            "limits.connections_max does not fit into the process's limit of open files: raise that limit (ulimit -Hn, \
             LimitNOFILE), or lower limits.connections_max"
        );
    }
    places
}

/// None: no limit.
fn fit(connections_max: usize, open_files: Option<u64>) -> usize {
    let room = open_files.map_or(u64::MAX, |files| files.saturating_sub(RESERVED).max(1));
    connections_max.min(usize::try_from(room).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_files_are_reserved() {
        assert_eq!(fit(1024, None), 1024);
        assert_eq!(fit(1024, Some(1_048_576)), 1024);
        assert_eq!(fit(1024, Some(1024)), 960);
        assert_eq!(fit(1024, Some(10)), 1);
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        make_room(1);
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
