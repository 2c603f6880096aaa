//! SSH keys as files have them: plain public keys, and lines of an `allowed_signers` file.
//!
//! Knows ssh-keygen's `ALLOWED SIGNERS`. Must not know signatures.

use jiff::Timestamp;
use jiff::civil::DateTime;
use ssh_key::{HashAlg, PublicKey};

/// 2,048 bits in bytes: what NIST has asked for since 2013.
const RSA_BYTES_MIN: usize = 256;

/// A key, and when what it signs counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub key: PublicKey,
    pub valid_after: Option<Timestamp>,
    pub valid_before: Option<Timestamp>,
    /// It may sign, but not for Git.
    pub is_for_git: bool,
}

impl Line {
    pub(super) fn label(&self) -> String {
        label(self.key.key_data())
    }
}

pub(super) fn label(key: &ssh_key::public::KeyData) -> String {
    format!("SSH key {}", key.fingerprint(HashAlg::Sha256))
}

/// Whether a key is strong enough, whoever has it.
pub(super) fn is_strong(key: &ssh_key::public::KeyData) -> bool {
    use ssh_key::public::KeyData;
    match key {
        KeyData::Rsa(key) => key.n.as_positive_bytes().is_some_and(|modulus| modulus.len() >= RSA_BYTES_MIN),
        KeyData::Ed25519(_) | KeyData::SkEd25519(_) | KeyData::Ecdsa(_) | KeyData::SkEcdsaSha2NistP256(_) => true,
        // DSA among them, and those that are still to be invented.
        _ => false,
    }
}

/// All lines of a file; empty ones and comments are passed over. An error names the line, and not what it says.
pub(super) fn parse(text: &str) -> Result<Vec<Line>, String> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines.map(|(at, line)| parse_line(line).map_err(|problem| format!("line {at}: {problem}"))).collect()
}

fn parse_line(line: &str) -> Result<Line, String> {
    let not_a_key = || "not an SSH public key, alone or as in an allowed_signers file".to_owned();
    if line.contains("PRIVATE KEY") {
        return Err("a private key; the public one is needed".to_owned());
    }
    if let Ok(key) = PublicKey::from_openssh(line) {
        return strong(Line { key, valid_after: None, valid_before: None, is_for_git: true });
    }
    // Principals, perhaps options, then the key. What ssh-keygen calls principals plays no part: the Secret says who counts.
    let (_, rest) = split_word(line).ok_or_else(not_a_key)?;
    if let Ok(key) = PublicKey::from_openssh(rest) {
        return strong(Line { key, valid_after: None, valid_before: None, is_for_git: true });
    }
    let (options, rest) = split_word(rest).ok_or_else(not_a_key)?;
    let key = PublicKey::from_openssh(rest).map_err(|_| not_a_key())?;
    let mut line = Line { key, valid_after: None, valid_before: None, is_for_git: true };
    for option in options_of(options) {
        let (name, value) = option.split_once('=').unwrap_or((&option, ""));
        let value = value.trim_matches('"');
        match name.to_ascii_lowercase().as_str() {
            "namespaces" => line.is_for_git = value.split(',').any(|namespace| namespace.trim() == "git"),
            "valid-after" => line.valid_after = Some(moment(value)?),
            "valid-before" => line.valid_before = Some(moment(value)?),
            "cert-authority" => return Err("cert-authority: SSH certificates are not supported".to_owned()),
            _ => return Err("an option that is not known".to_owned()),
        }
    }
    strong(line)
}

fn strong(line: Line) -> Result<Line, String> {
    match is_strong(line.key.key_data()) {
        true => Ok(line),
        false => Err("too weak: RSA below 2048 bits and DSA are refused".to_owned()),
    }
}

/// The first word, in which quotes hold spaces, and the rest.
fn split_word(text: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    let end = text.find(|c: char| {
        quoted ^= c == '"';
        !quoted && c.is_whitespace()
    })?;
    Some((&text[..end], text[end..].trim_start()))
}

/// At commas outside quotes.
fn options_of(text: &str) -> Vec<String> {
    let (mut options, mut quoted) = (vec![String::new()], false);
    for c in text.chars() {
        quoted ^= c == '"';
        match (c, options.last_mut()) {
            (',', _) if !quoted => options.push(String::new()),
            (c, Some(option)) => option.push(c),
            (_, None) => {}
        }
    }
    options
}

/// `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`. In UTC, with or without a `Z`: an agent has no local time to speak of.
fn moment(value: &str) -> Result<Timestamp, String> {
    let digits = value.trim_end_matches(['Z', 'z']);
    let full = match digits.len() {
        8 => format!("{digits}000000"),
        12 => format!("{digits}00"),
        _ => digits.to_owned(),
    };
    let parsed = DateTime::strptime("%Y%m%d%H%M%S", &full).ok().filter(|_| full.len() == 14);
    let time = parsed.and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC).ok());
    time.map(|time| time.timestamp())
        .ok_or_else(|| "a time is written YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS".to_owned())
}
