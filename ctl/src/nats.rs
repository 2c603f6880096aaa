//! The connection to NATS. This file and the ones below it alone import the client. A command is run once and wants to
//! know: unlike a daemon it does not wait for a server that is away.

pub(crate) mod streams;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Client, ConnectOptions};

use crate::exit::{Exit, Fails};

/// DNS, TCP and TLS across the world with one lost packet each; the same as the daemons have.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// A server says at once that nobody listens. It says nothing when somebody does: no agent answers.
const NOBODY_LISTENS: Duration = Duration::from_secs(2);

/// How to connect; flags of every command that does.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Flags {
    /// NATS servers: nats://, tls://, ws:// or wss://, separated by commas
    #[arg(long = "nats", value_name = "URL", env = "TOWLINE_NATS")]
    url: Option<String>,
    /// A file with a user's JWT and NKey seed
    #[arg(long, value_name = "FILE", env = "TOWLINE_NATS_CREDS", conflicts_with_all = ["nkey", "user"])]
    creds: Option<PathBuf>,
    /// A file with an NKey seed
    #[arg(long, value_name = "FILE", env = "TOWLINE_NATS_NKEY", conflicts_with = "user")]
    nkey: Option<PathBuf>,
    /// A user with a password
    #[arg(long, value_name = "NAME", env = "TOWLINE_NATS_USER", requires = "password_file")]
    user: Option<String>,
    /// A file with the user's password
    #[arg(long, value_name = "FILE", env = "TOWLINE_NATS_PASSWORD_FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// Certificates of the authorities to trust
    #[arg(long, value_name = "FILE", env = "TOWLINE_NATS_CA")]
    ca: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum NatsError {
    #[error("connect to NATS: say where it is with --nats URL or TOWLINE_NATS")]
    NoUrl,
    #[error("parse the NATS address {url:?}")]
    Address { url: String, source: std::io::Error },
    #[error("read the {what} file {}", path.display())]
    Read { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("use the creds file {}", path.display())]
    Credentials { path: PathBuf, source: std::io::Error },
    #[error("connect to NATS at {url}")]
    Connect { url: String, source: async_nats::ConnectError },
    #[error("publish {subject}")]
    Publish { subject: String, source: async_nats::RequestError },
    #[error("publish {subject}: the server refused: {reason}")]
    Refused { subject: String, reason: String },
}

impl Fails for NatsError {
    fn exit(&self) -> Exit {
        match self {
            Self::NoUrl => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}

/// A connection, and what the server said against us: a permission that is missing shows only as an event.
pub(crate) struct Nats {
    client: Client,
    refusals: Arc<Mutex<Vec<String>>>,
}

impl Flags {
    pub(crate) async fn connect(&self) -> Result<Nats, NatsError> {
        let url = self.url.as_deref().ok_or(NatsError::NoUrl)?;
        let parse = |part: &str| {
            let address = part.trim().parse::<async_nats::ServerAddr>();
            address.map_err(|source| NatsError::Address { url: without_password(part), source })
        };
        let addresses = url.split(',').map(parse).collect::<Result<Vec<_>, _>>()?;
        let refusals = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&refusals);
        let mut options =
            self.authenticated()?.name("towline").connection_timeout(CONNECTION_TIMEOUT).event_callback(move |event| {
                if let async_nats::Event::ServerError(error) = event {
                    heard.lock().unwrap_or_else(PoisonError::into_inner).push(error.to_string());
                }
                async {}
            });
        if let Some(ca) = &self.ca {
            std::fs::metadata(ca).map_err(|source| NatsError::Read { what: "CA", path: ca.clone(), source })?;
            options = options.add_root_certificates(ca.clone());
        }
        let client = async_nats::connect_with_options(addresses, options)
            .await
            .map_err(|source| NatsError::Connect { url: without_password(url), source })?;
        Ok(Nats { client, refusals })
    }

    fn authenticated(&self) -> Result<ConnectOptions, NatsError> {
        let read = |what, path: &PathBuf| {
            std::fs::read_to_string(path).map_err(|source| NatsError::Read { what, path: path.clone(), source })
        };
        if let Some(path) = &self.creds {
            return ConnectOptions::with_credentials(&read("creds", path)?)
                .map_err(|source| NatsError::Credentials { path: path.clone(), source });
        }
        if let Some(path) = &self.nkey {
            return Ok(ConnectOptions::with_nkey(read("NKey", path)?.trim().to_owned()));
        }
        if let (Some(user), Some(path)) = (&self.user, &self.password_file) {
            let password = read("password", path)?.trim_end_matches(['\r', '\n']).to_owned();
            return Ok(ConnectOptions::with_user_and_password(user.clone(), password));
        }
        Ok(ConnectOptions::new())
    }
}

impl Nats {
    /// What the server said against us last.
    fn refusal(&self) -> Option<String> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Publishes an empty message, and says whether anybody listens to its subject.
    pub(crate) async fn tell(&self, subject: String) -> Result<bool, NatsError> {
        let answer = tokio::time::timeout(NOBODY_LISTENS, self.client.request(subject.clone(), "".into())).await;
        if let Some(reason) = self.refusal() {
            return Err(NatsError::Refused { subject, reason });
        }
        match answer {
            Ok(Err(error)) if error.kind() == async_nats::RequestErrorKind::NoResponders => Ok(false),
            Ok(Err(error)) if error.kind() != async_nats::RequestErrorKind::TimedOut => {
                Err(NatsError::Publish { subject, source: error })
            }
            // Silence is the sound of an agent at work.
            Ok(Ok(_) | Err(_)) | Err(_) => Ok(true),
        }
    }
}

/// A URL may carry a password, and this one goes into an error message.
fn without_password(url: &str) -> String {
    let strip = |part: &str| match (part.find("://"), part.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}{}", &part[..scheme + 3], &part[at + 1..]),
        _ => part.to_owned(),
    };
    url.split(',').map(strip).collect::<Vec<_>>().join(",")
}
