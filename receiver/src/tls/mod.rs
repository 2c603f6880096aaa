//! The certificate of the public port: PEM files to an acceptor whose certificate can be replaced while it accepts.
//! TLS 1.2 and 1.3, HTTP/1.1 only. Who looks at the files, and when, is [`crate::reload`]'s business.

mod validity;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;
use towline_daemon::watched::{Files, ReadError, Reading, Watch};

/// A chain of ten certificates with long lists of names; a file that is larger is something else.
const FILE_BYTES_MAX: usize = 256 * 1024;

/// A certificate and its key, ready to accept with. Clones share both, also after a replacement.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    current: Arc<Current>,
    files: Files,
    provider: Arc<CryptoProvider>,
}

/// The pair that the next handshake uses.
#[derive(Debug)]
struct Current {
    pair: RwLock<Pair>,
}

#[derive(Clone, Debug)]
struct Pair {
    certified: Arc<CertifiedKey>,
    not_after: Option<Timestamp>,
}

/// Why the files are no certificate and key. Never says what was in a file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("failed to read {what} {}", .path.display())]
    Read { what: &'static str, path: PathBuf, source: ReadError },
    #[error("failed to read {what} {} as PEM", .path.display())]
    Pem { what: &'static str, path: PathBuf, source: PemError },
    #[error("certificate file {} has no certificate", .0.display())]
    NoCertificate(PathBuf),
    #[error("the key does not belong to the certificate")]
    ForeignKey,
    #[error("failed to use the certificate with its key")]
    Unusable(#[source] rustls::Error),
}

/// The two files as they are now, each judged by itself. None is what there was no reading for.
struct Parsed {
    chain: Result<Vec<CertificateDer<'static>>, TlsError>,
    key: Result<PrivateKeyDer<'static>, TlsError>,
}

impl Tls {
    /// Reads both files. Everything that is wrong is returned, with the key of the configuration that it belongs to.
    pub fn read(cert: &Path, key: &Path) -> Result<Self, Vec<(&'static str, TlsError)>> {
        let (files, readings) = Files::read(vec![cert.to_owned(), key.to_owned()], FILE_BYTES_MAX);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let pair = match parse(&files, readings) {
            Parsed { chain: Ok(chain), key: Ok(key) } => {
                Pair::new(chain, key, &provider).map_err(|error| vec![("tls", error)])?
            }
            Parsed { chain, key } => {
                let chain = chain.err().map(|error| ("tls.cert", error));
                return Err(chain.into_iter().chain(key.err().map(|error| ("tls.key", error))).collect());
            }
        };
        Self::new(pair, files, provider).map_err(|error| vec![("tls", error)])
    }

    fn new(pair: Pair, files: Files, provider: Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let current = Arc::new(Current { pair: RwLock::new(pair) });
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unusable)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), current, files, provider })
    }

    /// When the certificate in use ends, if it says so readably.
    pub fn not_after(&self) -> Option<Timestamp> {
        self.current.pair.read().unwrap_or_else(PoisonError::into_inner).not_after
    }

    pub fn paths(&self) -> &[PathBuf] {
        self.files.paths()
    }

    pub fn watch(&self) -> Watch {
        self.files.watch().0
    }

    /// Uses what the files hold now for the next handshakes, if they are a pair that fits; else what was stays in use.
    /// Connections keep what they began with.
    pub fn take(&self, readings: Vec<Reading>) -> Result<(), TlsError> {
        let Parsed { chain, key } = parse(&self.files, readings);
        let pair = Pair::new(chain?, key?, &self.provider)?;
        *self.current.pair.write().unwrap_or_else(PoisonError::into_inner) = pair;
        Ok(())
    }

    pub(crate) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }
}

impl Pair {
    /// Refuses a key that does not belong to the certificate.
    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        provider: &CryptoProvider,
    ) -> Result<Self, TlsError> {
        let not_after = chain.first().and_then(|own| validity::not_after(own));
        let certified = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TlsError::ForeignKey,
            other => TlsError::Unusable(other),
        })?;
        Ok(Self { certified: Arc::new(certified), not_after })
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.pair.read().unwrap_or_else(PoisonError::into_inner).certified))
    }
}

fn parse(files: &Files, readings: Vec<Reading>) -> Parsed {
    let mut read = files.paths().iter().cloned().zip(readings);
    let mut next = |what| match read.next() {
        Some((path, Ok(bytes))) => Ok((path, bytes)),
        Some((path, Err(source))) => Err(TlsError::Read { what, path, source }),
        None => Err(TlsError::NoCertificate(PathBuf::new())),
    };
    let chain = next("certificate").and_then(|(path, bytes)| certificates(path, &bytes));
    let key = next("key").and_then(|(path, bytes)| {
        PrivateKeyDer::from_pem_slice(&bytes).map_err(|source| TlsError::Pem { what: "key", path, source })
    });
    Parsed { chain, key }
}

/// The certificates of a PEM file, the server's own first.
fn certificates(path: PathBuf, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    match CertificateDer::pem_slice_iter(bytes).collect::<Result<Vec<_>, _>>() {
        Ok(chain) if chain.is_empty() => Err(TlsError::NoCertificate(path)),
        Ok(chain) => Ok(chain),
        Err(source) => Err(TlsError::Pem { what: "certificate", path, source }),
    }
}
