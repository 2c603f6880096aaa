//! A connection's bytes, ended when its client takes too long: for a head, between requests, and for taking answers.
//! Knows times and whether its place works or waits; knows nothing of HTTP. The pace of a body is [`crate::body`]'s.

use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::connections::Place;
use crate::limits::Limits;

/// A stream with a place and its clocks.
pub(crate) struct Paced<S> {
    stream: S,
    place: Arc<Place>,
    reading: Clock,
    /// The wait that this clock runs for; every request is followed by another one.
    wait: Option<u64>,
    /// Of the head that is waited for something is there, or it is the first.
    head_began: bool,
    writing: Clock,
    limits: Limits,
    too_slow: Arc<AtomicBool>,
}

impl<S> Paced<S> {
    /// Of a connection whose first head is awaited from now on. Says so when it was the client's slowness that ended it;
    /// that it had no further request is none.
    pub(crate) fn new(stream: S, place: Arc<Place>, limits: Limits, too_slow: Arc<AtomicBool>) -> Self {
        let mut reading = Clock::default();
        reading.start(limits.header_timeout);
        let (wait, writing) = (place.wait(), Clock::default());
        Self { stream, place, reading, wait, head_began: true, writing, limits, too_slow }
    }

    fn read_result(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<()>>,
        grew: bool,
    ) -> Poll<io::Result<()>> {
        let Some(wait) = self.place.wait() else {
            // A body has a clock of its own.
            self.reading.stop();
            return polled;
        };
        if self.wait != Some(wait) {
            self.wait = Some(wait);
            self.head_began = false;
            self.reading.start(self.limits.idle_timeout);
        }
        if grew && !self.head_began {
            self.head_began = true;
            self.reading.start(self.limits.header_timeout);
        }
        // Also when something came: who always sends a little is not always waited for.
        if self.reading.is_over(context) {
            self.too_slow.store(self.head_began, Ordering::Relaxed);
            return Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, "no complete head in time")));
        }
        polled
    }

    fn write_result<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_pending() {
            self.writing.start_unless_running(self.limits.write_timeout);
            if self.writing.is_over(context) {
                self.too_slow.store(true, Ordering::Relaxed);
                return Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, "the answer was not taken in time")));
            }
        }
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        this.read_result(context, polled, buffer.filled().len() > before)
    }
}

/// The clock of writing runs from the first byte that could not be written until all are: a client that takes one byte
/// now and then does not stop it.
impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.write_result(context, polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.write_result(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_flush(context);
        // Called by hyper when nothing is left to write.
        if polled.is_ready() {
            this.writing.stop();
        }
        this.write_result(context, polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_shutdown(context);
        this.write_result(context, polled)
    }
}

/// A timer that can be stopped, allocated once.
#[derive(Default)]
struct Clock {
    sleep: Option<Pin<Box<Sleep>>>,
    runs: bool,
}

impl Clock {
    fn start(&mut self, time: Duration) {
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(Instant::now() + time),
            None => self.sleep = Some(Box::pin(tokio::time::sleep(time))),
        }
        self.runs = true;
    }

    fn start_unless_running(&mut self, time: Duration) {
        if !self.runs {
            self.start(time);
        }
    }

    fn stop(&mut self) {
        self.runs = false;
    }

    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        self.runs && self.sleep.as_mut().is_some_and(|sleep| sleep.as_mut().poll(context).is_ready())
    }
}
