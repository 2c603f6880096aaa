//! One token that says "end now", shared by everything that runs. Knows signals; does not know what ends or how long
//! that may take (that is [`crate::tasks`]).

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A wish to end, seen by all clones. A child ends with its parent, not the other way round.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    /// A wish that only [`Shutdown::request`] makes come true: for tests and commands.
    pub fn new() -> Self {
        Self::default()
    }

    /// Requested by the first SIGTERM or SIGINT. A second one ends the process at once, without draining.
    pub fn from_signals() -> std::io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = Self::new();
        let requested = shutdown.clone();
        crate::tasks::start_for_process(async move {
            loop {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                if requested.is_requested() {
                    tracing::error!(signal = name, "second signal: ending without draining");
                    std::process::exit(1);
                }
                tracing::info!(signal = name, "shutdown requested");
                requested.request();
            }
        });
        Ok(shutdown)
    }

    /// Returns when shutdown is requested, at once if it was.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    pub fn request(&self) {
        self.token.cancel();
    }

    /// A token that is requested with this one, and can be requested alone.
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_ends_with_its_parent_and_alone() {
        let parent = Shutdown::new();
        let (alone, together) = (parent.child(), parent.child());
        alone.request();
        assert!(alone.is_requested() && !parent.is_requested() && !together.is_requested());
        parent.request();
        together.requested().await;
    }
}
