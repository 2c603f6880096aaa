//! How TLS is spoken with a server: whom to trust besides the system's authorities, and what to show.
//!
//! Knows PEM. What is wrong is found here, not in the middle of a handshake.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::SecretSlice;

/// Nothing: the system's authorities, and no certificate of our own.
#[derive(Clone, Default)]
pub struct Tls {
    /// Trusted besides the system's.
    pub authorities: Vec<CertificateDer<'static>>,
    pub client: Option<ClientIdentity>,
}

/// What a server that asks for a certificate is shown: PEM, the key first.
#[derive(Clone)]
pub struct ClientIdentity(pub SecretSlice<u8>);

/// All certificates of a bundle; `None` where there is none or one cannot be read.
pub(super) fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().ok()?;
    (!all.is_empty()).then_some(all)
}

/// Whether it is a private key in a form TLS can use: PKCS #8, PKCS #1 or SEC 1.
pub(super) fn is_key(pem: &[u8]) -> bool {
    PrivateKeyDer::from_pem_slice(pem).is_ok()
}

/// Whether a certificate and a key belong together.
pub(super) fn fit(certificate: &[u8], key: &[u8]) -> bool {
    let (Some(chain), Ok(key)) = (certificates(certificate), PrivateKeyDer::from_pem_slice(key)) else { return false };
    rustls::sign::CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider()).is_ok()
}
