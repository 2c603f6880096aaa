//! Signatures: raw bytes of a commit or tag, public keys and a time to a verdict.
//!
//! Knows Git's signed objects, OpenPGP and SSH signatures, and who may change which path. Pure: must not know Git's storage
//! (no gix), the API server, or what time it is.
//!
//! In the order in which a verdict is reached:
//!
//! 1. `keys`: what a Secret holds becomes [`Keys`]; `lines` reads SSH keys, `openpgp` certificates.
//! 2. `signed`: an object becomes what was signed and the signature.
//! 3. `openpgp`, `ssh`: whose signature it is, and whether that key may sign.
//! 4. `verify`: which objects have to be signed, by whom, and what they have to say of each other.
//!
//! [`Verified`] can be made nowhere else. What becomes a revision is made of it.

mod keys;
mod lines;
mod openpgp;
mod refusal;
mod signed;
mod ssh;
#[cfg(test)]
mod tests;
mod verify;

pub use keys::{Keys, KeysError};
pub use refusal::{Refusal, Why};
pub use verify::{Candidate, Demand, Mode, Rule, Sight, Tag, Verified, verify};
