//! What happened to other receivers, in the way it happened to them, and does not happen here. Those that need no real
//! process are shown beside the code they concern, in `receiver/tests`.

use std::io;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::attack::withstood;
use crate::memory::{Bounds, MIB, SMALL};
use crate::wire;

const JSON: (&str, &str) = ("content-type", "application/json");

/// Well-formed, and of nothing.
const SIGNATURE: (&str, &str) =
    ("x-hub-signature-256", "sha256=0000000000000000000000000000000000000000000000000000000000000000");

/// A body that nobody signed, as large as it gets: all but its last byte is sent, and held.
async fn nearly_all_of_it(mut stream: TcpStream, declared: u64) -> io::Result<()> {
    let length = declared.to_string();
    let headers = [JSON, ("x-github-event", "push"), SIGNATURE, ("content-length", &length)];
    stream.write_all(wire::head(&headers).as_bytes()).await?;
    let piece = vec![b'x'; 64 * 1024];
    let mut left = usize::try_from(declared - 1).unwrap_or(usize::MAX);
    while left > 0 {
        let now = left.min(piece.len());
        stream.write_all(&piece[..now]).await?;
        left -= now;
    }
    wire::status(&mut stream).await;
    Ok(())
}

/// Argo Events read the whole body of any webhook with no limit, whatever was declared.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2022_31054_unbounded_body_before_authentication() {
    withstood(SMALL, "", 12, async |mut stream: TcpStream| -> io::Result<()> {
        stream.write_all(wire::head(&[JSON, SIGNATURE, ("transfer-encoding", "chunked")]).as_bytes()).await?;
        let chunk = [b"100000\r\n", &vec![b'x'; 0x10_0000][..], b"\r\n"].concat();
        for _ in 0..1024 {
            stream.write_all(&chunk).await?;
        }
        Ok(())
    })
    .await;
}

/// Argo CD read JSON of any size at `/api/webhook`, and was killed for its memory.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2024_40634_unbounded_body_before_authentication() {
    withstood(SMALL, "", 48, |stream| nearly_all_of_it(stream, 4096 * MIB)).await;
}

/// Argo Workflows needed the raw body for the signature, and read as much as came. Here each body is within what one may
/// have, and all of them together are far more than all bodies may: they refuse each other, and no sender.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2026_42294_unbounded_body_before_authentication() {
    let bounds = Bounds { body_bytes_max: 4 * MIB, ..SMALL };
    let limits = "body_timeout_ms = 5000";
    let world = withstood(bounds, limits, 48, move |stream| nearly_all_of_it(stream, bounds.body_bytes_max)).await;
    let (_, metrics) = world.receiver.ask("/metrics").await.unwrap();
    assert!(metrics.contains(r#"outcome="busy""#), "the budget was never used up: {metrics}");
}
