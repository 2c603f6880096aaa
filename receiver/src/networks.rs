//! Networks that a configuration names: of proxies, of senders. Knows addresses; not what follows from being in one.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// Some networks; none at first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    networks: Vec<IpNet>,
}

/// Why a text names no network.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    #[error("`{0}` is no address and no network like 10.0.0.0/8")]
    NoNetwork(String),
    #[error("`{0}` has bits beyond its prefix, did you mean `{1}`?")]
    HostBits(String, IpNet),
    #[error("`{0}` is everybody, strangers too: limits for each address would not hold for them")]
    Everybody(String),
}

impl Networks {
    pub fn add(&mut self, text: &str) -> Result<(), NetworkError> {
        let unreadable = || NetworkError::NoNetwork(text.to_owned());
        let written = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => text.parse::<IpNet>().map_err(|_| unreadable())?,
        };
        if written.addr() != written.network() {
            return Err(NetworkError::HostBits(text.to_owned(), written.trunc()));
        }
        let network = as_ipv4(written).unwrap_or(written);
        if network.prefix_len() == 0 {
            return Err(NetworkError::Everybody(text.to_owned()));
        }
        self.networks.push(network);
        Ok(())
    }

    /// Whether this address is in one of them.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }
}

/// `::ffff:a.b.c.d/n` is IPv4, as such addresses are.
fn as_ipv4(network: IpNet) -> Option<IpNet> {
    let IpNet::V6(v6) = network else { return None };
    let (address, length) = (v6.addr().to_ipv4_mapped()?, v6.prefix_len().checked_sub(96)?);
    Ipv4Net::new(address, length).ok().map(IpNet::V4)
}
