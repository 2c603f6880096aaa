//! A Git host over smart HTTP(S), fast and with faults at will: `git http-backend` behind a small server.
//!
//! It runs on a thread and a runtime of its own, so that it lives as long as its owner, not as the test's runtime.
//! Knows nothing of Git but the program's CGI form (`cgi`).

mod cgi;
mod serve;
mod spoil;
mod tls;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::certs::{self, Authority};
use crate::failure::{Doing, Failure};
use crate::guard;
use crate::ports::Port;
use crate::repo::Repo;
use crate::wait::wait_until;

/// It takes milliseconds.
const READY: Duration = Duration::from_secs(30);

/// What is wrong with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    #[default]
    None,
    /// The port is closed, and so are all connections.
    Down,
    /// Every request is answered with this status.
    Status(u16),
    /// Every request is answered with 429 and this `Retry-After`, in seconds.
    LeaveAlone(u16),
    /// Requests are read and not answered while this lasts.
    Stall,
    /// Half of each answer's body, then nothing.
    StallBody,
    /// Half of each answer's body, then the connection ends.
    Truncate,
    /// Half of each answer's body, then the connection is reset.
    Reset,
    /// One bit in the last bytes of a pack is wrong: in the checksum that ends it.
    FlipPack,
    /// The list of refs never ends.
    EndlessList,
    /// Packs come with a word of progress, and another, and never begin.
    EndlessPack,
    /// Every request is sent to this place instead.
    Redirect(&'static str),
    /// The certificate is another server's. Only where the server speaks TLS.
    WrongName,
    /// The certificate's time is over. Only where the server speaks TLS.
    Expired,
}

#[derive(Debug, Clone, Default)]
pub struct Options {
    pub tls: bool,
    /// User and password that every request must bring.
    pub credentials: Option<(String, String)>,
}

pub struct GitServer {
    root: PathBuf,
    port: Arc<Port>,
    options: Options,
    authority: Option<String>,
    requests: Arc<Mutex<Vec<String>>>,
    fault: watch::Sender<Fault>,
}

impl GitServer {
    /// Plain HTTP, no credentials.
    pub async fn start() -> Result<Self, Failure> {
        Self::start_with(Options::default()).await
    }

    pub async fn start_with(options: Options) -> Result<Self, Failure> {
        certs::install_provider();
        let doing = || "start the git server".to_owned();
        let (tls, authority) = if options.tls {
            let authority = Authority::new("towline-tests-git")?;
            (Some(tls::Acceptors::new(&authority)?), Some(authority.certificate().to_owned()))
        } else {
            (None, None)
        };
        let (fault, faults) = watch::channel(Fault::None);
        let server = Self {
            root: guard::scratch("git"),
            port: Arc::new(Port::reserve()?),
            options,
            authority,
            requests: Arc::default(),
            fault,
        };
        let host = serve::Host {
            root: server.root.clone(),
            port: Arc::clone(&server.port),
            tls,
            credentials: server.options.credentials.clone(),
            requests: Arc::clone(&server.requests),
            faults,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().doing(doing)?;
        thread::Builder::new()
            .name("git-server".to_owned())
            .spawn(move || runtime.block_on(serve::serve(host)))
            .doing(doing)?;
        server.set_fault(Fault::None).await?;
        Ok(server)
    }

    /// Makes a repository `<name>.git`; names may hold slashes.
    pub async fn repository(&self, name: &str) -> Result<Repo, Failure> {
        Repo::create(&self.root, name).await
    }

    /// What agents fetch from.
    pub fn url(&self, name: &str) -> String {
        let scheme = if self.options.tls { "https" } else { "http" };
        format!("{scheme}://{}/{name}.git", self.port.address())
    }

    /// The PEM to trust the server by, when it speaks TLS.
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    /// The folder of the repositories.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// From now on. Returns when the port is closed, or open again.
    pub async fn set_fault(&self, fault: Fault) -> Result<(), Failure> {
        self.fault.send_replace(fault);
        wait_until(&format!("the git server is in the state {fault:?}"), READY, async || {
            let open = TcpStream::connect(self.port.address()).await.is_ok();
            if open == (fault != Fault::Down) { Ok(()) } else { Err(format!("the port is open: {open}")) }
        })
        .await
    }

    /// Every request so far: `POST /org/fleet.git/git-upload-pack`, with the query where there is one.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn request_count(&self) -> usize {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
