//! The table of known host and path forms: many spellings, one identity.
//!
//! Knows hosting products and their URL forms. Must not know schemes, credentials or hooks. It is applied to URLs and to hooks
//! alike, so where it joins two repositories that are different (a self-hosted group called `scm`), both sides agree, and the
//! price is a needless look at a ref, not a missed one. Applying it twice changes nothing. Its cases are in
//! `golden/repositories.txt`.

use crate::location::Location;

/// Hosts that answer under a second name, mostly SSH on port 443.
const ALIASES: [(&str, &str); 4] = [
    ("www.github.com", "github.com"),
    ("ssh.github.com", "github.com"),
    ("altssh.gitlab.com", "gitlab.com"),
    ("altssh.bitbucket.org", "bitbucket.org"),
];

/// Hosts whose paths mean what they say: no rule of a self-hosted product applies to them.
const PLAIN: [&str; 5] = ["github.com", "gitlab.com", "bitbucket.org", "codeberg.org", "git.sr.ht"];

const AZURE: &str = "dev.azure.com";
const AZURE_SSH: &str = "ssh.dev.azure.com";
const AZURE_OLD: &str = ".visualstudio.com";
const AZURE_OLD_SSH: &str = "vs-ssh.visualstudio.com";
const DEFAULT_COLLECTION: &str = "defaultcollection";

/// The host and path under which a repository is known to Towline.
pub(crate) fn canonical(location: Location) -> (String, Vec<String>) {
    let Location { host, user, mut segments } = location;
    let host = match ALIASES.iter().find(|(alias, _)| *alias == host) {
        Some((_, name)) => (*name).to_owned(),
        None => host,
    };
    if host == AZURE || host == AZURE_SSH || host.ends_with(AZURE_OLD) {
        return azure(host, user, segments);
    }
    if !PLAIN.contains(&host.as_str()) {
        while without_azure_marker(&mut segments) || without_bitbucket_marker(&mut segments) {}
    }
    (host, segments)
}

/// Azure DevOps Services: `dev.azure.com/org/project/repo`, whatever the age of the URL.
fn azure(host: String, user: Option<String>, mut segments: Vec<String>) -> (String, Vec<String>) {
    let ssh = host == AZURE_SSH || host == AZURE_OLD_SSH;
    if ssh && segments.len() == 4 && segments[0] == "v3" {
        segments.remove(0);
    } else if host == AZURE_OLD_SSH {
        // ssh://org@vs-ssh.visualstudio.com:22/project/_ssh/repo
        let Some(organisation) = user else { return (host, segments) };
        segments.insert(0, organisation);
    } else if let Some(organisation) = host.strip_suffix(AZURE_OLD) {
        segments.insert(0, organisation.to_owned());
    }
    while without_collection(&mut segments) || without_azure_marker(&mut segments) {}
    // The project is left out where it has the repository's name: org/_git/repo.
    if let [organisation, repository] = segments.as_slice() {
        segments = vec![organisation.clone(), repository.clone(), repository.clone()];
    }
    (AZURE.to_owned(), segments)
}

/// `org/DefaultCollection/project/repo`: the services have one collection, and its name may stand in the path.
fn without_collection(segments: &mut Vec<String>) -> bool {
    let found = segments.len() > 3 && segments[1] == DEFAULT_COLLECTION;
    if found {
        segments.remove(1);
    }
    found
}

/// `…/project/_git/repo` and `…/project/_ssh/repo`, also `_git/_full/repo` and `_git/_optimized/repo`; Azure DevOps Server
/// has them behind any host and context path.
fn without_azure_marker(segments: &mut Vec<String>) -> bool {
    let marker = |segment: &String| segment == "_git" || segment == "_ssh";
    let Some(at) = segments.iter().position(marker) else { return false };
    if at == 0 || at + 1 >= segments.len() {
        return false;
    }
    segments.remove(at);
    if at + 1 < segments.len() && matches!(segments[at].as_str(), "_full" | "_optimized") {
        segments.remove(at);
    }
    // Each round takes a marker away and adds none: that is what ends the caller's loop.
    if at + 1 == segments.len() && segments[at - 1] == DEFAULT_COLLECTION && !marker(&segments[at]) {
        let repository = segments[at].clone();
        segments.push(repository);
    }
    true
}

/// Bitbucket Data Center: `[context/]scm/PROJECT/repo` is cloned, `projects/PROJECT/repos/repo` is in the browser's address
/// bar, `~user` is a personal project; SSH has none of these parts.
fn without_bitbucket_marker(segments: &mut Vec<String>) -> bool {
    let len = segments.len();
    if len >= 3 && segments[len - 3] == "scm" {
        segments.remove(len - 3);
        return true;
    }
    if len < 4 || segments[len - 2] != "repos" {
        return false;
    }
    match segments[len - 4].as_str() {
        "projects" => {}
        "users" => segments[len - 3].insert(0, '~'),
        _ => return false,
    }
    segments.remove(len - 2);
    segments.remove(len - 4);
    true
}
