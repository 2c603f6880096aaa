//! OpenPGP: certificates, and signatures by their keys.
//!
//! Knows which of a certificate's keys may sign, from when to when. Where `gpg` would warn, this refuses: a cluster has nobody
//! who reads warnings. A revocation counts whatever its reason and date, because who has the key can date signatures back.

use jiff::{SignedDuration, Timestamp};
use pgp::composed::{Deserializable as _, DetachedSignature, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::packet::{Signature, SignatureType, SignatureVersion, SubpacketData};
use pgp::ser::Serialize as _;
use pgp::types::{KeyDetails, PublicParams, Tag, VerifyingKey};

use super::keys::Keys;
use super::refusal::Why;
use super::signed::Signed;
use super::verify::{Sight, Signer};

/// How far a signer's clock may be ahead of ours.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(5);

/// An RSA key of 2,048 bits, as it is written: two lengths, the modulus, and an exponent of at least a byte.
const RSA_BYTES_MIN: usize = 2 + 256 + 2 + 1;

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// A primary key with what it says of itself and its subkeys.
#[derive(Debug, Clone)]
pub(super) struct Certificate(SignedPublicKey);

/// One key of a certificate, as far as its own signatures say.
struct Standing {
    may_sign: bool,
    expires: Option<Timestamp>,
}

/// All certificates of a file; text around the blocks is passed over.
pub(super) fn parse(text: &str) -> Result<Vec<Certificate>, String> {
    if text.contains("PRIVATE KEY BLOCK") {
        return Err("a private key; the public one is needed".to_owned());
    }
    let mut certificates = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(BEGIN) {
        let block = &rest[at..];
        let end = block.find(END).ok_or("the end of a PGP PUBLIC KEY BLOCK is missing")? + END.len();
        let unreadable = |_| "a PGP PUBLIC KEY BLOCK cannot be read".to_owned();
        let (keys, _) = SignedPublicKey::from_armor_many(&block.as_bytes()[..end]).map_err(unreadable)?;
        for key in keys {
            certificates.push(Certificate(key.map_err(unreadable)?));
        }
        rest = &block[end..];
    }
    Ok(certificates)
}

pub(super) fn verify(signed: &Signed, keys: &Keys, sight: Sight, now: Timestamp) -> Result<Signer, Why> {
    let signature = read(&signed.signature)?;
    let made_at = plausible(&signature, now)?;
    let label = named(&signature);
    let mut judged = Vec::new();
    let mut signer = None;
    for (entry, certificate) in &keys.openpgp {
        for part in certificate.parts().filter(|part| part.is_issuer_of(&signature)) {
            let key = part.label();
            if !part.is_strong() {
                judged.push(Err(Why::WeakKey { key }));
                continue;
            }
            if part.verifies(&signature, &signed.payload) {
                signer = Some(key.clone());
                judged.push(certificate.judge(&part, made_at, sight, now).map(|()| entry.clone()));
            } else {
                judged.push(Err(Why::Mismatch { key }));
            }
        }
    }
    if judged.is_empty() {
        return Err(Why::UnknownKey { key: label });
    }
    Signer::of(signer.unwrap_or(label), judged)
}

/// One signature, written as it would be written again.
fn read(armored: &str) -> Result<Signature, Why> {
    let unreadable = |cause: &str| Why::Unreadable { cause: cause.to_owned() };
    let (mut all, _) =
        DetachedSignature::from_armor_many(armored.as_bytes()).map_err(|_| unreadable("its armor is damaged"))?;
    let first = all.next().ok_or(unreadable("it is empty"))?;
    let signature = first.map_err(|_| unreadable("it is not an OpenPGP signature"))?;
    match all.next() {
        None => {}
        Some(Ok(_)) => return Err(Why::Several),
        Some(Err(_)) => return Err(unreadable("something else follows it")),
    }
    let mut dearmored = Vec::new();
    let mut armor = pgp::armor::Dearmor::new(armored.as_bytes());
    std::io::Read::read_to_end(&mut armor, &mut dearmored).map_err(|_| unreadable("its armor is damaged"))?;
    let again = signature.to_bytes().map_err(|_| unreadable("it is not an OpenPGP signature"))?;
    if again != dearmored {
        return Err(unreadable("it is not written in the one right way"));
    }
    Ok(signature.signature)
}

/// What can be said of a signature before its key is known; answers with when it was made.
fn plausible(signature: &Signature, now: Timestamp) -> Result<Timestamp, Why> {
    let unreadable = |cause: &str| Why::Unreadable { cause: cause.to_owned() };
    let config = signature.config().ok_or(unreadable("its version is not known"))?;
    if !matches!(signature.version(), SignatureVersion::V4 | SignatureVersion::V6) {
        return Err(unreadable("its version is neither 4 nor 6"));
    }
    if config.typ() != SignatureType::Binary {
        return Err(unreadable("it is not one of a document"));
    }
    if !is_strong(config.hash_alg) {
        return Err(Why::WeakHash { hash: config.hash_alg.to_string() });
    }
    // What is not covered by the signature may only name its key, which is compared.
    let only_issuer = config.unhashed_subpackets().all(|part| {
        !part.is_critical && matches!(part.data, SubpacketData::IssuerKeyId(_) | SubpacketData::IssuerFingerprint(_))
    });
    if !only_issuer {
        return Err(unreadable("its unprotected part says more than whose it is"));
    }
    let is_beyond_us = |data: &SubpacketData| {
        matches!(data, SubpacketData::Notation(_) | SubpacketData::Experimental(..) | SubpacketData::Other(..))
    };
    if config.hashed_subpackets().any(|part| part.is_critical && is_beyond_us(&part.data)) {
        return Err(unreadable("it says something critical that is not understood"));
    }
    let made = signature.created().ok_or(unreadable("it does not say when it was made"))?;
    let made_at = moment(made.as_secs());
    if made_at > now.saturating_add(CLOCKS_DIFFER).unwrap_or(now) {
        return Err(Why::FromFuture { at: made_at });
    }
    match signature.signature_expiration_time().map(|time| time.as_secs()).filter(|seconds| *seconds > 0) {
        Some(seconds) if after(made_at, seconds) <= now => Err(Why::SignatureExpired { at: after(made_at, seconds) }),
        _ => Ok(made_at),
    }
}

/// The key a signature says it is by.
fn named(signature: &Signature) -> String {
    match (signature.issuer_fingerprint().first(), signature.issuer_key_id().first()) {
        (Some(fingerprint), _) => format!("OpenPGP key {fingerprint:X}"),
        (None, Some(id)) => format!("OpenPGP key {}", id.to_string().to_uppercase()),
        (None, None) => "an OpenPGP key that it does not name".to_owned(),
    }
}

/// A key that may have signed: the primary one or a subkey.
enum Part<'a> {
    Primary(&'a SignedPublicKey),
    Subkey(&'a SignedPublicSubKey),
}

impl Part<'_> {
    fn details(&self) -> &dyn KeyDetails {
        match self {
            Self::Primary(key) => &key.primary_key,
            Self::Subkey(key) => &key.key,
        }
    }

    fn label(&self) -> String {
        format!("OpenPGP key {:X}", self.details().fingerprint())
    }

    /// All that the signature names has to be this key; one that names none may be anybody's.
    fn is_issuer_of(&self, signature: &Signature) -> bool {
        let (fingerprint, id) = (self.details().fingerprint(), self.details().legacy_key_id());
        signature.issuer_fingerprint().into_iter().all(|named| *named == fingerprint)
            && signature.issuer_key_id().into_iter().all(|named| *named == id)
    }

    fn is_strong(&self) -> bool {
        match self.details().algorithm() {
            PublicKeyAlgorithm::RSA | PublicKeyAlgorithm::RSASign => match self.details().public_params() {
                PublicParams::RSA(parameters) => parameters.write_len() >= RSA_BYTES_MIN,
                _ => false,
            },
            PublicKeyAlgorithm::ECDSA
            | PublicKeyAlgorithm::EdDSALegacy
            | PublicKeyAlgorithm::Ed25519
            | PublicKeyAlgorithm::Ed448 => true,
            _ => false,
        }
    }

    fn verifies(&self, signature: &Signature, payload: &[u8]) -> bool {
        fn by(key: &impl VerifyingKey, signature: &Signature, payload: &[u8]) -> bool {
            signature.verify(key, payload).is_ok()
        }
        match self {
            Self::Primary(key) => by(&key.primary_key, signature, payload),
            Self::Subkey(key) => by(&key.key, signature, payload),
        }
    }
}

impl Certificate {
    fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        std::iter::once(Part::Primary(&self.0)).chain(self.0.public_subkeys.iter().map(Part::Subkey))
    }

    /// Whether a key of it may have signed something at a time.
    fn judge(&self, part: &Part<'_>, made_at: Timestamp, sight: Sight, now: Timestamp) -> Result<(), Why> {
        let label = part.label();
        let primary = self.primary(now)?;
        let standing = match part {
            Part::Primary(_) => &primary,
            Part::Subkey(subkey) => &self.subkey(subkey, &label, now)?,
        };
        if !standing.may_sign {
            return Err(Why::NotForSigning { key: label });
        }
        let created = moment(part.details().created_at().as_secs());
        if made_at < created {
            return Err(Why::NotYetValid { key: label, at: created });
        }
        match [primary.expires, standing.expires].into_iter().flatten().min() {
            Some(at) if made_at >= at => Err(Why::ExpiredWhenSigned { key: label, at }),
            Some(at) if now >= at && sight == Sight::First => Err(Why::Expired { key: label, at }),
            _ => Ok(()),
        }
    }

    fn primary(&self, now: Timestamp) -> Result<Standing, Why> {
        let (key, details) = (&self.0.primary_key, &self.0.details);
        let label = Part::Primary(&self.0).label();
        if details.revocation_signatures.iter().any(|signature| signature.verify_key(key).is_ok()) {
            return Err(Why::Revoked { key: label });
        }
        let direct = details.direct_signatures.iter().filter(|signature| {
            counts(signature, now) && signature.typ() == Some(SignatureType::Key) && signature.verify_key(key).is_ok()
        });
        let of_users = details.users.iter().flat_map(|user| {
            let own = |signature: &&Signature| signature.verify_certification(key, Tag::UserId, &user.id).is_ok();
            let is_revocation = |signature: &&Signature| signature.typ() == Some(SignatureType::CertRevocation);
            let is_revoked = user.signatures.iter().filter(is_revocation).any(|signature| own(&signature));
            let certifications =
                user.signatures.iter().filter(move |signature| !is_revocation(signature) && !is_revoked);
            certifications.filter(move |signature| counts(signature, now)).filter(own)
        });
        let newest = direct.chain(of_users).max_by_key(|signature| signature.created().map(|at| at.as_secs()));
        let newest = newest.ok_or(Why::Unbound { key: label })?;
        // A key whose signatures say nothing of its use is one of the time before flags: it may do what it can.
        let has_flags = has_flags(newest);
        let expires = expires(moment(key.created_at().as_secs()), newest);
        Ok(Standing { may_sign: !has_flags || newest.key_flags().sign(), expires })
    }

    fn subkey(&self, subkey: &SignedPublicSubKey, label: &str, now: Timestamp) -> Result<Standing, Why> {
        let (primary, key) = (&self.0.primary_key, &subkey.key);
        let of_type =
            |wanted: SignatureType| subkey.signatures.iter().filter(move |signature| signature.typ() == Some(wanted));
        let own = |signature: &&Signature| signature.verify_subkey_binding(primary, key).is_ok();
        if of_type(SignatureType::SubkeyRevocation).any(|signature| own(&signature)) {
            return Err(Why::Revoked { key: label.to_owned() });
        }
        let bindings = of_type(SignatureType::SubkeyBinding).filter(|signature| counts(signature, now)).filter(own);
        let newest = bindings.max_by_key(|signature| signature.created().map(|at| at.as_secs()));
        let newest = newest.ok_or_else(|| Why::Unbound { key: label.to_owned() })?;
        let expires = expires(moment(key.created_at().as_secs()), newest);
        // Without the subkey's own consent somebody could claim another's subkey, and with it another's signatures.
        let consents = newest
            .embedded_signature()
            .is_some_and(|back| counts(back, now) && back.verify_primary_key_binding(key, primary).is_ok());
        Ok(Standing { may_sign: newest.key_flags().sign() && consents, expires })
    }
}

/// A signature of a key over itself or its own parts that can be relied upon at all.
fn counts(signature: &Signature, now: Timestamp) -> bool {
    let Some(made) = signature.created().map(|at| moment(at.as_secs())) else { return false };
    let lasts = signature.signature_expiration_time().map(|time| time.as_secs()).filter(|seconds| *seconds > 0);
    signature.hash_alg().is_some_and(is_strong)
        && made <= now.saturating_add(CLOCKS_DIFFER).unwrap_or(now)
        && lasts.is_none_or(|seconds| after(made, seconds) > now)
}

fn has_flags(signature: &Signature) -> bool {
    let mut parts = signature.config().into_iter().flat_map(|config| config.hashed_subpackets());
    parts.any(|part| matches!(part.data, SubpacketData::KeyFlags(_)))
}

fn expires(created: Timestamp, signature: &Signature) -> Option<Timestamp> {
    let seconds = signature.key_expiration_time().map(|time| time.as_secs()).filter(|seconds| *seconds > 0)?;
    Some(after(created, seconds))
}

fn is_strong(hash: HashAlgorithm) -> bool {
    use HashAlgorithm::{Sha3_256, Sha3_512, Sha256, Sha384, Sha512};
    matches!(hash, Sha256 | Sha384 | Sha512 | Sha3_256 | Sha3_512)
}

fn moment(seconds: u32) -> Timestamp {
    Timestamp::from_second(i64::from(seconds)).unwrap_or_default()
}

fn after(start: Timestamp, seconds: u32) -> Timestamp {
    start.saturating_add(SignedDuration::from_secs(i64::from(seconds))).unwrap_or(start)
}
