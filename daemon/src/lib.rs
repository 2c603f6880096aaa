//! Process habits shared by the daemons: how a process starts, reads its settings, logs, owns its tasks, shows its
//! health, and ends. Knows no domain word: nothing here may speak of repositories, commits or clusters.
//!
//! In the order in which a `main` meets them:
//!
//! - [`tls`]: one crypto provider for the process, installed first;
//! - [`logs`]: to stderr, human on a terminal, JSON otherwise;
//! - [`config`]: file and environment to a value, all mistakes at once;
//! - [`shutdown`]: one token that says "end now";
//! - [`tasks`]: every task has a name, an owner and a declared end;
//! - [`admin`]: `/livez`, `/readyz`, `/metrics` on a port of their own;
//! - [`nats`]: one way to connect;
//! - [`watched`]: files that change while the process runs;
//! - [`error`] and [`exit`]: a chain of errors printed once.

pub mod admin;
pub mod config;
pub mod error;
pub mod exit;
pub mod logs;
pub mod nats;
pub mod shutdown;
pub mod tasks;
pub mod tls;
pub mod watched;

/// Any error that may cross a task's end.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Announces an open listener: the one line in which people and tests find the real address behind port 0.
pub fn announce_listener(what: &'static str, address: std::net::SocketAddr) {
    tracing::info!(what, address = %address, "listening");
}
