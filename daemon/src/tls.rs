//! The process-wide TLS provider. Two providers in one process panic at the first handshake, so there is one, installed
//! before anything else runs. Knows nothing of certificates: who listens or dials brings its own.

/// Installs aws-lc-rs as the process's crypto provider. Calling it again changes nothing.
pub fn install_crypto_provider() {
    // An error means that a provider is installed already, which is what was asked for.
    let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
