//! A body on its way: its connection begins to work with its last byte. Knows a place and where a body ends; how fast it
//! has to come is [`crate::body`]'s business.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

use crate::connections::Place;

pub(crate) struct Arriving {
    pub(crate) body: Incoming,
    pub(crate) place: Arc<Place>,
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() && !self.place.begin_work() {
            // The place went to another, and the connection ends: nothing may come of a request to which nobody can be
            // answered.
            return Poll::Pending;
        }
        Poll::Ready(frame)
    }

    // The end is seen by asking for it, never foretold: somebody might not ask.
    fn is_end_stream(&self) -> bool {
        false
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
