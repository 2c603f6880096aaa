//! Why a connection came to nothing, for the person who typed the address. Reads chains of errors; knows no client.

use std::error::Error;
use std::io;

use rustls::CertificateError as Certificate;

/// The most telling cause of the chain.
pub(crate) fn explain(error: &(dyn Error + 'static), timed_out: bool) -> &'static str {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return tls_trouble(tls);
        }
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            // An I/O error that wraps another does not name it as its source.
            if let Some(tls) = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                return tls_trouble(tls);
            }
            if let Some(words) = io_trouble(io) {
                return words;
            }
        }
        if cause.to_string().starts_with("dns error") {
            return "no such host";
        }
        next = cause.source();
    }
    if timed_out { "it did not answer in time" } else { "the connection failed" }
}

fn io_trouble(error: &io::Error) -> Option<&'static str> {
    Some(match error.kind() {
        io::ErrorKind::ConnectionRefused => "nothing listens there",
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
            "it closed the connection without an answer: is it the right port, and http or https as it expects?"
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "there is no way to it from here",
        io::ErrorKind::TimedOut => "it did not answer in time",
        _ => return None,
    })
}

fn tls_trouble(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(Certificate::UnknownIssuer) => {
            "its certificate is not from an authority that is trusted here: name the authority's file with --ca"
        }
        rustls::Error::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        ) => "its certificate is for another name",
        rustls::Error::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. }) => {
            "its certificate has expired"
        }
        rustls::Error::InvalidCertificate(_) => "its certificate is not valid",
        rustls::Error::InvalidMessage(_) => "it does not speak TLS: is the address http:// in truth?",
        _ => "no TLS connection could be agreed on",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_that_helps_is_said() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(explain(&refused, false), "nothing listens there");
        let unknown = rustls::Error::InvalidCertificate(Certificate::UnknownIssuer);
        assert!(explain(&io::Error::other(unknown), false).contains("--ca"));
        assert_eq!(explain(&io::Error::other("?"), true), "it did not answer in time");
        assert_eq!(explain(&io::Error::other("?"), false), "the connection failed");
    }
}
