//! A gate in front of a part that speaks TCP: whoever goes through it can be cut off while the part runs on for others.
//! Knows no protocol.
//!
//! It runs on a thread and a runtime of its own, so that it lives as long as its owner, not as the test's runtime.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::failure::{Doing, Failure};
use crate::ports::Port;
use crate::wait::wait_until;

/// It takes milliseconds.
const READY: Duration = Duration::from_secs(30);

pub struct Gate {
    port: Arc<Port>,
    open: watch::Sender<bool>,
}

impl Gate {
    /// An open gate to an address.
    pub async fn to(address: SocketAddr) -> Result<Self, Failure> {
        let doing = || format!("start a gate to {address}");
        let (open, opened) = watch::channel(true);
        let gate = Self { port: Arc::new(Port::reserve()?), open };
        let port = Arc::clone(&gate.port);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().doing(doing)?;
        thread::Builder::new()
            .name("gate".to_owned())
            .spawn(move || runtime.block_on(serve(&port, address, opened)))
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
async fn serve(port: &Port, to: SocketAddr, mut opened: watch::Receiver<bool>) {
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
                        connections.spawn(pass_through(stream, to));
                    }
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn pass_through(mut from: TcpStream, to: SocketAddr) {
    let Ok(mut to) = TcpStream::connect(to).await else { return };
    for stream in [&from, &to] {
        let _ = stream.set_nodelay(true);
    }
    // Either end goes away as it likes.
    let _ = copy_bidirectional(&mut from, &mut to).await;
}
