//! The receiver: a signed webhook becomes a commit event in JetStream, and nothing else becomes anything.
//!
//! In the order in which a delivery travels:
//!
//! 1. [`config`] and [`limits`]: what is listened on, which hooks there are, with which [`secrets`], [`allow`]-lists and
//!    bounds. Checked before anything is opened; [`check`] tells a person what is in it.
//! 2. [`listener`]: TCP and [`tls`], bounded in number (`connections`, `arriving`) and time (`pace`). [`serve`] takes each request
//!    through the rest.
//! 3. [`forwarded`], with the [`networks`] of proxies: whose request is it. [`route`]: path, method, content type, declared length. The path decides the [`provider`].
//!    [`admit`]: may this address ask now ([`rate`])?
//! 4. [`body`]: a bounded read, out of a memory budget that all share.
//! 5. [`judge`]: pure from here to the event. [`verify`] makes a proof of the raw bytes, [`payload`] reads only what is
//!    proven, the hook's host and the verified name make the repository.
//! 6. `deliver` owns it from the last byte of the body on: [`coalesce`]d to the newest of its ref above the hook's rate,
//!    then [`publish`]ed to JetStream, until it acknowledges, with its [`trace`] context.
//! 7. [`answer`]: one table from outcomes to statuses. `record` logs the delivery in one line, unless [`refusals`] has
//!    seen too many like it, and counts it in [`metrics`].
//!
//! Beside this way, [`sweep`] asks GitHub to send again what it could not deliver, and [`reload`] keeps [`secrets`] and
//! certificate in step with their files.
//!
//! [`sign`] is the opposite of `verify`, for test deliveries, with a [`secret`] given to it. The receiver keeps no state:
//! what it knows is in its configuration or in the stream.

pub mod admit;
pub mod allow;
pub mod answer;
mod arriving;
pub mod body;
pub mod check;
pub mod coalesce;
pub mod config;
mod connections;
mod deliver;
mod descriptors;
pub mod forwarded;
pub mod judge;
pub mod limits;
pub mod listener;
pub mod metrics;
pub mod networks;
mod pace;
pub mod payload;
pub mod provider;
pub mod publish;
pub mod rate;
mod record;
pub mod refusals;
pub mod reload;
pub mod route;
mod run;
pub mod secret;
pub mod secrets;
pub mod serve;
pub mod sign;
pub mod sweep;
pub mod tls;
pub mod trace;
pub mod verify;

pub use config::Config;
pub use provider::Provider;
pub use run::{RunError, run};
pub use secret::{Secret, SecretError};
