//! What a Git server is spoken to with: credentials, certificates to trust and to show, a proxy.
//!
//! Knows the keys of Secrets and what they mean. Must not know Git, nor the API server: a Secret comes in as its data. Secret values
//! have types without an outlet (no text, no debug output) and are zeroed; errors name keys, never what they hold.
//!
//! 1. [`read`] makes [`Credentials`] of a Secret's data (`secret`), whole or with an error in an operator's words.
//! 2. [`Tokens`] makes a login of a GitHub App's key (`app`, `github`), and keeps it while it is good.
//! 3. An [`Access`] is what one conversation is given: who we are (`login`), how TLS is spoken (`tls`), a key for SSH (`ssh`), a way
//!    around (`proxy`), and where credentials may go in the clear (`plain`). A [`Client`] (`client`) speaks HTTP with it.

mod app;
mod client;
mod github;
mod login;
mod plain;
mod proxy;
mod secret;
mod ssh;
mod tls;

pub use app::App;
pub use client::{Client, Refused};
pub use github::{TokenError, Tokens};
pub use login::Login;
pub use plain::{PlainHttp, PlainHttpError};
pub use proxy::{Proxy, read as read_proxy};
pub use secret::{Credentials, Data, SecretError, read};
pub use ssh::SshKey;
pub use tls::{ClientIdentity, Tls};

/// What one conversation with a Git server is given. The default is nobody: no credentials, the system's authorities.
#[derive(Clone, Default)]
pub struct Access {
    /// Over HTTP: who we are.
    pub login: Option<Login>,
    pub tls: Tls,
    /// Over SSH: who we are, and whom we believe to be the server.
    pub ssh: Option<SshKey>,
    /// Instead of what the environment names.
    pub proxy: Option<Proxy>,
    /// Where a login may be sent without TLS.
    pub plain_http: PlainHttp,
}

#[cfg(test)]
mod tests;
