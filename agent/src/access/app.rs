//! A GitHub App: who it is, and how it proves that.
//!
//! Knows the keys of its Secret and the signed token GitHub asks for. Must not know requests, nor the clock.

use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::secret::{Data, SecretError, optional_secret, optional_text, required_text};

/// Where GitHub answers for apps, unless the Secret names a server of one's own.
const API: &str = "https://api.github.com";

/// GitHub refuses more than ten minutes; a proof is used at once.
const PROOF_SECONDS: i64 = 300;
/// GitHub refuses one from the future; its own advice for clocks that differ.
const CLOCK_SKEW_SECONDS: i64 = 60;

/// An App and its installation.
#[derive(Clone)]
pub struct App {
    id: String,
    pub(super) installation: String,
    key: SecretString,
    /// Without a slash at its end.
    pub(super) api: String,
}

/// What tells two of them apart: whoever knows the numbers but not the key has another one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Identity([u8; 32]);

/// Reads the `githubApp…` keys, if there are any, for the repository at `url`.
pub(super) fn read(data: &Data, url: &str) -> Result<Option<App>, SecretError> {
    if !data.keys().any(|key| key.starts_with("githubApp")) {
        return Ok(None);
    }
    let number = |key: &'static str, needed_for: &'static str| {
        let text = required_text(data, key, needed_for)?;
        match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => Ok(text),
            false => Err(SecretError::Unreadable { key, expected: "a number" }),
        }
    };
    // A client id is as good as the number.
    let id = required_text(data, "githubAppID", "the App's number, from its settings")?;
    if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.') {
        return Err(SecretError::Unreadable { key: "githubAppID", expected: "a number" });
    }
    let installation = number("githubAppInstallationID", "the number at the end of the installation's address")?;
    let needed_for = "a private key of the App, in PEM as GitHub gives it";
    let key = optional_secret(data, "githubAppPrivateKey")?
        .ok_or(SecretError::Missing { key: "githubAppPrivateKey", needed_for })?;
    let api = optional_text(data, "githubAppBaseURL")?.unwrap_or_else(|| API.to_owned());
    let api = api.trim_end_matches('/').to_owned();
    let app = App { id, installation, key, api };
    if app.signer().is_none() {
        return Err(SecretError::Unreadable { key: "githubAppPrivateKey", expected: "an RSA private key in PEM" });
    }
    match (host(&app.api), host(url)) {
        (None, _) => Err(SecretError::Unreadable {
            key: "githubAppBaseURL",
            expected: "the address of GitHub's API, as in https://github.example/api/v3",
        }),
        // Its token would go to a host it is not for.
        (Some(api), Some(git)) if api.strip_prefix("api.").unwrap_or(&api) == git => Ok(Some(app)),
        _ => Err(SecretError::Elsewhere),
    }
}

/// The host of a URL without account and port, in small letters.
fn host(url: &str) -> Option<String> {
    let (scheme, rest) = url.trim().split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().filter(|authority| !authority.is_empty())?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https").then(|| host.to_ascii_lowercase())
}

impl App {
    pub(super) fn identity(&self) -> Identity {
        let mut digest = Sha256::new();
        for part in [&self.api, &self.id, &self.installation, self.key.expose_secret()] {
            digest.update(part.len().to_le_bytes());
            digest.update(part.as_bytes());
        }
        Identity(digest.finalize().into())
    }

    /// A token by which GitHub knows the App for some minutes: a JWT under RS256. `None` if the key cannot sign.
    pub(super) fn proof(&self, now: Timestamp) -> Option<SecretString> {
        let header = json!({"alg": "RS256", "typ": "JWT"});
        let begins = now.as_second() - CLOCK_SKEW_SECONDS;
        let claims = json!({"iat": begins, "exp": now.as_second() + PROOF_SECONDS, "iss": self.id});
        let encode = |value: serde_json::Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = self.signer()?.sign(signed.as_bytes()).ok()?;
        Some(SecretString::from(format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))))
    }

    fn signer(&self) -> Option<Box<dyn rustls::sign::Signer>> {
        let key = PrivateKeyDer::from_pem_slice(self.key.expose_secret().as_bytes()).ok()?;
        any_supported_type(&key).ok()?.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256])
    }
}
