//! Who has a place on the public port, and who has to give it up. Knows addresses, who among them has proven himself, and
//! who waits since when; knows nothing of bytes, TLS or HTTP.
//!
//! A connection *works* from the end of a request to its answer. Otherwise it can be sent away: it *receives* from the end of
//! a request's head to the end of its body, and *waits* in the handshake, before and within a head, idle, and while it is
//! closed. When all places are taken, a new connection takes the place of the one that has waited or received for longest:
//! silent ones, and those whose bodies do not come, keep nobody out, however many they are. Nothing was promised to them.
//! Who works is left alone, and so is who has just begun: of many that come at once each would take the place of the one
//! before. Known senders leave after all strangers, and peers in `proxies` last: they keep
//! connections open for the requests of others.
//!
//! An address that has as many places as it may have makes room for its next connection by itself, in the same way.
//!
//! Every step costs O(log n), and what is remembered is bounded by the places.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::admit::Admission;
use crate::forwarded::{self, Proxies};

/// A place is kept for this long by who waits or receives: a round trip across the world, in which the first bytes of who has just
/// connected arrive. With the default of 1,024 places some 4,000 silent connections a second make nobody wait.
const PATIENCE: Duration = Duration::from_millis(250);

/// All places.
pub(crate) struct Connections {
    places_max: usize,
    per_address_max: usize,
    proxies: Proxies,
    admission: Arc<Admission>,
    table: Mutex<Table>,
    /// A place was given back, or somebody began to wait or to receive.
    changed: Notify,
}

#[derive(Default)]
struct Table {
    taken: usize,
    /// Told to go, and not gone yet.
    leaving: usize,
    by_address: HashMap<IpAddr, Held>,
    /// Who can be sent away.
    idle: BTreeMap<Turn, Idle>,
    last_turn: u64,
}

/// What one address has of it.
#[derive(Default)]
struct Held {
    taken: usize,
    leaving: usize,
    idle: BTreeSet<Turn>,
}

struct Idle {
    since: Instant,
    address: IpAddr,
    seat: Arc<Seat>,
}

/// The order of leaving: by rank, then the longest wait first.
type Turn = (Rank, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Stranger,
    /// Something verified came from its address, or the configuration names it.
    Sender,
    Proxy,
}

/// What the table and the connection share of one place.
struct Seat {
    told_to_go: Notify,
    standing: Mutex<Standing>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Accepted, and had no opportunity to read yet.
    Arrives(Turn),
    Waits(Turn),
    Receives(Turn),
    Works,
    Leaves,
}

/// One connection's place, given back when dropped.
pub(crate) struct Place {
    connections: Arc<Connections>,
    peer: IpAddr,
    /// Whom it counts for.
    address: IpAddr,
    seat: Arc<Seat>,
}

impl Connections {
    pub(crate) fn new(
        places_max: usize,
        per_address_max: usize,
        proxies: Proxies,
        admission: Arc<Admission>,
    ) -> Arc<Self> {
        let (table, changed) = (Mutex::default(), Notify::new());
        Arc::new(Self { places_max, per_address_max, proxies, admission, table, changed })
    }

    /// Whether this peer may have one more place. At its bound, its own longest wait ends for it.
    pub(crate) fn allows(&self, peer: IpAddr) -> bool {
        let mut table = self.lock();
        let Some(held) = table.by_address.get(&forwarded::subscriber(peer)) else { return true };
        if held.taken - held.leaving < self.per_address_max || self.proxies.contain(peer) {
            return true;
        }
        let first = held.idle.first().copied();
        first.is_some_and(|turn| table.send_away(turn, Instant::now()).is_ok())
    }

    /// A place, as soon as there is one; somebody who waits or receives makes room. For one caller at a time.
    pub(crate) async fn take(self: &Arc<Self>, peer: IpAddr) -> Place {
        loop {
            let changed = self.changed.notified();
            match self.try_take(peer) {
                Ok(place) => return place,
                Err(None) => changed.await,
                Err(Some(later)) => {
                    let _whichever_is_first = tokio::time::timeout_at(later, changed).await;
                }
            }
        }
    }

    /// A place, or when to ask again if nothing changes before: somebody's patience ends then.
    fn try_take(self: &Arc<Self>, peer: IpAddr) -> Result<Place, Option<Instant>> {
        let mut table = self.lock();
        if table.taken >= self.places_max {
            // One leaves for one that comes: more would be sent away for nobody.
            return Err(if table.leaving == 0 { table.send_one_away(Instant::now()) } else { None });
        }
        table.taken += 1;
        let address = forwarded::subscriber(peer);
        table.by_address.entry(address).or_default().taken += 1;
        let standing = Mutex::new(Standing::Arrives(table.next_turn(self.rank(peer))));
        let seat = Arc::new(Seat { told_to_go: Notify::new(), standing });
        Ok(Place { connections: Arc::clone(self), peer, address, seat })
    }

    fn rank(&self, peer: IpAddr) -> Rank {
        if self.proxies.contain(peer) {
            Rank::Proxy
        } else if self.admission.knows(peer) {
            Rank::Sender
        } else {
            Rank::Stranger
        }
    }

    /// Makes room where something else than places is short.
    pub(crate) fn send_one_away(&self) {
        self.lock().send_one_away(Instant::now());
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn next_turn(&mut self, rank: Rank) -> Turn {
        self.last_turn += 1;
        (rank, self.last_turn)
    }

    /// Whoever is the first to leave; if his patience is asked for still, until when.
    fn send_one_away(&mut self, now: Instant) -> Option<Instant> {
        let (turn, _) = self.idle.first_key_value()?;
        self.send_away(*turn, now).err()
    }

    /// Or until when he has to be left alone.
    fn send_away(&mut self, turn: Turn, now: Instant) -> Result<(), Instant> {
        let patient_until = self.idle.get(&turn).map_or(now, |idle| idle.since + PATIENCE);
        if patient_until > now {
            return Err(patient_until);
        }
        if let Some(idle) = self.remove(turn) {
            idle.seat.set(Standing::Leaves);
            idle.seat.told_to_go.notify_one();
            self.leaving += 1;
            self.by_address.entry(idle.address).or_default().leaving += 1;
        }
        Ok(())
    }

    fn insert(&mut self, turn: Turn, address: IpAddr, seat: &Arc<Seat>) {
        self.idle.insert(turn, Idle { since: Instant::now(), address, seat: Arc::clone(seat) });
        self.by_address.entry(address).or_default().idle.insert(turn);
    }

    fn remove(&mut self, turn: Turn) -> Option<Idle> {
        let idle = self.idle.remove(&turn)?;
        if let Some(held) = self.by_address.get_mut(&idle.address) {
            held.idle.remove(&turn);
        }
        Some(idle)
    }
}

impl Seat {
    /// Read and set with the table locked, but for a glance.
    fn standing(&self) -> Standing {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, standing: Standing) {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }
}

impl Place {
    /// A request's head is complete. False if it is too late: the place went to another.
    pub(crate) fn begin_receiving(&self) -> bool {
        self.begin(Standing::Receives)
    }

    /// A request is complete. False if it is too late.
    pub(crate) fn begin_work(&self) -> bool {
        self.begin(|_turn| Standing::Works)
    }

    /// The answer is there, or will not be.
    pub(crate) fn begin_waiting(&self) {
        if matches!(self.seat.standing(), Standing::Receives(_) | Standing::Works) {
            self.begin(Standing::Waits);
        }
    }

    /// Whatever had come with the connection was read.
    pub(crate) fn settle(&self) {
        let mut table = self.connections.lock();
        if let Standing::Arrives(turn) = self.seat.standing() {
            self.set(&mut table, Standing::Waits(turn));
        }
    }

    fn begin(&self, standing: impl FnOnce(Turn) -> Standing) -> bool {
        let mut table = self.connections.lock();
        match self.seat.standing() {
            Standing::Leaves => return false,
            Standing::Waits(turn) | Standing::Receives(turn) => drop(table.remove(turn)),
            Standing::Arrives(_) | Standing::Works => {}
        }
        let turn = table.next_turn(self.connections.rank(self.peer));
        self.set(&mut table, standing(turn));
        true
    }

    fn set(&self, table: &mut Table, standing: Standing) {
        self.seat.set(standing);
        if let Standing::Waits(turn) | Standing::Receives(turn) = standing {
            table.insert(turn, self.address, &self.seat);
            self.connections.changed.notify_waiters();
        }
    }

    /// Which of its waits this is; none while it receives or works.
    pub(crate) fn wait(&self) -> Option<u64> {
        match self.seat.standing() {
            Standing::Arrives((_, turn)) | Standing::Waits((_, turn)) => Some(turn),
            Standing::Receives(_) | Standing::Works | Standing::Leaves => None,
        }
    }

    /// Returns when the place goes to another.
    pub(crate) async fn told_to_go(&self) {
        self.seat.told_to_go.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.connections.lock();
        table.taken -= 1;
        let standing = self.seat.standing();
        if let Standing::Waits(turn) | Standing::Receives(turn) = standing {
            table.remove(turn);
        }
        let leaves = usize::from(standing == Standing::Leaves);
        table.leaving -= leaves;
        if let Some(held) = table.by_address.get_mut(&self.address) {
            held.taken -= 1;
            held.leaving -= leaves;
            if held.taken == 0 {
                table.by_address.remove(&self.address);
            }
        }
        drop(table);
        self.connections.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Rates;
    use crate::networks::Networks;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn connections(places: usize) -> Arc<Connections> {
        let mut proxies = Proxies::default();
        proxies.add("10.0.0.0/8").unwrap();
        Connections::new(places, 2, proxies, Arc::new(Admission::new(&Rates::default(), Networks::default())))
    }

    async fn arrive(all: &Arc<Connections>, peer: IpAddr) -> Place {
        let place = all.take(peer).await;
        place.settle();
        place
    }

    async fn is_told(place: &Place) -> bool {
        tokio::time::timeout(Duration::ZERO, place.told_to_go()).await.is_ok()
    }

    /// Asks until somebody is told to go, or nobody will be.
    async fn ask(all: &Arc<Connections>) {
        while let Err(Some(later)) = all.try_take(address(99)) {
            tokio::time::sleep_until(later).await;
        }
    }

    #[tokio::test]
    async fn the_longest_wait_makes_room_and_work_does_not() {
        let all = connections(3);
        let works = arrive(&all, address(1)).await;
        let (first, second) = (arrive(&all, address(2)).await, arrive(&all, address(3)).await);
        assert!(works.begin_work() && first.begin_work());
        first.begin_waiting();
        ask(&all).await;
        ask(&all).await;
        assert!(is_told(&second).await && !is_told(&works).await);
        assert!(!is_told(&first).await, "one leaves for one that comes");
        assert!(!second.begin_work(), "too late");
        drop(second);
        let fourth = all.take(address(4)).await;
        assert!(fourth.begin_work());
        ask(&all).await;
        assert!(is_told(&first).await);
        drop(first);
        let fifth = all.take(address(5)).await;
        assert!(fifth.begin_work());
        ask(&all).await;
        for place in [&works, &fourth, &fifth] {
            assert!(!is_told(place).await, "who works stays");
        }
    }

    #[tokio::test]
    async fn who_has_just_come_is_left_alone() {
        let all = connections(1);
        let place = all.take(address(1)).await;
        assert!(matches!(all.try_take(address(2)), Err(None)), "it had no opportunity to read");
        place.settle();
        let Err(Some(later)) = all.try_take(address(2)) else { panic!("there is no place") };
        assert!(!is_told(&place).await);
        tokio::time::sleep_until(later).await;
        assert!(all.try_take(address(2)).is_err() && is_told(&place).await);
    }

    #[tokio::test]
    async fn who_comes_waits_until_somebody_waits() {
        let all = connections(1);
        let place = all.take(address(1)).await;
        assert!(place.begin_work());
        let holder = async {
            tokio::task::yield_now().await;
            place.begin_waiting();
            place.told_to_go().await;
            drop(place);
        };
        let ((), next) = tokio::join!(holder, all.take(address(2)));
        assert!(next.begin_work());
    }

    #[tokio::test]
    async fn one_address_has_its_share_and_proxies_have_no_bound() {
        let all = connections(10);
        let v6 = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut places = vec![all.take(address(1)).await, arrive(&all, v6("::ffff:192.0.2.1")).await];
        assert!(!all.allows(address(1)) && all.allows(address(2)));
        places.push(all.take(v6("2001:db8::1")).await);
        places.push(all.take(v6("2001:db8::2")).await);
        assert!(!all.allows(v6("2001:db8::3")) && all.allows(v6("2001:db8:0:1::3")));
        for _ in 0..3 {
            assert!(all.allows(v6("10.0.0.1")));
            places.push(all.take(v6("10.0.0.1")).await);
        }
        drop(places);
        let table = all.lock();
        assert!(table.by_address.is_empty() && table.idle.is_empty() && table.taken == 0 && table.leaving == 0);
    }

    #[tokio::test]
    async fn proxies_leave_last() {
        let all = connections(2);
        let proxy = arrive(&all, "10.0.0.1".parse().unwrap()).await;
        let stranger = arrive(&all, address(1)).await;
        ask(&all).await;
        assert!(is_told(&stranger).await && !is_told(&proxy).await);
    }

    #[tokio::test]
    async fn who_receives_makes_room_until_its_request_is_complete() {
        let all = connections(2);
        let (first, second) = (arrive(&all, address(1)).await, arrive(&all, address(2)).await);
        assert!(first.begin_receiving() && second.begin_receiving() && first.wait().is_none());
        assert!(matches!(all.try_take(address(3)), Err(Some(_))), "they have just begun");
        assert!(first.begin_work());
        ask(&all).await;
        assert!(is_told(&second).await && !is_told(&first).await);
        assert!(!second.begin_work(), "too late");
    }

    #[tokio::test]
    async fn known_senders_leave_after_strangers() {
        let all = connections(3);
        let sender = arrive(&all, address(1)).await;
        assert!(sender.begin_receiving());
        let stranger = arrive(&all, address(2)).await;
        all.admission.verified(address(1));
        assert!(sender.begin_work());
        sender.begin_waiting();
        let proxy = arrive(&all, "10.0.0.1".parse().unwrap()).await;
        assert!(proxy.begin_receiving() && stranger.begin_receiving());
        let mut later = Vec::new();
        for (leaves, place) in [stranger, sender, proxy].into_iter().enumerate() {
            ask(&all).await;
            assert!(is_told(&place).await, "{leaves}");
            drop(place);
            // Takes the place that was given back, and keeps it.
            let next = all.take(address(3)).await;
            assert!(next.begin_work());
            later.push(next);
        }
    }

    #[tokio::test]
    async fn an_address_at_its_bound_makes_room_by_itself() {
        let all = connections(10);
        let (works, waits) = (arrive(&all, address(1)).await, arrive(&all, address(1)).await);
        let other = arrive(&all, address(2)).await;
        assert!(works.begin_work());
        assert!(!all.allows(address(1)), "it has just come");
        tokio::time::sleep(PATIENCE).await;
        assert!(all.allows(address(1)), "in the place of the one that waits");
        assert!(is_told(&waits).await && !is_told(&works).await && !is_told(&other).await);
        let third = all.take(address(1)).await;
        assert!(third.begin_work());
        drop(waits);
        assert!(!all.allows(address(1)), "both work");
        drop((works, third));
        assert!(!all.lock().by_address.contains_key(&address(1)));
    }
}
