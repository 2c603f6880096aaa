//! Throw-away certificate authorities, server and client certificates. All PEM. Knows no part.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::failure::{Doing, Failure};

/// A certificate and its key.
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    pub fn new(name: &str) -> Result<Self, Failure> {
        let doing = || format!("make the certificate authority {name}");
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().doing(doing)?;
        let certificate = params.self_signed(&key).doing(doing)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A server certificate for names and addresses.
    pub fn server(&self, names: &[&str]) -> Result<Identity, Failure> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).doing(|| "make a server certificate".to_owned())?;
        self.sign(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A server certificate whose time is over.
    pub fn expired(&self, names: &[&str]) -> Result<Identity, Failure> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).doing(|| "make a server certificate".to_owned())?;
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        self.sign(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client certificate as Kubernetes reads it: the common name is the user, the organisation its group.
    pub fn client(&self, user: &str, group: Option<&str>) -> Result<Identity, Failure> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        self.sign(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Result<Identity, Failure> {
        let doing = || "sign a certificate".to_owned();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().doing(doing)?;
        let certificate = params.signed_by(&key, &self.issuer).doing(doing)?.pem();
        Ok(Identity { certificate, key: key.serialize_pem() })
    }
}

/// A key pair for signing service account tokens: (private, public).
pub fn signing_key() -> Result<(String, String), Failure> {
    let key = KeyPair::generate().doing(|| "make a signing key".to_owned())?;
    Ok((key.serialize_pem(), key.public_key_pem()))
}

/// The one TLS provider of the process. Without it the first TLS use panics where two providers were compiled in.
pub fn install_provider() {
    // An error means that it was installed before, which is what is wanted.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
