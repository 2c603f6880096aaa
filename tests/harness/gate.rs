//! A gate in front of a part that speaks TCP: whoever goes through it can be cut off, or slowed down, while the part runs on
//! for others. Knows no protocol.
//!
//! It runs on a thread and a runtime of its own, so that it lives as long as its owner, not as the test's runtime.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::failure::{Doing, Failure};
use crate::ports::Port;
use crate::wait::wait_until;

/// It takes milliseconds.
const READY: Duration = Duration::from_secs(30);

/// What is carried at once; as much as a pipe holds.
const PIECE_BYTES: usize = 64 * 1024;

pub struct Gate {
    port: Arc<Port>,
    open: watch::Sender<bool>,
    delay: watch::Sender<Duration>,
}

impl Gate {
    /// An open gate to an address.
    pub async fn to(address: SocketAddr) -> Result<Self, Failure> {
        let doing = || format!("start a gate to {address}");
        let (open, opened) = watch::channel(true);
        let (delay, delayed) = watch::channel(Duration::ZERO);
        let gate = Self { port: Arc::new(Port::reserve()?), open, delay };
        let port = Arc::clone(&gate.port);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().doing(doing)?;
        thread::Builder::new()
            .name("gate".to_owned())
            .spawn(move || runtime.block_on(serve(&port, address, opened, delayed)))
            .doing(doing)?;
        gate.set_open(true).await?;
        Ok(gate)
    }

    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Ends all connections and takes no more. Returns when the port is closed.
    pub async fn close(&self) -> Result<(), Failure> {
        self.set_open(false).await
    }

    /// Lets new connections through.
    pub async fn open(&self) -> Result<(), Failure> {
        self.set_open(true).await
    }

    /// Everything takes this much longer from now on, in each direction; connections stay.
    pub fn delay(&self, by: Duration) {
        self.delay.send_replace(by);
    }

    async fn set_open(&self, open: bool) -> Result<(), Failure> {
        self.open.send_replace(open);
        wait_until(&format!("the gate is open: {open}"), READY, async || {
            let answers = TcpStream::connect(self.port.address()).await.is_ok();
            if answers == open { Ok(()) } else { Err(format!("the port is open: {answers}")) }
        })
        .await
    }
}

/// Ends when the owner of the gate drops it.
async fn serve(port: &Port, to: SocketAddr, mut opened: watch::Receiver<bool>, delay: watch::Receiver<Duration>) {
    while opened.wait_for(|open| *open).await.is_ok() {
        // Nobody else takes a reserved port; whoever waits for the gate sees if it does not open.
        let Ok(listener) = TcpListener::bind(port.address()).await else { return };
        // Dropping the set ends all connections.
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                _ = opened.wait_for(|open| !*open) => break,
                accepted = listener.accept() => {
                    if let Ok((stream, _)) = accepted {
                        connections.spawn(pass_through(stream, to, delay.clone()));
                    }
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn pass_through(from: TcpStream, to: SocketAddr, delay: watch::Receiver<Duration>) {
    let Ok(to) = TcpStream::connect(to).await else { return };
    for stream in [&from, &to] {
        let _ = stream.set_nodelay(true);
    }
    let ((from_read, from_write), (to_read, to_write)) = (from.into_split(), to.into_split());
    // Either end goes away as it likes; one that fails takes the other with it.
    let _ = tokio::try_join!(carry(from_read, to_write, &delay), carry(to_read, from_write, &delay));
}

/// One direction, to its end.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    delay: &watch::Receiver<Duration>,
) -> std::io::Result<()> {
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    while from.read_buf(&mut piece).await? > 0 {
        let by = *delay.borrow();
        if !by.is_zero() {
            tokio::time::sleep(by).await;
        }
        to.write_all(&piece).await?;
        piece.clear();
    }
    Ok(())
}
