//! Towline's streams, as section 4 of the design has them.
//!
//! `towline fleet init` is what makes them for users; once it is there, tests call it and this module goes.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, StorageType};

use crate::failure::{Doing, Failure};
use crate::nats::Nats;

const DAY: Duration = Duration::from_secs(24 * 3600);
const MIB: i64 = 1024 * 1024;

impl Nats {
    /// Starts a server and creates the streams.
    pub async fn start_with_streams() -> Result<Self, Failure> {
        let nats = Self::start().await?;
        nats.create_streams().await?;
        Ok(nats)
    }

    pub async fn create_streams(&self) -> Result<(), Failure> {
        let jetstream = async_nats::jetstream::new(self.connect("admin").await?);
        for config in [commits(), status(), events()] {
            let name = config.name.clone();
            jetstream.create_stream(config).await.doing(|| format!("create the stream {name}"))?;
        }
        Ok(())
    }
}

fn commits() -> Config {
    Config {
        name: "COMMITS".to_owned(),
        subjects: vec!["towline.commit.>".to_owned()],
        storage: StorageType::File,
        max_messages_per_subject: 1,
        allow_direct: true,
        max_age: 30 * DAY,
        duplicate_window: Duration::from_secs(60),
        // Agents use core subscriptions; a few are left for people who look.
        max_consumers: 100,
        ..Config::default()
    }
}

fn status() -> Config {
    Config {
        name: "STATUS".to_owned(),
        subjects: vec!["towline.status.>".to_owned()],
        storage: StorageType::File,
        max_messages_per_subject: 5,
        allow_direct: true,
        // Reserved: a full disk must not be found out by a status that is lost.
        max_bytes: 256 * MIB,
        allow_message_ttl: true,
        ..Config::default()
    }
}

fn events() -> Config {
    Config {
        name: "EVENTS".to_owned(),
        subjects: vec!["towline.event.>".to_owned()],
        storage: StorageType::File,
        max_bytes: 256 * MIB,
        deny_delete: true,
        deny_purge: true,
        ..Config::default()
    }
}
