//! Where credentials may go without TLS: nowhere, unless a host is named.

use std::collections::BTreeSet;
use std::sync::Arc;

/// Hosts, with or without a port, as in `git.internal` or `127.0.0.1:3000`. Without one, every port of the host is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlainHttp(Arc<BTreeSet<String>>);

/// What is no host.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no host: name it as in git.internal or 127.0.0.1:3000, without a scheme, path or wildcard")]
pub struct PlainHttpError(String);

impl PlainHttp {
    /// # Errors
    /// The first that is no host.
    pub fn parse(hosts: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, PlainHttpError> {
        let hosts = hosts.into_iter().map(|host| {
            let host = host.as_ref().trim().to_ascii_lowercase();
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']' | b'_');
            if host.is_empty() || !host.bytes().all(plain) { Err(PlainHttpError(host)) } else { Ok(host) }
        });
        hosts.collect::<Result<BTreeSet<_>, _>>().map(|hosts| Self(Arc::new(hosts)))
    }

    /// Whether credentials may be sent to this host in the clear.
    #[must_use]
    pub fn allows(&self, host: &str, port: u16) -> bool {
        let host = host.to_ascii_lowercase();
        self.0.contains(&host) || self.0.contains(&format!("{host}:{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_named_whole() {
        let hosts = PlainHttp::parse(["Git.Internal", "127.0.0.1:3000", "[::1]:80"]).unwrap();
        for (host, port) in [("git.internal", 80), ("GIT.internal", 8080), ("127.0.0.1", 3000), ("[::1]", 80)] {
            assert!(hosts.allows(host, port), "{host}:{port}");
        }
        for (host, port) in [("internal", 80), ("x.git.internal", 80), ("127.0.0.1", 3001), ("[::1]", 81), ("", 0)] {
            assert!(!hosts.allows(host, port), "{host}:{port}");
        }
        assert!(!PlainHttp::default().allows("localhost", 80));
        for wrong in ["http://git.internal", "*.internal", "git.internal/x", ""] {
            assert!(PlainHttp::parse([wrong]).is_err(), "{wrong}");
        }
    }
}
