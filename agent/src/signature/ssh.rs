//! SSH signatures (`ssh-keygen -Y sign`).
//!
//! Knows sshsig: a key signs a hash of the content, for a namespace. It carries no time: what the committer says is used.

use jiff::Timestamp;
use ssh_key::{LineEnding, SshSig};

use super::keys::Keys;
use super::lines::{Line, is_strong, label};
use super::refusal::Why;
use super::signed::Signed;
use super::verify::{Sight, Signer};

/// What Git signs for.
const NAMESPACE: &str = "git";

pub(super) fn verify(signed: &Signed, keys: &Keys, sight: Sight, now: Timestamp) -> Result<Signer, Why> {
    let unreadable = |cause: &str| Why::Unreadable { cause: cause.to_owned() };
    let signature = SshSig::from_pem(signed.signature.trim_end()).map_err(|_| {
        unreadable("it is not an SSH signature by an ed25519, ECDSA or RSA key (certificates are not supported)")
    })?;
    // Lengths that do not fit are read leniently: only what would be written the same again is the signature.
    let is_same = |again: String| again.trim_end() == signed.signature.trim_end();
    if !signature.to_pem(LineEnding::LF).is_ok_and(is_same) {
        return Err(unreadable("it is not written in the one right way"));
    }
    let key = label(signature.public_key());
    if signature.namespace() != NAMESPACE {
        return Err(Why::Namespace { namespace: signature.namespace().chars().take(40).collect() });
    }
    if !signature.reserved().is_empty() || signature.version() != SshSig::VERSION {
        return Err(unreadable("it is of a later version"));
    }
    let known: Vec<_> = keys.ssh.iter().filter(|(_, line)| line.key.key_data() == signature.public_key()).collect();
    let Some((_, first)) = known.first() else { return Err(Why::UnknownKey { key }) };
    if !is_strong(signature.public_key()) {
        return Err(Why::WeakKey { key });
    }
    if first.key.verify(NAMESPACE, &signed.payload, &signature).is_err() {
        return Err(Why::Mismatch { key });
    }
    let judged = known.iter().map(|(entry, line)| judge(line, signed.claimed_at, sight, now).map(|()| entry.clone()));
    Signer::of(key, judged)
}

fn judge(line: &Line, claimed_at: Option<Timestamp>, sight: Sight, now: Timestamp) -> Result<(), Why> {
    let key = line.label();
    if !line.is_for_git {
        return Err(Why::NotForSigning { key });
    }
    // Without a time of its own it counts as signed now.
    let signed_at = claimed_at.unwrap_or(now);
    if let Some(at) = line.valid_after.filter(|after| signed_at < *after) {
        return Err(Why::NotYetValid { key, at });
    }
    match line.valid_before {
        Some(at) if signed_at >= at => Err(Why::ExpiredWhenSigned { key, at }),
        Some(at) if now >= at && sight == Sight::First => Err(Why::Expired { key, at }),
        _ => Ok(()),
    }
}
