//! Towline's streams, as `towline_proto::streams` specifies them and `towline fleet init` makes them for users. Made here
//! without the CLI, so that a test of NATS needs no binary.

use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use towline_proto::streams::{self, Discard, StreamSpec};

use crate::failure::{Doing, Failure};
use crate::nats::Nats;

impl Nats {
    /// Starts a server and creates the streams.
    pub async fn start_with_streams() -> Result<Self, Failure> {
        let nats = Self::start().await?;
        nats.create_streams().await?;
        Ok(nats)
    }

    pub async fn create_streams(&self) -> Result<(), Failure> {
        let jetstream = async_nats::jetstream::new(self.connect("admin").await?);
        for spec in streams::specs() {
            let doing = || format!("create the stream {}", spec.name);
            jetstream.create_stream(config(&spec)).await.doing(doing)?;
        }
        Ok(())
    }
}

fn config(spec: &StreamSpec) -> Config {
    Config {
        name: spec.name.to_owned(),
        description: Some(spec.description.to_owned()),
        subjects: spec.subjects.clone(),
        storage: StorageType::File,
        discard: match spec.discard {
            Discard::Old => DiscardPolicy::Old,
            Discard::New => DiscardPolicy::New,
        },
        max_messages_per_subject: spec.max_msgs_per_subject,
        max_age: spec.max_age.unwrap_or_default(),
        max_message_size: spec.max_message_bytes,
        max_bytes: spec.max_bytes,
        duplicate_window: spec.duplicate_window,
        max_consumers: spec.max_consumers,
        allow_direct: spec.allow_direct,
        allow_message_ttl: spec.allow_msg_ttl,
        deny_delete: spec.deny_delete,
        deny_purge: spec.deny_purge,
        ..Config::default()
    }
}
