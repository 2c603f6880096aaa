//! Which acknowledgement is whose. Knows reply subjects and what JetStream answers; not what was published.
//!
//! An event has one reply subject for all its attempts: where NATS is slow, the acknowledgement of an attempt that was
//! given up counts all the same. What is not waited for any more is forgotten at once (the client's own request/reply
//! never forgets a request that stays unanswered).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::StatusCode;
use serde::Deserialize;
use tokio::sync::Notify;

use super::Published;

/// "A message with this id is being stored": an earlier attempt is on its way.
const BEING_STORED: u64 = 10158;

/// What came back for an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Stored(Published),
    /// No stream takes the subject, or it has no leader now.
    NoResponders,
    /// Not now, by what the server says.
    Later(String),
    Refused(String),
}

/// Everybody who waits.
pub(super) struct Acks {
    /// Ends with a dot.
    prefix: String,
    stream: &'static str,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    last: u64,
    waiting: HashMap<u64, Arc<Slot>>,
}

#[derive(Default)]
struct Slot {
    reply: Mutex<Option<Reply>>,
    told: Notify,
}

/// One event's place; forgotten when dropped.
pub(super) struct Expected {
    acks: Arc<Acks>,
    token: u64,
    slot: Arc<Slot>,
}

#[derive(Deserialize)]
struct Wire {
    stream: Option<String>,
    seq: Option<u64>,
    #[serde(default)]
    duplicate: bool,
    error: Option<WireError>,
}

#[derive(Deserialize)]
struct WireError {
    code: u64,
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl Acks {
    pub(super) fn new(inbox: &str, stream: &'static str) -> Arc<Self> {
        Arc::new(Self { prefix: format!("{inbox}."), stream, table: Mutex::default() })
    }

    /// What to subscribe to.
    pub(super) fn wildcard(&self) -> String {
        format!("{}*", self.prefix)
    }

    pub(super) fn expect(self: &Arc<Self>) -> Expected {
        let slot = Arc::<Slot>::default();
        let mut table = lock(&self.table);
        table.last += 1;
        let token = table.last;
        table.waiting.insert(token, Arc::clone(&slot));
        drop(table);
        Expected { acks: Arc::clone(self), token, slot }
    }

    /// Gives a reply to whoever waits for it, if he still does.
    pub(super) fn deliver(&self, subject: &str, status: Option<StatusCode>, payload: &[u8]) {
        let token = subject.strip_prefix(&self.prefix).and_then(|token| token.parse().ok());
        let Some(slot) = token.and_then(|token: u64| lock(&self.table).waiting.get(&token).cloned()) else { return };
        let reply = read(self.stream, status, payload);
        let mut known = lock(&slot.reply);
        // What another attempt brings does not undo that it is stored.
        if !matches!(*known, Some(Reply::Stored(_))) {
            *known = Some(reply);
        }
        drop(known);
        slot.told.notify_one();
    }
}

impl Expected {
    pub(super) fn reply_subject(&self) -> String {
        format!("{}{}", self.acks.prefix, self.token)
    }

    /// The next thing that comes back.
    pub(super) async fn reply(&self) -> Reply {
        loop {
            if let Some(reply) = lock(&self.slot.reply).take() {
                return reply;
            }
            self.slot.told.notified().await;
        }
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        lock(&self.acks.table).waiting.remove(&self.token);
    }
}

/// Only the acknowledgement of the right stream counts: another one that took the subject is read by nobody.
fn read(stream: &str, status: Option<StatusCode>, payload: &[u8]) -> Reply {
    if status == Some(StatusCode::NO_RESPONDERS) {
        return Reply::NoResponders;
    }
    match serde_json::from_slice(payload) {
        Ok(Wire { error: Some(WireError { code, err_code, description }), .. }) => {
            let text = format!("{description} ({err_code})");
            if code == 503 || err_code == BEING_STORED { Reply::Later(text) } else { Reply::Refused(text) }
        }
        Ok(Wire { stream: Some(from), seq: Some(sequence), duplicate, error: None }) if from == stream => {
            Reply::Stored(Published { sequence, duplicate })
        }
        Ok(Wire { stream: Some(from), .. }) if from != stream => {
            Reply::Refused(format!("stream {from:.64} took the event instead of {stream}"))
        }
        Ok(Wire { .. }) | Err(_) => Reply::Refused("the acknowledgement is not readable".to_owned()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is one statement: a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(br#"{"stream":"COMMITS","seq":7}"#, Reply::Stored(Published { sequence: 7, duplicate: false }))]
    #[case(br#"{"stream":"COMMITS","seq":7,"duplicate":true}"#, Reply::Stored(Published { sequence: 7, duplicate: true }))]
    #[case(br#"{"stream":"OTHER","seq":7}"#, Reply::Refused("stream OTHER took the event instead of COMMITS".to_owned()))]
    #[case(br#"{"error":{"code":503,"err_code":10008,"description":"unavailable"}}"#, Reply::Later("unavailable (10008)".to_owned()))]
    #[case(br#"{"error":{"code":409,"err_code":10158,"description":"in process"}}"#, Reply::Later("in process (10158)".to_owned()))]
    #[case(br#"{"error":{"code":400,"err_code":10060,"description":"no"}}"#, Reply::Refused("no (10060)".to_owned()))]
    #[case(br#"{"stream":"COMMITS","seq":7,"error":{"code":400}}"#, Reply::Refused(" (0)".to_owned()))]
    #[case(br#"{"stream":"COMMITS"}"#, Reply::Refused("the acknowledgement is not readable".to_owned()))]
    #[case(b"", Reply::Refused("the acknowledgement is not readable".to_owned()))]
    fn replies(#[case] payload: &[u8], #[case] expected: Reply) {
        assert_eq!(read("COMMITS", None, payload), expected);
    }

    #[tokio::test]
    async fn a_late_acknowledgement_counts_and_nothing_is_kept() {
        let acks = Acks::new("_INBOX.x", "COMMITS");
        let (one, two) = (acks.expect(), acks.expect());
        acks.deliver(&one.reply_subject(), Some(StatusCode::NO_RESPONDERS), b"");
        assert_eq!(one.reply().await, Reply::NoResponders);
        acks.deliver(&one.reply_subject(), None, br#"{"stream":"COMMITS","seq":1}"#);
        // The second attempt's, after the first one's: it is stored for all that.
        acks.deliver(&one.reply_subject(), Some(StatusCode::NO_RESPONDERS), b"");
        assert_eq!(one.reply().await, Reply::Stored(Published { sequence: 1, duplicate: false }));
        drop((one, two));
        assert!(lock(&acks.table).waiting.is_empty());
        acks.deliver("_INBOX.x.1", None, b"");
        acks.deliver("_INBOX.y.1", None, b"");
    }
}
