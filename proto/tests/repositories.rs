//! Runs the golden table of repository identities, and the laws behind it.

use proptest::prelude::*;
use towline_proto::{RepositoryError, RepositoryId};

const TABLE: &str = include_str!("../golden/repositories.txt");

fn read(kind: &str, input: &str) -> Result<RepositoryId, RepositoryError> {
    match kind {
        "url" => RepositoryId::from_url(input),
        "id" => RepositoryId::parse(input),
        "hook" => {
            let parts: Vec<&str> = input.split('|').map(str::trim).collect();
            let [host, prefix, full_name] = parts.as_slice() else { panic!("a hook has three parts: {input}") };
            RepositoryId::from_hook(host, Some(*prefix).filter(|p| !p.is_empty()), full_name)
        }
        other => panic!("unknown kind of line: {other}"),
    }
}

#[test]
fn every_line_of_the_table_holds() {
    let mut wrong = Vec::new();
    let mut lines = 0;
    for (number, line) in TABLE.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        lines += 1;
        let (left, expected) = line.split_once("=>").unwrap_or_else(|| panic!("line {} has no =>", number + 1));
        let (kind, input) = left.trim().split_once(' ').unwrap_or((left.trim(), ""));
        let found = match read(kind, input.trim()) {
            Ok(id) => id.to_string(),
            Err(error) => format!("!{error:?}"),
        };
        if found != expected.trim() {
            wrong.push(format!("line {}: {} => {found}, expected {}", number + 1, left.trim(), expected.trim()));
        }
        if let Ok(id) = read(kind, input.trim()) {
            assert_eq!(RepositoryId::parse(id.as_str()), Ok(id.clone()), "line {}: not stable", number + 1);
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(lines > 100, "only {lines} lines were read");
}

#[test]
fn an_error_never_repeats_the_url() {
    for url in
        ["https://user:hunter2@", "hunter2:hunter2@host/x", "oci://u:hunter2@host/x", "https://u:hunter2@h ost/x"]
    {
        let error = RepositoryId::from_url(url).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}

#[test]
fn the_token_is_pinned() {
    // echo -n github.com/org/fleet | sha256sum, its first 16 bytes in base32.
    let id = RepositoryId::parse("github.com/org/fleet").unwrap();
    assert_eq!(id.token().as_str(), "efxeuqygphstowvhy2jgi7nl4a");
}

#[test]
fn a_long_identity_is_refused() {
    let url = format!("https://github.com/org/{}", "x".repeat(600));
    assert_eq!(RepositoryId::from_url(&url), Err(RepositoryError::TooLong));
}

proptest! {
    /// What was read once reads as itself: an identity survives being stored and read again.
    #[test]
    fn an_identity_is_stable(url in "(https://|ssh://git@|git@)?[a-zA-Z.\\[\\]:]{1,20}[:/](scm|_git|_ssh|v3|projects|users|repos|~|%41|ÜS|[a-z.]{1,4}|/){1,9}(\\.git)?/?") {
        if let Ok(id) = RepositoryId::from_url(&url) {
            prop_assert_eq!(RepositoryId::parse(id.as_str()), Ok(id));
        }
    }

    #[test]
    fn a_path_with_markers_is_stable(
        host in prop::sample::select(vec!["dev.azure.com", "ssh.dev.azure.com", "o.visualstudio.com", "vs-ssh.visualstudio.com", "git.example", "github.com"]),
        path in prop::collection::vec(prop::sample::select(vec!["scm", "_git", "_ssh", "_full", "v3", "projects", "users", "repos", "DefaultCollection", "a", "B.git", "~c"]), 1..8),
    ) {
        let url = format!("ssh://user@{host}/{}", path.join("/"));
        if let Ok(id) = RepositoryId::from_url(&url) {
            prop_assert_eq!(RepositoryId::parse(id.as_str()), Ok(id));
        }
    }

    #[test]
    fn nothing_panics(text in any::<String>(), host in any::<String>(), name in any::<String>()) {
        let _ = RepositoryId::from_url(&text);
        let _ = RepositoryId::parse(&text);
        if let Ok(id) = RepositoryId::from_hook(&host, Some(&text), &name) {
            prop_assert_eq!(RepositoryId::parse(id.as_str()), Ok(id));
        }
    }

    #[test]
    fn spelling_makes_no_difference(org in "[a-zA-Z0-9-]{1,12}", repo in "[a-zA-Z0-9_-]{1,12}", port in 1u16..) {
        let expected = RepositoryId::from_hook("git.example", None, &format!("{org}/{repo}")).unwrap();
        prop_assume!(org != "scm");
        for url in [
            format!("https://git.example/{org}/{repo}.git"),
            format!("https://u:p@git.example:{port}/{org}/{repo}/"),
            format!("ssh://git@git.example:{port}/{org}/{repo}.git"),
            format!("git@git.example:{org}/{repo}.git"),
            format!("http://GIT.example/{}/{}", org.to_uppercase(), repo.to_uppercase()),
        ] {
            prop_assert_eq!(RepositoryId::from_url(&url), Ok(expected.clone()), "{}", url);
        }
    }
}
