//! A Secret's data to credentials.
//!
//! Knows the keys, which are Flux's, and which of them go together. Every mistake is named by its key.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretSlice, SecretString};

use super::tls::{certificates, fit, is_key};
use super::{Access, App, ClientIdentity, Login, SshKey, Tls};

/// What a Secret holds, by key. Zeroed when it is dropped.
pub type Data = BTreeMap<String, SecretSlice<u8>>;

/// Why a Secret is of no use. Never with anything it holds.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SecretError {
    #[error("it has no key {key}: {needed_for}")]
    Missing { key: &'static str, needed_for: &'static str },
    #[error("its key {key} is not {expected}")]
    Unreadable { key: &'static str, expected: &'static str },
    #[error("it has both {one} and {other}, which are two logins: remove one")]
    Both { one: &'static str, other: &'static str },
    #[error("its keys tls.crt and tls.key do not belong together")]
    Unfit,
    #[error(
        "its GitHub App is of another host than the repository: githubAppBaseURL names the API of the host in spec.url"
    )]
    Elsewhere,
    #[error("it has no key that is used over {transport}: {known}")]
    Nothing { transport: &'static str, known: &'static str },
}

/// What a Secret gives.
#[derive(Clone, Default)]
pub struct Credentials {
    pub access: Access,
    /// Whose installation token is the login.
    pub app: Option<App>,
}

/// The keys of HTTPS, as a person is told them.
const KNOWN_HTTP: &str = "username and password, bearerToken, githubAppID, ca.crt, tls.crt and tls.key";

/// Reads the Secret of `secretRef` for the server at `url`.
///
/// # Errors
/// What is missing, too much, or not what it should be, by its key.
pub fn read(data: &Data, url: &str) -> Result<Credentials, SecretError> {
    let lower = url.trim_start().get(..8).unwrap_or(url).to_ascii_lowercase();
    if !lower.starts_with("http://") && !lower.starts_with("https://") {
        return Ok(Credentials { access: Access { ssh: Some(ssh(data)?), ..Access::default() }, app: None });
    }
    let (login, tls, app) = (login(data)?, tls(data)?, super::app::read(data, url)?);
    match &login {
        Some(Login::Basic { .. }) if app.is_some() => {
            return Err(SecretError::Both { one: "username", other: "githubAppID" });
        }
        Some(Login::Bearer(_)) if app.is_some() => {
            return Err(SecretError::Both { one: "bearerToken", other: "githubAppID" });
        }
        _ => {}
    }
    if login.is_none() && app.is_none() && tls.authorities.is_empty() && tls.client.is_none() {
        return Err(SecretError::Nothing { transport: "HTTPS", known: KNOWN_HTTP });
    }
    Ok(Credentials { access: Access { login, tls, ..Access::default() }, app })
}

fn login(data: &Data) -> Result<Option<Login>, SecretError> {
    let (username, password) = (optional_text(data, "username")?, optional_secret(data, "password")?);
    let token = optional_secret(data, "bearerToken")?;
    match (username, password, token) {
        (None, None, None) => Ok(None),
        (None, None, Some(token)) => Ok(Some(Login::Bearer(token))),
        (_, Some(_), Some(_)) | (Some(_), _, Some(_)) => {
            Err(SecretError::Both { one: "username", other: "bearerToken" })
        }
        (Some(username), Some(_), None) if username.contains(':') => {
            Err(SecretError::Unreadable { key: "username", expected: "a name without a colon" })
        }
        (Some(username), Some(password), None) => Ok(Some(Login::Basic { username, password })),
        (Some(_), None, None) => {
            Err(SecretError::Missing { key: "password", needed_for: "username needs it; a token is a password, too" })
        }
        (None, Some(_), None) => Err(SecretError::Missing {
            key: "username",
            needed_for: "password needs it; with a token most hosts take any name, as in git",
        }),
    }
}

fn tls(data: &Data) -> Result<Tls, SecretError> {
    let authorities = match bytes(data, "ca.crt") {
        None => Vec::new(),
        Some(pem) => certificates(pem)
            .ok_or(SecretError::Unreadable { key: "ca.crt", expected: "one or more certificates in PEM" })?,
    };
    let client = match (bytes(data, "tls.crt"), bytes(data, "tls.key")) {
        (None, None) => None,
        (Some(_), None) => return Err(SecretError::Missing { key: "tls.key", needed_for: "tls.crt needs it" }),
        (None, Some(_)) => return Err(SecretError::Missing { key: "tls.crt", needed_for: "tls.key needs it" }),
        (Some(certificate), Some(key)) => Some(client(certificate, key)?),
    };
    Ok(Tls { authorities, client })
}

fn client(certificate: &[u8], key: &[u8]) -> Result<ClientIdentity, SecretError> {
    if certificates(certificate).is_none() {
        return Err(SecretError::Unreadable { key: "tls.crt", expected: "a certificate in PEM" });
    }
    if !is_key(key) {
        return Err(SecretError::Unreadable { key: "tls.key", expected: "an unencrypted private key in PEM" });
    }
    if !fit(certificate, key) {
        return Err(SecretError::Unfit);
    }
    let mut pem = Vec::with_capacity(key.len() + certificate.len() + 1);
    pem.extend_from_slice(key);
    pem.push(b'\n');
    pem.extend_from_slice(certificate);
    Ok(ClientIdentity(SecretSlice::from(pem)))
}

fn ssh(data: &Data) -> Result<SshKey, SecretError> {
    let needed_for = "a private key, as ssh-keygen writes it";
    let identity = optional_secret(data, "identity")?.ok_or(SecretError::Missing { key: "identity", needed_for })?;
    if !identity.expose_secret().contains("-----BEGIN ") {
        return Err(SecretError::Unreadable {
            key: "identity",
            expected: "a private key in PEM, as ssh-keygen writes it",
        });
    }
    let known_hosts = required_text(data, "known_hosts", "the server's keys, as ssh-keyscan prints them")?;
    Ok(SshKey { identity, passphrase: optional_secret(data, "password")?, known_hosts })
}

fn bytes<'a>(data: &'a Data, key: &str) -> Option<&'a [u8]> {
    // An empty value is a key somebody has not filled in.
    data.get(key).map(|value| value.expose_secret()).filter(|value| !value.is_empty())
}

/// Without the line end that editors and `--from-file` leave.
fn text<'a>(data: &'a Data, key: &'static str) -> Result<Option<&'a str>, SecretError> {
    let Some(bytes) = bytes(data, key) else { return Ok(None) };
    let text = str::from_utf8(bytes).map_err(|_| SecretError::Unreadable { key, expected: "text" })?;
    let text = text.trim_end_matches(['\r', '\n']);
    // It becomes a header, where a line end would begin another one. Keys and lists of hosts have lines.
    let has_lines = matches!(key, "identity" | "known_hosts" | "githubAppPrivateKey");
    if !has_lines && text.contains(|c: char| c.is_control()) {
        return Err(SecretError::Unreadable { key, expected: "one line of text" });
    }
    Ok((!text.is_empty()).then_some(text))
}

pub(super) fn optional_text(data: &Data, key: &'static str) -> Result<Option<String>, SecretError> {
    Ok(text(data, key)?.map(str::to_owned))
}

pub(super) fn optional_secret(data: &Data, key: &'static str) -> Result<Option<SecretString>, SecretError> {
    Ok(text(data, key)?.map(SecretString::from))
}

pub(super) fn required_text(data: &Data, key: &'static str, needed_for: &'static str) -> Result<String, SecretError> {
    optional_text(data, key)?.ok_or(SecretError::Missing { key, needed_for })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HTTPS: &str = "https://git.example/org/fleet.git";
    const SSH: &str = "ssh://git@git.example/org/fleet.git";

    fn data<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Data {
        pairs.into_iter().map(|(key, value)| (key.to_owned(), SecretSlice::from(value.as_bytes().to_vec()))).collect()
    }

    fn header(pairs: &[(&str, &str)]) -> String {
        let credentials = read(&data(pairs.iter().copied()), HTTPS).map_err(|error| error.to_string()).unwrap();
        credentials.access.login.unwrap().header().expose_secret().to_owned()
    }

    fn refusal(pairs: &[(&str, &str)], url: &str) -> String {
        let error = read(&data(pairs.iter().copied()), url).err().unwrap();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("hunter2"), "{text}");
        error.to_string()
    }

    #[test]
    fn a_login_is_basic_or_bearer() {
        assert_eq!(header(&[("username", "robot"), ("password", "hunter2")]), "Basic cm9ib3Q6aHVudGVyMg==");
        assert_eq!(header(&[("username", "robot\n"), ("password", "hunter2\r\n")]), "Basic cm9ib3Q6aHVudGVyMg==");
        assert_eq!(header(&[("bearerToken", "hunter2\n")]), "Bearer hunter2");
    }

    #[test]
    fn what_is_wrong_is_named_by_its_key_and_never_shown() {
        let (name, word, token) = (("username", "hunter2"), ("password", "hunter2"), ("bearerToken", "hunter2"));
        for (pairs, part) in [
            (vec![], "no key that is used over HTTPS"),
            (vec![("passwort", "hunter2")], "no key that is used over HTTPS"),
            (vec![name], "no key password"),
            (vec![name, ("password", "")], "no key password"),
            (vec![word], "no key username"),
            (vec![name, word, token], "both username and bearerToken"),
            (vec![word, token], "both username and bearerToken"),
            (vec![("username", "hunter2:"), word], "without a colon"),
            (vec![("bearerToken", "hunter2\nX-Other: 1")], "key bearerToken is not one line"),
            (vec![("ca.crt", "hunter2")], "key ca.crt is not one or more certificates"),
            (vec![("tls.crt", "hunter2")], "no key tls.key"),
            (vec![("tls.key", "hunter2")], "no key tls.crt"),
            (vec![("tls.crt", "hunter2"), ("tls.key", "hunter2")], "key tls.crt is not a certificate"),
        ] {
            let said = refusal(&pairs, HTTPS);
            assert!(said.contains(part), "{part}: {said}");
        }
    }

    #[test]
    fn a_key_for_ssh_comes_with_the_servers_it_is_for() {
        let (key, hosts) =
            (("identity", "-----BEGIN OPENSSH PRIVATE KEY-----\n…"), ("known_hosts", "git.example ssh-ed25519 AA"));
        for url in [SSH, "git@git.example:org/fleet.git", "git.example:fleet"] {
            let access = read(&data([key, hosts, ("password", "hunter2")]), url).ok().unwrap().access;
            let ssh = access.ssh.unwrap();
            assert_eq!(ssh.known_hosts, hosts.1);
            assert!(access.login.is_none() && ssh.passphrase.is_some());
        }
        assert!(refusal(&[hosts], SSH).contains("no key identity"));
        assert!(refusal(&[key], SSH).contains("no key known_hosts"));
        assert!(refusal(&[("identity", "hunter2"), hosts], SSH).contains("key identity is not a private key"));
        assert!(refusal(&[key, hosts], HTTPS).contains("no key that is used over HTTPS"));
    }
}
