//! `receiver.toml` to a [`Config`] that can be used as it is: addresses parsed, secrets and certificates read, names
//! checked. All mistakes are reported at once. Opens no connection and no port. Each table of the file has a module.

mod hook;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use towline_daemon::config::{self as files, ConfigError, Mistakes};
use towline_daemon::error::chain;
use towline_daemon::nats;

use crate::forwarded::Proxies;
use crate::limits::{Limits, RawLimits};
use crate::networks::Networks;
use crate::sweep::{self, RawSweep, Sweep};
use crate::tls::Tls;

pub use hook::Hook;
use hook::RawHook;

/// What is written, before anybody looked at it.
#[derive(Debug, Deserialize)]
struct Raw {
    listen: String,
    admin: Option<String>,
    #[serde(default)]
    proxies: Vec<String>,
    #[serde(default)]
    senders: Vec<String>,
    tls: Option<RawTls>,
    nats: nats::Settings,
    #[serde(default)]
    hooks: Vec<RawHook>,
    #[serde(default)]
    sweeps: Vec<RawSweep>,
    #[serde(default)]
    limits: RawLimits,
}

#[derive(Debug, Deserialize)]
struct RawTls {
    cert: PathBuf,
    key: PathBuf,
}

/// A configuration that was checked. Made by [`load`] only.
pub struct Config {
    listen: SocketAddr,
    admin: Option<SocketAddr>,
    proxies: Proxies,
    senders: Networks,
    tls: Option<Tls>,
    nats: nats::Settings,
    hooks: Vec<Arc<Hook>>,
    sweeps: Vec<Sweep>,
    limits: Limits,
}

/// Reads, checks, and reports everything that is wrong.
pub fn load(path: Option<&Path>) -> Result<Config, ConfigError> {
    let raw: Raw = files::load(path)?;
    validate(raw, Mistakes::new(path))
}

fn validate(raw: Raw, mut mistakes: Mistakes) -> Result<Config, ConfigError> {
    let listen = address("listen", &raw.listen, &mut mistakes);
    let admin = raw.admin.map(|text| address("admin", &text, &mut mistakes));
    if let (Some(listen), Some(Some(admin))) = (listen, admin)
        && collide(listen, admin)
    {
        mistakes.add("admin", "is the address of `listen`: it is not for the public, give it another port");
    }
    let proxies = networks("proxies", &raw.proxies, &mut mistakes);
    let senders = networks("senders", &raw.senders, &mut mistakes);
    let tls = raw.tls.map(|raw| certificate(&raw, &mut mistakes));
    if mistakes.check("nats", raw.nats.check()).is_some() {
        raw.nats.check_files().iter().for_each(|(key, error)| mistakes.add(format!("nats.{key}"), chain(error)));
    }
    let limits = raw.limits.validate(&mut mistakes);
    let hooks = hook::validate(raw.hooks, &mut mistakes);
    let sweeps = sweep::validate(raw.sweeps, &hooks, &mut mistakes);
    let (Some(listen), admin, tls) = (listen, admin.flatten(), tls.flatten()) else {
        return Err(ConfigError::Mistakes(mistakes));
    };
    mistakes.finish(Config { listen, admin, proxies, senders, tls, nats: raw.nats, hooks, sweeps, limits })
}

fn address(key: &str, text: &str, mistakes: &mut Mistakes) -> Option<SocketAddr> {
    let parsed = text.parse().ok();
    if parsed.is_none() {
        mistakes.add(key, "is not an IP address and a port: write it like 0.0.0.0:8443, 127.0.0.1:8443 or [::]:8443");
    }
    parsed
}

/// Whether one listener would be in the other's way. Port 0 is a free one each time.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let overlap = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && overlap
}

fn networks(key: &str, raw: &[String], mistakes: &mut Mistakes) -> Networks {
    let mut networks = Networks::default();
    for (index, text) in raw.iter().enumerate() {
        mistakes.check(format!("{key}[{index}]"), networks.add(text));
    }
    networks
}

fn certificate(raw: &RawTls, mistakes: &mut Mistakes) -> Option<Tls> {
    let found = Tls::read(&raw.cert, &raw.key);
    found.map_err(|wrong| wrong.into_iter().for_each(|(key, error)| mistakes.add(key, chain(&error)))).ok()
}

impl Config {
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Who is believed about whom it speaks for.
    pub fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    /// From where Git hosts send, as far as that was said: known senders from the start.
    pub fn senders(&self) -> &Networks {
        &self.senders
    }

    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    pub fn nats(&self) -> &nats::Settings {
        &self.nats
    }

    pub fn hooks(&self) -> &[Arc<Hook>] {
        &self.hooks
    }

    /// Whose missed deliveries are looked for.
    pub fn sweeps(&self) -> &[Sweep] {
        &self.sweeps
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }
}
