//! Who has a place on the public port, and who has to give it up. Knows addresses and who waits since when; knows
//! nothing of bytes, TLS or HTTP.
//!
//! A connection *works* from the end of a request's head to its answer, and *waits* otherwise: in the handshake, before
//! and within a head, idle, and while it is closed. When all places are taken, a new connection takes the place of the
//! one that waits longest: silent ones keep nobody out, however many they are. Who works is left alone, and so is who has
//! just begun to wait: of many that come at once each would take the place of the one before. Peers in `proxies` are sent
//! away only when no other waits: they keep connections open for the requests of others.
//!
//! Every step costs O(log n), and what is remembered is bounded by the places.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::forwarded::{self, Proxies};

/// A place is kept for this long by who waits: a round trip across the world, in which the first bytes of who has just
/// connected arrive. With the default of 1,024 places some 4,000 silent connections a second make nobody wait.
const PATIENCE: Duration = Duration::from_millis(250);

/// All places.
pub(crate) struct Connections {
    places_max: usize,
    per_address_max: usize,
    proxies: Proxies,
    table: Mutex<Table>,
    /// A place was given back, or somebody began to wait.
    changed: Notify,
}

#[derive(Default)]
struct Table {
    taken: usize,
    /// Told to go, and not gone yet.
    leaving: usize,
    by_address: HashMap<IpAddr, usize>,
    waiting: BTreeMap<Turn, (Instant, Arc<Seat>)>,
    last_turn: u64,
}

/// The order of leaving: strangers before proxies, then the longest wait first.
type Turn = (bool, u64);

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
    Works,
    Leaves,
}

/// One connection's place, given back when dropped.
pub(crate) struct Place {
    connections: Arc<Connections>,
    address: IpAddr,
    is_proxy: bool,
    seat: Arc<Seat>,
}

impl Connections {
    pub(crate) fn new(places_max: usize, per_address_max: usize, proxies: Proxies) -> Arc<Self> {
        let (table, changed) = (Mutex::default(), Notify::new());
        Arc::new(Self { places_max, per_address_max, proxies, table, changed })
    }

    /// Whether this peer may have one more place. Surplus is not worth waiting for.
    pub(crate) fn allows(&self, peer: IpAddr) -> bool {
        let taken = self.lock().by_address.get(&forwarded::subscriber(peer)).copied().unwrap_or_default();
        taken < self.per_address_max || self.proxies.contain(peer)
    }

    /// A place, as soon as there is one; somebody who waits makes room. For one caller at a time.
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
        let (address, is_proxy) = (forwarded::subscriber(peer), self.proxies.contain(peer));
        *table.by_address.entry(address).or_default() += 1;
        let standing = Mutex::new(Standing::Arrives(table.next_turn(is_proxy)));
        let seat = Arc::new(Seat { told_to_go: Notify::new(), standing });
        Ok(Place { connections: Arc::clone(self), address, is_proxy, seat })
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
    fn next_turn(&mut self, is_proxy: bool) -> Turn {
        self.last_turn += 1;
        (is_proxy, self.last_turn)
    }

    /// Whoever waits longest; if his patience is asked for still, until when.
    fn send_one_away(&mut self, now: Instant) -> Option<Instant> {
        let first = self.waiting.first_entry()?;
        let patient_until = first.get().0 + PATIENCE;
        if patient_until > now {
            return Some(patient_until);
        }
        let (_since, seat) = first.remove();
        seat.set(Standing::Leaves);
        seat.told_to_go.notify_one();
        self.leaving += 1;
        None
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
    pub(crate) fn begin_work(&self) -> bool {
        let mut table = self.connections.lock();
        match self.seat.standing() {
            Standing::Waits(turn) => {
                table.waiting.remove(&turn);
                self.seat.set(Standing::Works);
                true
            }
            Standing::Arrives(_) => {
                self.seat.set(Standing::Works);
                true
            }
            Standing::Works => true,
            Standing::Leaves => false,
        }
    }

    /// The answer is there, or will not be.
    pub(crate) fn begin_waiting(&self) {
        let mut table = self.connections.lock();
        if self.seat.standing() == Standing::Works {
            let turn = table.next_turn(self.is_proxy);
            self.wait_in(table, turn);
        }
    }

    /// Whatever had come with the connection was read.
    pub(crate) fn settle(&self) {
        let table = self.connections.lock();
        if let Standing::Arrives(turn) = self.seat.standing() {
            self.wait_in(table, turn);
        }
    }

    fn wait_in(&self, mut table: MutexGuard<'_, Table>, turn: Turn) {
        table.waiting.insert(turn, (Instant::now(), Arc::clone(&self.seat)));
        self.seat.set(Standing::Waits(turn));
        drop(table);
        self.connections.changed.notify_waiters();
    }

    /// Which of its waits this is; none while it works.
    pub(crate) fn wait(&self) -> Option<u64> {
        match self.seat.standing() {
            Standing::Arrives((_, turn)) | Standing::Waits((_, turn)) => Some(turn),
            Standing::Works | Standing::Leaves => None,
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
        match self.seat.standing() {
            Standing::Waits(turn) => {
                table.waiting.remove(&turn);
            }
            Standing::Arrives(_) | Standing::Works => {}
            Standing::Leaves => table.leaving -= 1,
        }
        if let Some(count) = table.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
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

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn connections(places: usize) -> Arc<Connections> {
        let mut proxies = Proxies::default();
        proxies.add("10.0.0.0/8").unwrap();
        Connections::new(places, 2, proxies)
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
        assert!(table.by_address.is_empty() && table.waiting.is_empty() && table.taken == 0 && table.leaving == 0);
    }

    #[tokio::test]
    async fn proxies_leave_last() {
        let all = connections(2);
        let proxy = arrive(&all, "10.0.0.1".parse().unwrap()).await;
        let stranger = arrive(&all, address(1)).await;
        ask(&all).await;
        assert!(is_told(&stranger).await && !is_told(&proxy).await);
    }
}
