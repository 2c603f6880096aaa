//! What happens on the connection, for each task that has to know.
//!
//! Knows that events may come faster than a task takes them. Must not know what follows from them.

use async_nats::Client;
use async_nats::connection::State;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use towline_daemon::nats::Event;

/// The client itself keeps 128 events: a task that is behind by more than twice that is told where things stand now.
pub(super) const EVENTS_MAX: usize = 256;

pub(super) struct Link {
    pub(super) client: Client,
    pub(super) events: broadcast::Receiver<Event>,
}

impl Link {
    /// The next event. After a gap: the state of now, as if it had come about in this moment.
    pub(super) async fn next(&mut self) -> Event {
        match self.events.recv().await {
            Ok(event) => event,
            Err(RecvError::Lagged(missed)) => {
                tracing::debug!(missed, "events of the NATS connection were missed");
                match self.client.connection_state() {
                    State::Connected => Event::Connected,
                    State::Disconnected | State::Pending => Event::Disconnected,
                }
            }
            // The client holds the sender: it is gone only with the process.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
