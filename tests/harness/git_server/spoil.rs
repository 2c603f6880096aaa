//! What the server makes of an answer while something is wrong with it. Knows Git's packet lines as far as the faults need them.

use std::io;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;

use super::Fault;

pub(super) type Body = BoxBody<Bytes, io::Error>;

/// One packet line of a list that goes on, and one of progress. The four digits are the length, themselves included.
const CAPABILITY: &[u8] = b"0010agent=noise\n";
const PROGRESS: &[u8] = b"000b\x02wait\n\r";
/// Lines are sent this many at a time: one by one they are a test of the scheduler.
const LINES: usize = 1_000;

pub(super) fn spoiled(body: Bytes, fault: Fault) -> Body {
    let half = body.slice(..body.len() / 2);
    match fault {
        Fault::Truncate | Fault::Reset => {
            streamed(stream::iter([Ok(half), Err(io::Error::other("cut off by the test"))]))
        }
        // What ends it is the end of the connection.
        Fault::StallBody => streamed(stream::iter([Ok(half)]).chain(stream::pending())),
        Fault::FlipPack if is_pack(&body) => whole(flipped(&body)),
        Fault::EndlessList if !is_pack(&body) => {
            endless(b"001e# service=git-upload-pack\n0000000eversion 2\n", CAPABILITY)
        }
        Fault::EndlessPack if is_pack(&body) => endless(b"000dpackfile\n", PROGRESS),
        _ => whole(body),
    }
}

pub(super) fn whole(body: Bytes) -> Body {
    Full::new(body).map_err(|never| match never {}).boxed()
}

fn is_pack(body: &Bytes) -> bool {
    body.windows(4).any(|bytes| bytes == b"PACK")
}

/// A pack ends with its checksum: the last byte of the last packet line that carries the pack (band 1), not progress (band 2).
fn flipped(body: &Bytes) -> Bytes {
    let mut bytes = body.to_vec();
    let (mut at, mut last) = (0, None);
    while let Some(digits) = bytes.get(at..at + 4).and_then(|digits| std::str::from_utf8(digits).ok()) {
        // 0 to 3 are marks, four bytes long.
        let length = usize::from_str_radix(digits, 16).unwrap_or_default().max(4);
        if length > 5 && bytes.get(at + 4) == Some(&1) {
            last = Some(at + length - 1);
        }
        at += length;
    }
    if let Some(byte) = last.and_then(|last| bytes.get_mut(last)) {
        *byte ^= 1;
    }
    bytes.into()
}

fn endless(head: &'static [u8], line: &'static [u8]) -> Body {
    let lines = Bytes::from(line.repeat(LINES));
    let head = stream::iter([Ok(Bytes::from_static(head))]);
    streamed(head.chain(stream::repeat_with(move || Ok(lines.clone()))))
}

fn streamed(pieces: impl futures::Stream<Item = io::Result<Bytes>> + Send + Sync + 'static) -> Body {
    BodyExt::boxed(StreamBody::new(pieces.map(|piece| piece.map(Frame::data))))
}
