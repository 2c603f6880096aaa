//! The HTTP client of a conversation with a Git host: whom it trusts, through what it goes, and where it says who we are.
//!
//! Knows reqwest's settings. Must not know when a request is sent or what is answered.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Certificate, ClientBuilder, Identity, RequestBuilder, Url};
use secrecy::ExposeSecret as _;

use super::{Access, Login, PlainHttp};

/// A host that is there answers a SYN in less than a second; this leaves room for retransmissions and a TLS handshake.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);

/// Why a request is not sent.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("the URL cannot be read")]
    Url,
    #[error("credentials are not sent over plain http")]
    PlainHttp,
}

/// A client with a login, which it keeps to itself.
pub struct Client {
    http: reqwest::Client,
    /// Marked as sensitive: HTTP's own debug output leaves it out.
    authorization: Option<HeaderValue>,
    plain_http: PlainHttp,
}

impl Client {
    /// The system's certificates are loaded here; having none is what goes wrong.
    ///
    /// # Errors
    /// Certificates or a proxy that cannot be used.
    pub fn new(access: &Access) -> reqwest::Result<Self> {
        let header = |login: &Login| {
            let mut value = HeaderValue::from_str(login.header().expose_secret()).ok()?;
            value.set_sensitive(true);
            Some(value)
        };
        let authorization = access.login.as_ref().and_then(header);
        Ok(Self { http: builder(access)?.build()?, authorization, plain_http: access.plain_http.clone() })
    }

    /// A POST where there is a body. With our login, except in the clear. A redirect to another host is not followed by anybody
    /// who asks here, so no other host is told.
    ///
    /// # Errors
    /// A login would go in the clear.
    pub fn request(&self, url: &str, body: Option<Vec<u8>>) -> Result<RequestBuilder, Refused> {
        let url = Url::parse(url).map_err(|_| Refused::Url)?;
        let in_the_clear = url.scheme() != "https";
        let (host, port) = (url.host_str().unwrap_or_default().to_owned(), url.port_or_known_default());
        let request = match body {
            Some(body) => self.http.post(url).body(body),
            None => self.http.get(url),
        };
        match &self.authorization {
            Some(_) if in_the_clear && !self.plain_http.allows(&host, port.unwrap_or_default()) => {
                Err(Refused::PlainHttp)
            }
            Some(authorization) => Ok(request.header(AUTHORIZATION, authorization.clone())),
            None => Ok(request),
        }
    }
}

/// What all our clients of Git hosts have in common. HTTP/1.1: one stream at a time needs no flow control of its own. Redirects
/// are judged by who asks, one by one. Without a proxy of the source's own, the environment names one.
fn builder(access: &Access) -> reqwest::Result<ClientBuilder> {
    let builder = reqwest::Client::builder().connect_timeout(CONNECT_WITHIN).http1_only();
    let mut builder = builder.redirect(reqwest::redirect::Policy::none());
    let authorities = access.tls.authorities.iter().map(|der| Certificate::from_der(der));
    builder = builder.tls_certs_merge(authorities.collect::<reqwest::Result<Vec<_>>>()?);
    if let Some(client) = &access.tls.client {
        builder = builder.identity(Identity::from_pem(client.0.expose_secret())?);
    }
    if let Some(proxy) = &access.proxy {
        let mut through = reqwest::Proxy::all(&proxy.address)?;
        if let Some((username, password)) = &proxy.login {
            through = through.basic_auth(username, password.expose_secret());
        }
        builder = builder.proxy(through);
    }
    Ok(builder)
}
