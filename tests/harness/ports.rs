//! Ports for programs that cannot say which one they got, or must come back on the same one.
//!
//! A port is below the range the kernel hands out by itself (32768 and up, and below Kubernetes' node ports), and
//! locked by a file for as long as its owner lives: neither an outgoing connection nor another test process
//! takes it while its server is down. Knows no part.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::Failure;

const FIRST: u16 = 20_000;
const COUNT: u16 = 9_000;

/// A port of 127.0.0.1 that is ours until this is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    pub fn reserve() -> Result<Self, Failure> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let dir = std::env::temp_dir().join("towline-ports");
        let failed = |why: &dyn std::fmt::Display| Failure::new("reserve a port", why);
        fs::create_dir_all(&dir).map_err(|error| failed(&error))?;
        // Processes begin at different places, so that they seldom ask for each other's.
        let begin = (std::process::id() as u16).wrapping_mul(97);
        for _ in 0..COUNT {
            let number = FIRST + begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
            let lock = File::create(dir.join(number.to_string())).map_err(|error| failed(&error))?;
            if lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self { number, _lock: lock });
            }
        }
        Err(failed(&"all are taken"))
    }

    pub fn number(&self) -> u16 {
        self.number
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number))
    }
}
