//! Clients that mean harm, while one that means well is served. Knows how an attack is run and what has to hold; what the
//! attackers do is with the tests.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use harness::wait_until;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::memory::{Before, Bounds};
use crate::sender::Senders;
use crate::world::{PATIENCE, Receiver, World};
use crate::{stored, wire};

/// Deliveries that have to be served while the attack goes on: beyond those that were on their way when it began.
const SERVED: usize = 15;

/// Between two connections of one attacker: without it, the attack would be on the machine.
const PAUSE: Duration = Duration::from_millis(5);

/// One attacker: an address of its own, and where the receiver is.
#[derive(Clone, Copy)]
pub struct Attacker {
    pub address: IpAddr,
    pub receiver: SocketAddr,
}

impl Attacker {
    /// Never the address of a sender, nor of another attacker.
    pub fn new(number: usize, receiver: SocketAddr) -> Self {
        let [high, low] = u16::try_from(number).unwrap().to_be_bytes();
        Self { address: Ipv4Addr::new(127, 66, high, low).into(), receiver }
    }

    pub async fn connect(&self) -> std::io::Result<TcpStream> {
        wire::connect(self.address, self.receiver).await
    }
}

/// Attackers at work; they end when this is dropped.
pub struct Attack {
    running: JoinSet<()>,
    connections: Arc<AtomicUsize>,
}

impl Attack {
    /// So many attackers, each doing this over and over, with a connection of its own each time. An attacker whose connection
    /// ends in an error (that is what the receiver does to attackers) begins anew.
    pub fn start<F>(attackers: usize, receiver: &Receiver, act: F) -> Self
    where
        F: AsyncAct,
    {
        let connections = Arc::new(AtomicUsize::new(0));
        let mut running = JoinSet::new();
        for number in 0..attackers {
            let attacker = Attacker::new(number, receiver.public);
            let (connections, act) = (Arc::clone(&connections), act.clone());
            running.spawn(async move {
                loop {
                    if let Ok(stream) = attacker.connect().await {
                        connections.fetch_add(1, Ordering::Relaxed);
                        let _refused = act.act(stream).await;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        Self { running, connections }
    }

    /// Waits until so many connections were made.
    pub async fn connected(&self, count: usize) {
        wait_until("the attack has begun", PATIENCE, async || {
            let seen = self.connections.load(Ordering::Relaxed);
            if seen >= count { Ok(()) } else { Err(format!("{seen} connections of {count}")) }
        })
        .await
        .unwrap();
    }

    pub async fn stop(mut self) {
        self.running.shutdown().await;
    }
}

/// What an attacker does with a connection. Like `AsyncFn(TcpStream)`, whose future cannot be said to be `Send`.
pub trait AsyncAct: Clone + Send + 'static {
    fn act(&self, stream: TcpStream) -> impl Future<Output = std::io::Result<()>> + Send;
}

impl<F, R> AsyncAct for F
where
    F: Fn(TcpStream) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = std::io::Result<()>> + Send,
{
    fn act(&self, stream: TcpStream) -> impl Future<Output = std::io::Result<()>> + Send {
        self(stream)
    }
}

/// Runs the attack against a receiver with these bounds (and further lines of limits), while a sender goes on: it is served
/// throughout, what it was promised is kept, memory stays within the bounds, and nothing is left of the attack.
pub async fn withstood<F: AsyncAct>(bounds: Bounds, limits: &str, attackers: usize, act: F) -> World {
    let mut world = World::new(&(bounds.toml() + limits)).await;
    withstood_by(&mut world, bounds, attackers, act).await;
    world
}

/// The same against this world's receiver.
pub async fn withstood_by<F: AsyncAct>(world: &mut World, bounds: Bounds, attackers: usize, act: F) {
    let senders = Senders::well_behaved(&world.receiver);
    senders.see("the sender is served before the attack", 3, |status| status == 202).await;
    let before = Before::of(&mut world.receiver.daemon, bounds);
    let attack = Attack::start(attackers, &world.receiver, act);
    attack.connected(attackers).await;
    senders.see("the sender is served during the attack", SERVED, |status| status == 202).await;
    attack.stop().await;
    before.assert_bounded(&mut world.receiver.daemon);
    let outcomes = senders.stop_served().await;
    assert_eq!(stored::every_202_is_stored(&world.nats, &outcomes).await, outcomes.len());
    world.receiver.connections("nothing is left of the attack", |open| open == 0).await;
}
