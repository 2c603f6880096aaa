//! The server's certificates: the right one, and those of two faults. Knows no HTTP.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::Fault;
use crate::certs::{Authority, Identity};
use crate::failure::{Doing, Failure};

const NAMES: [&str; 2] = ["127.0.0.1", "localhost"];

#[derive(Clone)]
pub(super) struct Acceptors {
    right: TlsAcceptor,
    wrong_name: TlsAcceptor,
    expired: TlsAcceptor,
}

impl Acceptors {
    pub(super) fn new(authority: &Authority) -> Result<Self, Failure> {
        Ok(Self {
            right: acceptor(&authority.server(&NAMES)?)?,
            wrong_name: acceptor(&authority.server(&["elsewhere.test"])?)?,
            expired: acceptor(&authority.expired(&NAMES)?)?,
        })
    }

    pub(super) fn under(&self, fault: Fault) -> &TlsAcceptor {
        match fault {
            Fault::WrongName => &self.wrong_name,
            Fault::Expired => &self.expired,
            _ => &self.right,
        }
    }
}

fn acceptor(identity: &Identity) -> Result<TlsAcceptor, Failure> {
    let doing = || "set up TLS for the git server".to_owned();
    let certificates = CertificateDer::pem_slice_iter(identity.certificate.as_bytes());
    let certificates = certificates.collect::<Result<Vec<_>, _>>().doing(doing)?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).doing(doing)?;
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(certificates, key);
    Ok(TlsAcceptor::from(Arc::new(config.doing(doing)?)))
}
