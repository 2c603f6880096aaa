//! What is the secret itself does not go to another machine in clear text, unless that was asked for. Pure.

use towline_receiver::sign::{self, SignedDelivery};

use crate::exit::{Exit, Fails};
use crate::http::{Url, is_this_machine};

/// A delivery that would give the secret away on its way.
#[derive(Debug, thiserror::Error)]
#[error(
    "use --url: everybody on the way could read the secret, which this provider sends along (`{header}`), over http:// to \
     another machine; use https://, or --allow-http if that is meant"
)]
pub(crate) struct InClearError {
    header: &'static str,
}

impl Fails for InClearError {
    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

/// A signature may be read by anybody; a token or password may not.
pub(crate) fn check(delivery: &SignedDelivery, url: &Url, allow_http: bool) -> Result<(), InClearError> {
    if url.scheme() == "https" || allow_http || is_this_machine(url) {
        return Ok(());
    }
    match delivery.headers.iter().find(|(name, _)| sign::is_secret(name)) {
        Some((header, _)) => Err(InClearError { header }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jiff::Timestamp;
    use towline_receiver::{Provider, Secret};

    use super::*;

    fn goes(provider: Provider, secret: &str, url: &str, allow_http: bool) -> bool {
        let secret = Secret::parse(provider, secret.as_bytes()).unwrap();
        let signed = sign::sign(provider, &secret, "ping", Bytes::from_static(b"{}"), "1", Timestamp::UNIX_EPOCH);
        check(&signed, &url.parse().unwrap(), allow_http).is_ok()
    }

    #[test]
    fn only_a_signature_goes_in_clear_text_to_others() {
        let (key, away) = ("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "http://hooks.example/x");
        assert!(!goes(Provider::Gitlab, "hunter2", away, false));
        assert!(!goes(Provider::AzureDevops, "user:hunter2", away, false));
        assert!(!goes(Provider::Gitlab, "hunter2", "http://127.0.0.1.example/x", false));
        assert!(goes(Provider::Gitlab, key, away, false) && goes(Provider::Github, "hunter2", away, false));
        assert!(goes(Provider::Gitlab, "hunter2", away, true));
        for fine in ["https://hooks.example/x", "http://127.0.0.1:1/x", "http://[::1]/x", "http://localhost/x"] {
            assert!(goes(Provider::Gitlab, "hunter2", fine, false), "{fine}");
        }
    }
}
