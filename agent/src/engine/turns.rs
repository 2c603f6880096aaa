//! Work in turns: so much at once, the pressing first, and what takes long makes room for the rest.
//!
//! Knows how work is let in and timed. Whose turn comes next is decided in `plan`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use towline_plan::schedule::turns::{self, Urgency};

use crate::cluster::locked;

/// Work that takes this long mostly waits for somebody else: an admission webhook, a definition, a slow host. A pass of 400
/// objects takes about a second.
const LONG: Duration = Duration::from_secs(10);

/// Who may work. Clones share the turns.
#[derive(Clone)]
pub(super) struct Turns {
    queue: Arc<Mutex<turns::Turns<oneshot::Sender<Turn>>>>,
    long: Duration,
}

/// Somebody's turn, until it is dropped.
struct Turn {
    turns: Turns,
    made_room: bool,
    is_over: bool,
}

impl Turns {
    /// So many at once, and so many more of those that take long.
    pub(super) fn new(at_once: usize, slow_most: usize) -> Self {
        Self { queue: Arc::new(Mutex::new(turns::Turns::new(at_once, slow_most))), long: LONG }
    }

    /// Waits for a turn. Who stops waiting takes nobody's place.
    pub(super) async fn turn(&self, urgency: Urgency) -> Held {
        let (told, turn) = oneshot::channel();
        locked(&self.queue).ask(told, urgency);
        self.go_on();
        // It comes always: the queue lives in this very object.
        Held { turn: turn.await.ok(), long: self.long }
    }

    /// Lets in as many as may work now.
    fn go_on(&self) {
        loop {
            let Some(next) = locked(&self.queue).start_next() else { return };
            let turn = Turn { turns: self.clone(), made_room: false, is_over: false };
            if let Err(mut unwanted) = next.send(turn) {
                // Without this it would let the next one in from within itself.
                unwanted.is_over = true;
                locked(&self.queue).done(false);
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.is_over {
            locked(&self.turns.queue).done(self.made_room);
            self.turns.go_on();
        }
    }
}

/// A turn that has come.
pub(super) struct Held {
    turn: Option<Turn>,
    long: Duration,
}

impl Held {
    /// Does the work of this turn.
    pub(super) async fn work<T>(mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(self.long) => {}
        }
        if let Some(turn) = &mut self.turn {
            turn.made_room = locked(&turn.turns.queue).make_room();
            turn.turns.go_on();
        }
        work.await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Eight that hang for ever, and a hundred that do not: each of these is done.
    #[tokio::test]
    async fn what_hangs_does_not_keep_the_rest_waiting() {
        let turns = Turns { long: Duration::from_millis(20), ..Turns::new(8, 24) };
        let hang = |_| {
            let turns = turns.clone();
            async move { turns.turn(Urgency::Now).await.work(std::future::pending::<()>()).await }
        };
        let hanging = futures::future::join_all((0..8).map(hang));
        let done = Arc::new(AtomicUsize::new(0));
        let work = |n: usize| {
            let (turns, done) = (turns.clone(), Arc::clone(&done));
            let urgency = if n.is_multiple_of(2) { Urgency::Now } else { Urgency::Later };
            let count = async move { done.fetch_add(1, Ordering::Relaxed) };
            async move { turns.turn(urgency).await.work(count).await }
        };
        let all = futures::future::join_all((0..100).map(work));
        tokio::select! {
            biased;
            _ = hanging => panic!("what hangs has ended"),
            done = tokio::time::timeout(PATIENCE, all) => drop(done.unwrap()),
        }
        assert_eq!(done.load(Ordering::Relaxed), 100);
    }

    #[tokio::test]
    async fn who_stops_waiting_takes_nobodys_place() {
        let turns = Turns::new(1, 0);
        let first = turns.turn(Urgency::Now).await;
        for _ in 0..10_000 {
            let mut waits = Box::pin(turns.turn(Urgency::Now));
            assert!(futures::poll!(&mut waits).is_pending());
        }
        drop(first);
        tokio::time::timeout(PATIENCE, turns.turn(Urgency::Later)).await.unwrap().work(async {}).await;
        tokio::time::timeout(PATIENCE, turns.turn(Urgency::Now)).await.unwrap();
    }
}
