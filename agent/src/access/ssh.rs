//! Who we are over SSH, and which server keys count. The values only: what they mean is the transport's.

use secrecy::SecretString;

/// A key, and the servers it may be shown to.
#[derive(Clone)]
pub struct SshKey {
    /// As it stands in the Secret: PEM, in OpenSSH's form or PKCS.
    pub identity: SecretString,
    pub passphrase: Option<SecretString>,
    /// As in `~/.ssh/known_hosts`. A server that is not in it is refused.
    pub known_hosts: String,
}
