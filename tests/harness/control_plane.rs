//! A Kubernetes control plane: etcd, kube-apiserver and, where asked for, the controller manager. RBAC is on.
//! Knows how they are started and stopped; who may use them is in `identities`, what is put in first in `objects`.

pub mod identities;
mod objects;
mod programs;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::certs;
use crate::failure::Failure;
use crate::guard;
use crate::ports::Port;
use crate::process::Process;
use crate::tools::tool;
use crate::wait::wait_until;

use identities::Identities;

/// It takes about 4 s on two idle cores; a loaded CI machine may need many times that.
const READY: Duration = Duration::from_secs(90);

/// What kind of control plane.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Namespaces are emptied and removed, service accounts made, owners' children collected only with it.
    pub controller_manager: bool,
    /// Applies `deploy/crds/*.yaml` first.
    pub crds: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { controller_manager: true, crds: true }
    }
}

pub struct ControlPlane {
    dir: PathBuf,
    options: Options,
    port: Port,
    etcd_ports: [Port; 2],
    identities: Identities,
    // The programs in the order in which they end.
    controller_manager: Mutex<Option<Process>>,
    apiserver: Mutex<Option<Process>>,
    etcd: Mutex<Option<Process>>,
}

/// The control plane that the tests of this process share, each in its own namespaces. Started by the first that asks.
pub async fn shared() -> &'static ControlPlane {
    static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
    SHARED.get_or_init(async || ControlPlane::start(Options::default()).await.expect("the shared control plane")).await
}

impl ControlPlane {
    /// Starts one of the test's own, and returns when it is ready.
    pub async fn start(options: Options) -> Result<Self, Failure> {
        certs::install_provider();
        let dir = guard::scratch("control-plane");
        let port = Port::reserve()?;
        let identities = Identities::create(&dir, port.address())?;
        let plane = Self {
            etcd_ports: [Port::reserve()?, Port::reserve()?],
            controller_manager: Mutex::new(None),
            apiserver: Mutex::new(None),
            etcd: Mutex::new(None),
            dir,
            options,
            port,
            identities,
        };
        let etcd = programs::etcd(&tool("etcd")?, &plane.dir, &plane.etcd_ports);
        *lock(&plane.etcd) = Some(Process::spawn("etcd", &etcd, &plane.dir.join("etcd.log"))?);
        plane.start_apiserver().await?;
        if options.controller_manager {
            plane.start_controller_manager()?;
        }
        if options.crds {
            plane.apply_crds().await?;
        }
        Ok(plane)
    }

    /// SIGKILL, so that nothing in flight is finished.
    pub fn stop_apiserver(&self) {
        drop(lock(&self.apiserver).take());
    }

    /// On the same port and the same data. Returns when it is ready.
    pub async fn start_apiserver(&self) -> Result<(), Failure> {
        let command = programs::apiserver(&tool("kube-apiserver")?, self);
        // A log for each life, so that an error shows the right one.
        let log = guard::scratch("kube-apiserver").join("log");
        *lock(&self.apiserver) = Some(Process::spawn("kube-apiserver", &command, &log)?);
        self.wait_ready().await
    }

    pub async fn restart_apiserver(&self) -> Result<(), Failure> {
        self.stop_apiserver();
        self.start_apiserver().await
    }

    /// SIGSTOP: connections stay, nothing answers.
    pub fn freeze_apiserver(&self) {
        lock(&self.apiserver).as_ref().inspect(|process| process.stop());
    }

    pub fn thaw_apiserver(&self) {
        lock(&self.apiserver).as_ref().inspect(|process| process.cont());
    }

    pub fn apiserver_pid(&self) -> Option<u32> {
        lock(&self.apiserver).as_ref().map(Process::pid)
    }

    /// The end of the API server's log, for a test's own error.
    pub fn apiserver_log_tail(&self) -> String {
        lock(&self.apiserver).as_ref().map(Process::log_tail).unwrap_or_default()
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.port.address())
    }

    /// The folder of this control plane, for files that belong to it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn start_controller_manager(&self) -> Result<(), Failure> {
        let command = programs::controller_manager(&tool("kube-controller-manager")?, self);
        let log = self.dir.join("controller-manager.log");
        *lock(&self.controller_manager) = Some(Process::spawn("kube-controller-manager", &command, &log)?);
        Ok(())
    }

    async fn wait_ready(&self) -> Result<(), Failure> {
        // The certificate appears when the server has made it; until then there is nothing to connect with.
        wait_until("kube-apiserver is ready", READY, async || {
            let dead =
                [&self.etcd, &self.apiserver].into_iter().find_map(|part| lock(part).as_mut()?.check_runs().err());
            if let Some(dead) = dead {
                return Ok(Err(dead));
            }
            let client = self.client().await.map_err(|error| error.to_string())?;
            let request = http::Request::get("/readyz").body(Vec::new()).map_err(|error| error.to_string())?;
            client.request_text(request).await.map_err(|error| error.to_string())?;
            Ok(Ok(()))
        })
        .await
        .map_err(|failure| Failure::new("start kube-apiserver", format!("{failure}\n{}", self.apiserver_log_tail())))?
    }
}

/// A test that panicked while it held a part leaves the part usable.
fn lock(part: &Mutex<Option<Process>>) -> MutexGuard<'_, Option<Process>> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}
