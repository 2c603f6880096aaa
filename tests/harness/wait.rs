//! Waiting for a condition, level-triggered and with a deadline. Knows no part.

use std::time::{Duration, Instant};

use crate::Failure;

/// The first pause between two looks; doubled up to [`PAUSE_MAX`], so that quick things are seen quickly and slow
/// ones do not keep a core busy.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// Looks until `look` answers `Ok`; its `Err` is what it saw instead. After `deadline` the failure shows the last
/// sight. A look that hangs counts as one that saw nothing.
///
/// ```ignore
/// wait_until("the ConfigMap is there", SECONDS_30, async || maps.get("a").await.map_err(|e| e.to_string())).await?;
/// ```
pub async fn wait_until<T, F>(what: &str, deadline: Duration, mut look: F) -> Result<T, Failure>
where
    F: AsyncFnMut() -> Result<T, String>,
{
    let end = Instant::now() + deadline;
    let mut pause = PAUSE_MIN;
    let mut last_seen = String::from("nothing yet");
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left.max(PAUSE_MIN), look()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(seen)) => last_seen = seen,
            Err(_) => last_seen = format!("{last_seen} (and the last look did not return)"),
        }
        if Instant::now() >= end {
            return Err(Failure::new(
                format!("see within {} s that {what}", deadline.as_secs_f32()),
                format!("last seen: {last_seen}"),
            ));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Waits until a boolean condition holds.
pub async fn wait_for(what: &str, deadline: Duration, mut holds: impl FnMut() -> bool) -> Result<(), Failure> {
    wait_until(what, deadline, async || if holds() { Ok(()) } else { Err("it does not hold".to_owned()) }).await
}
