//! A nats-server with JetStream on file storage and NKey users. Knows no subject of Towline: see [`crate::streams`].

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nkeys::KeyPair;
use rustix::process::Signal;

use crate::certs;
use crate::failure::{Doing, Failure};
use crate::guard;
use crate::ports::Port;
use crate::process::Process;
use crate::tools::tool;
use crate::wait::wait_until;

const READY: Duration = Duration::from_secs(30);

/// The users every server begins with. They may do everything.
pub const USERS: [&str; 3] = ["admin", "receiver", "agent"];

/// What a user may do; `None`: everything.
#[derive(Debug, Clone, Default)]
pub struct Permissions {
    pub publish: Option<Vec<String>>,
    pub subscribe: Option<Vec<String>>,
}

/// What a program needs to connect: the same two keys as in Towline's `[nats]` table.
#[derive(Debug, Clone)]
pub struct NatsAccess {
    pub url: String,
    /// A file with the seed of the user's NKey.
    pub nkey: PathBuf,
}

struct User {
    name: String,
    key: KeyPair,
    permissions: Permissions,
}

pub struct Nats {
    dir: PathBuf,
    port: Port,
    users: Mutex<Vec<User>>,
    process: Mutex<Option<Process>>,
}

impl Nats {
    /// Starts a server without streams and returns when it takes connections.
    pub async fn start() -> Result<Self, Failure> {
        certs::install_provider();
        let nats = Self {
            dir: guard::scratch("nats"),
            port: Port::reserve()?,
            users: Mutex::new(Vec::new()),
            process: Mutex::new(None),
        };
        for name in USERS {
            nats.write_user(name, Permissions::default())?;
        }
        nats.resume().await?;
        Ok(nats)
    }

    /// SIGKILL. What was acknowledged is on disk.
    pub fn stop(&self) {
        drop(lock(&self.process).take());
    }

    /// On the same port and store, after [`Nats::stop`].
    pub async fn resume(&self) -> Result<(), Failure> {
        let config = self.write_config()?;
        let mut command = Command::new(tool("nats-server")?);
        command.arg("--config").arg(config);
        let log = guard::scratch("nats-server").join("log");
        *lock(&self.process) = Some(Process::spawn("nats-server", &command, &log)?);
        self.wait_ready().await
    }

    pub async fn restart(&self) -> Result<(), Failure> {
        self.stop();
        self.resume().await
    }

    /// SIGSTOP: connections stay, nothing answers.
    pub fn freeze(&self) {
        lock(&self.process).as_ref().inspect(|process| process.stop());
    }

    pub fn thaw(&self) {
        lock(&self.process).as_ref().inspect(|process| process.cont());
    }

    pub fn url(&self) -> String {
        format!("nats://{}", self.port.address())
    }

    /// How a known user connects.
    pub fn access(&self, user: &str) -> NatsAccess {
        NatsAccess { url: self.url(), nkey: self.dir.join(format!("{user}.nkey")) }
    }

    /// A connection of a known user, which reconnects by itself, in the runtime that asks.
    pub async fn connect(&self, user: &str) -> Result<async_nats::Client, Failure> {
        let doing = || format!("connect to NATS as {user}");
        let key = lock(&self.users).iter().find(|known| known.name == user).map(|known| known.key.seed());
        let seed = key.ok_or_else(|| Failure::new(doing(), "there is no such user"))?.doing(doing)?;
        async_nats::ConnectOptions::with_nkey(seed).connect(self.url()).await.doing(doing)
    }

    /// Adds a user while the server runs.
    pub async fn add_user(&self, name: &str, permissions: Permissions) -> Result<NatsAccess, Failure> {
        self.write_user(name, permissions)?;
        self.write_config()?;
        lock(&self.process).as_ref().inspect(|process| process.signal(Signal::HUP));
        // The reload is over when the new user gets in.
        wait_until(&format!("NATS knows {name}"), READY, async || {
            self.connect(name).await.map(drop).map_err(|error| error.to_string())
        })
        .await?;
        Ok(self.access(name))
    }

    /// Gives a known user a new key, to its file and then to the server, which then knows the old one no more and ends
    /// the connections made with it.
    pub fn replace_key(&self, name: &str) -> Result<(), Failure> {
        let doing = || format!("replace the key of the NATS user {name}");
        let key = KeyPair::new_user();
        fs::write(self.access(name).nkey, key.seed().doing(doing)?).doing(doing)?;
        for user in lock(&self.users).iter_mut().filter(|user| user.name == name) {
            user.key = KeyPair::from_seed(&key.seed().doing(doing)?).doing(doing)?;
        }
        self.write_config()?;
        lock(&self.process).as_ref().inspect(|process| process.signal(Signal::HUP));
        Ok(())
    }

    pub fn log_tail(&self) -> String {
        lock(&self.process).as_ref().map(Process::log_tail).unwrap_or_default()
    }

    fn write_user(&self, name: &str, permissions: Permissions) -> Result<(), Failure> {
        let doing = || format!("make the NATS user {name}");
        let key = KeyPair::new_user();
        fs::write(self.access(name).nkey, key.seed().doing(doing)?).doing(doing)?;
        lock(&self.users).push(User { name: name.to_owned(), key, permissions });
        Ok(())
    }

    fn write_config(&self) -> Result<PathBuf, Failure> {
        let mut users = String::new();
        for User { key, permissions, .. } in lock(&self.users).iter() {
            let side = |name: &str, subjects: &Option<Vec<String>>| match subjects {
                Some(subjects) => format!(", {name}: {subjects:?}"),
                None => String::new(),
            };
            let (publish, subscribe) =
                (side("publish", &permissions.publish), side("subscribe", &permissions.subscribe));
            let allowed = format!("{publish}{subscribe}");
            let allowed = match allowed.strip_prefix(", ") {
                Some(sides) => format!(", permissions: {{ {sides} }}"),
                None => String::new(),
            };
            let _ = writeln!(users, "    {{ nkey: {}{allowed} }}", key.public_key());
        }
        let text = format!(
            "listen: \"{}\"\n\
             # User JWTs travel in CONNECT; the default of 4,096 bytes is reached at a dozen repositories.\n\
             max_control_line: 64KB\n\
             jetstream {{ store_dir: {:?}, max_memory_store: 64MB, max_file_store: 4GB }}\n\
             authorization {{\n  users: [\n{users}  ]\n}}\n",
            self.port.address(),
            self.dir.join("store"),
        );
        let path = self.dir.join("nats.conf");
        fs::write(&path, text).doing(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    async fn wait_ready(&self) -> Result<(), Failure> {
        wait_until("nats-server is ready", READY, async || {
            let dead = lock(&self.process).as_mut().and_then(|process| process.check_runs().err());
            if let Some(dead) = dead {
                return Ok(Err(dead));
            }
            let client = self.connect("admin").await.map_err(|error| error.to_string())?;
            let jetstream = async_nats::jetstream::new(client);
            jetstream.query_account().await.map_err(|error| error.to_string())?;
            Ok(Ok(()))
        })
        .await?
    }
}

/// A test that panicked while it held a part leaves the part usable.
fn lock<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}
