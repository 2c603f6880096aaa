//! Splits the text of a Git URL into host, user and path.
//!
//! Knows the spellings Git accepts (scheme URLs and `user@host:path`). Must not know any host by name: that is the table's
//! business. Errors never repeat the text, because a URL may carry a password.

use crate::repository::RepositoryError;

/// A repository's place before the table of hosts is applied: all lower case, path split and decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) host: String,
    /// Only one old Azure form needs it: there the organisation is the user.
    pub(crate) user: Option<String>,
    pub(crate) segments: Vec<String>,
}

/// Reads what Git calls a URL: `https`, `http`, `ssh`, `git` (and the synonyms `git+ssh`, `ssh+git`), or the scp-like form.
pub(crate) fn from_url(url: &str) -> Result<Location, RepositoryError> {
    let url = url.trim();
    match url.split_once("://") {
        Some((scheme, rest)) => from_scheme(&scheme.to_ascii_lowercase(), rest),
        None => from_scp(url),
    }
}

/// Joins a host (a port is dropped) and plain, not percent-encoded, path parts.
pub(crate) fn from_parts(host: &str, paths: &[&str]) -> Result<Location, RepositoryError> {
    let segments = paths.iter().flat_map(|path| path.split('/')).map(str::to_owned);
    location(host, None, segments)
}

fn from_scheme(scheme: &str, rest: &str) -> Result<Location, RepositoryError> {
    if !matches!(scheme, "https" | "http" | "ssh" | "git" | "git+ssh" | "ssh+git") {
        return Err(RepositoryError::Scheme);
    }
    if rest.contains(['?', '#']) {
        return Err(RepositoryError::Query);
    }
    let (authority, path) = rest.split_once('/').ok_or(RepositoryError::Path)?;
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (user.split(':').next().map(str::to_owned), host),
        None => (None, authority),
    };
    let segments = path.split('/').map(percent_decode).collect::<Result<Vec<_>, _>>()?;
    location(host, user, segments.into_iter())
}

/// `[user@]host:path`, where, as in Git, no slash stands before the colon. `[host:port]:path` and `[::1]:path` are forms of it.
fn from_scp(url: &str) -> Result<Location, RepositoryError> {
    let colon = scp_colon(url).ok_or(RepositoryError::Scheme)?;
    let (authority, path) = (&url[..colon], &url[colon + 1..]);
    // `ext::command` is a transport helper, not a host.
    if authority.contains(['/', '\\']) || path.starts_with(':') {
        return Err(RepositoryError::Scheme);
    }
    // `user:password@host/path` without a scheme would otherwise put the password into the identity.
    if !authority.contains('@') && path.contains('@') {
        return Err(RepositoryError::Path);
    }
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user.trim_start_matches('[').to_owned()), host),
        None => (None, authority),
    };
    let inner = host.trim_start_matches('[').trim_end_matches(']');
    // Two colons or more make an IPv6 address; one makes a host and a port.
    let host = if inner.matches(':').count() > 1 { format!("[{inner}]") } else { inner.to_owned() };
    let segments = path.split('/').map(percent_decode).collect::<Result<Vec<_>, _>>()?;
    location(&host, user, segments.into_iter())
}

/// The first colon, or the first after a host in brackets.
fn scp_colon(url: &str) -> Option<usize> {
    let first = url.find(':')?;
    if !url[..first].contains('[') {
        return Some(first);
    }
    let closed = url.find(']')?;
    Some(closed + url[closed..].find(':')?)
}

fn location(
    host: &str,
    user: Option<String>,
    segments: impl Iterator<Item = String>,
) -> Result<Location, RepositoryError> {
    let host = host_name(host)?;
    let segments = segments.map(|s| s.to_lowercase()).filter(|s| !s.is_empty()).collect();
    let segments = without_git_suffix(segments);
    for segment in &segments {
        let odd = |c: char| c.is_control() || c == '/' || c == '\\';
        if segment == "." || segment == ".." || segment.contains(odd) || segment.trim() != segment {
            return Err(RepositoryError::Path);
        }
    }
    if segments.is_empty() {
        return Err(RepositoryError::Path);
    }
    Ok(Location { host, user: user.map(|u| u.to_lowercase()), segments })
}

/// Drops `.git`, also as a folder of its own (a clone of a working copy), until nothing changes.
fn without_git_suffix(mut segments: Vec<String>) -> Vec<String> {
    while let Some(last) = segments.last_mut() {
        match last.strip_suffix(".git").map(str::len) {
            Some(len) => last.truncate(len),
            None if last.is_empty() => {
                segments.pop();
            }
            None => break,
        }
    }
    segments
}

fn host_name(host: &str) -> Result<String, RepositoryError> {
    let host = host.to_ascii_lowercase();
    if let Some(rest) = host.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or(RepositoryError::Host)?;
        let address: std::net::Ipv6Addr = address.parse().map_err(|_| RepositoryError::Host)?;
        let port_ok = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return if port_ok { Ok(format!("[{address}]")) } else { Err(RepositoryError::Host) };
    }
    let name = match host.split_once(':') {
        Some((name, port)) if is_port(port) => name,
        Some(_) => return Err(RepositoryError::Host),
        None => &host,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let label_ok =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    // 253: the longest name DNS can carry.
    if name.len() > 253 || !name.split('.').all(label_ok) {
        return Err(RepositoryError::Host);
    }
    Ok(name.to_owned())
}

fn is_port(text: &str) -> bool {
    text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit())
}

fn percent_decode(segment: &str) -> Result<String, RepositoryError> {
    if !segment.contains('%') {
        return Ok(segment.to_owned());
    }
    let mut decoded = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2).ok_or(RepositoryError::Path)?;
        let value = data_encoding::HEXLOWER_PERMISSIVE.decode(digits).map_err(|_| RepositoryError::Path)?;
        decoded.extend(value);
        rest = tail;
    }
    String::from_utf8(decoded).map_err(|_| RepositoryError::Path)
}
