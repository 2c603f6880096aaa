//! The proxy a source names for itself, from a Secret of its own.
//!
//! What the environment names (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`) is the HTTP client's to read.

use secrecy::SecretString;

use super::secret::{Data, SecretError, optional_secret, optional_text, required_text};

/// A proxy for all requests of a source.
#[derive(Clone)]
pub struct Proxy {
    /// Without an account.
    pub address: String,
    pub login: Option<(String, SecretString)>,
}

/// Reads the Secret of `proxySecretRef`: `address`, and `username` with `password` where it wants them.
///
/// # Errors
/// What is missing or not what it should be, by its key.
pub fn read(data: &Data) -> Result<Proxy, SecretError> {
    let address = required_text(data, "address", "as in http://proxy.example:3128")?;
    let (scheme, rest) = address.split_once("://").unwrap_or(("http", &address));
    if !matches!(scheme, "http" | "https") || rest.is_empty() || rest.contains(|c: char| c.is_whitespace() || c == '@')
    {
        let expected = "an address as in http://proxy.example:3128; its account belongs in username and password";
        return Err(SecretError::Unreadable { key: "address", expected });
    }
    let address = format!("{scheme}://{rest}");
    let login = match (optional_text(data, "username")?, optional_secret(data, "password")?) {
        (None, None) => None,
        (Some(username), Some(password)) => Some((username, password)),
        (Some(_), None) => return Err(SecretError::Missing { key: "password", needed_for: "username needs it" }),
        (None, Some(_)) => return Err(SecretError::Missing { key: "username", needed_for: "password needs it" }),
    };
    Ok(Proxy { address, login })
}

#[cfg(test)]
mod tests {
    use secrecy::SecretSlice;

    use super::*;

    fn proxy(pairs: &[(&str, &str)]) -> Result<Proxy, String> {
        let data = |(key, value): &(&str, &str)| (key.to_string(), SecretSlice::from(value.as_bytes().to_vec()));
        read(&pairs.iter().map(data).collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn an_address_and_perhaps_an_account() {
        let plain = proxy(&[("address", "proxy.example:3128\n")]).ok().unwrap();
        assert!(plain.address == "http://proxy.example:3128" && plain.login.is_none());
        let known = proxy(&[("address", "https://p:1"), ("username", "u"), ("password", "hunter2")]).ok().unwrap();
        assert!(known.address == "https://p:1" && known.login.is_some());
        for (pairs, part) in [
            (vec![], "no key address"),
            (vec![("address", "socks5://p:1")], "key address is not"),
            (vec![("address", "http://u:hunter2@p:1")], "belongs in username and password"),
            (vec![("address", "p:1"), ("username", "u")], "no key password"),
            (vec![("address", "p:1"), ("password", "hunter2")], "no key username"),
        ] {
            let said = proxy(&pairs).err().unwrap();
            assert!(said.contains(part) && !said.contains("hunter2"), "{part}: {said}");
        }
    }
}
