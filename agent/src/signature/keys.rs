//! The keys that count: what a Secret holds, read.
//!
//! Knows names of a Secret's entries: `*.asc` are OpenPGP certificates, `*.sshpub` SSH public keys or `allowed_signers`
//! lines; others are passed over. One that cannot be read makes all of them unknown: a key that is silently missing would be
//! reported as the signer's fault.

use std::collections::BTreeMap;

use super::lines::{self, Line};
use super::openpgp::{self, Certificate};

/// Ten times the people who push to a large repository. Each signature is compared with all of them.
const KEYS_MAX: usize = 1_000;

/// Public keys by the entry they stand in.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    pub(super) openpgp: Vec<(String, Certificate)>,
    pub(super) ssh: Vec<(String, Line)>,
}

/// Why there are no keys to verify with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    #[error("its entry {entry:?} cannot be read: {problem}")]
    Entry { entry: String, problem: String },
    #[error("it has no entry *.asc or *.sshpub with a public key")]
    None,
    #[error("it has more than {KEYS_MAX} keys")]
    TooMany,
}

impl Keys {
    /// Whether an entry of a Secret is one of keys.
    #[must_use]
    pub fn is_entry(name: &str) -> bool {
        name.ends_with(".asc") || name.ends_with(".sshpub")
    }

    /// Reads a Secret's entries.
    ///
    /// # Errors
    /// What an operator has to put right in the Secret; names entries and lines, no contents.
    pub fn read(entries: &BTreeMap<String, Vec<u8>>) -> Result<Self, KeysError> {
        let mut keys = Self::default();
        for (entry, contents) in entries {
            let fail = |problem: String| KeysError::Entry { entry: entry.clone(), problem };
            let text = || std::str::from_utf8(contents).map_err(|_| fail("it is not text".to_owned()));
            let mut problem = None;
            if entry.ends_with(".asc") {
                let read = openpgp::parse(text()?).map_err(fail)?;
                problem = read.is_empty().then_some("there is no PGP PUBLIC KEY BLOCK in it");
                keys.openpgp.extend(read.into_iter().map(|certificate| (entry.clone(), certificate)));
            } else if entry.ends_with(".sshpub") {
                let read = lines::parse(text()?).map_err(fail)?;
                problem = read.is_empty().then_some("there is no key in it");
                keys.ssh.extend(read.into_iter().map(|line| (entry.clone(), line)));
            }
            if let Some(problem) = problem {
                return Err(fail(problem.to_owned()));
            }
        }
        match keys.openpgp.len() + keys.ssh.len() {
            0 => Err(KeysError::None),
            count if count > KEYS_MAX => Err(KeysError::TooMany),
            _ => Ok(keys),
        }
    }
}
