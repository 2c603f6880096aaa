//! What strangers do to a public port, and a sender who is served meanwhile. Each attack goes on for as long as the sender
//! needs to be served; memory is compared with the limits.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::attack::{Attack, withstood, withstood_by};
use crate::memory::{Before, SMALL};
use crate::sender::{Senders, delivery, new_commit};
use crate::world::World;
use crate::{stored, wire};

/// Attackers at once, where each does the worst it can: fewer than there are places.
const ATTACKERS: usize = 48;

/// The pace of those that are slow on purpose: the longest that keeps a connection busy.
const SLOW: Duration = Duration::from_millis(50);

const JSON: (&str, &str) = ("content-type", "application/json");

/// Reads until the receiver ends the connection.
async fn until_sent_away(mut stream: TcpStream) -> io::Result<()> {
    let mut sink = [0; 1024];
    while stream.read(&mut sink).await? > 0 {}
    Ok(())
}

/// One byte at a time, for as long as it is taken.
async fn trickle(mut stream: TcpStream, bytes: &[u8]) -> io::Result<()> {
    for byte in bytes.iter().cycle() {
        stream.write_all(&[*byte]).await?;
        tokio::time::sleep(SLOW).await;
    }
    Ok(())
}

/// The same piece over and over, as fast as it is taken, while what comes back is read.
async fn pour(stream: TcpStream, piece: &[u8]) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = read.take(u64::MAX);
    let (mut sink, pouring) = (tokio::io::sink(), async {
        loop {
            if let Err(error) = write.write_all(piece).await {
                return error;
            }
        }
    });
    tokio::select! {
        error = pouring => Err(error),
        ended = tokio::io::copy(&mut read, &mut sink) => ended.map(drop),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections() {
    withstood(SMALL, "header_timeout_ms = 2000", ATTACKERS, until_sent_away).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_comes_a_byte_at_a_time() {
    withstood(SMALL, "header_timeout_ms = 2000", ATTACKERS, |stream| trickle(stream, b"GET /hooks/github")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_comes_a_byte_at_a_time() {
    withstood(SMALL, "body_timeout_ms = 2000", ATTACKERS, async |mut stream: TcpStream| -> io::Result<()> {
        stream.write_all(wire::head(&[JSON, ("content-length", "100000")]).as_bytes()).await?;
        trickle(stream, b"x").await
    })
    .await;
}

/// Complete heads without bodies, more than there are places: a place is not kept for what does not come.
#[tokio::test(flavor = "multi_thread")]
async fn more_bodies_that_do_not_come_than_there_are_places() {
    let limits = "body_timeout_ms = 600000\nbody_grace_ms = 600000\ndrain_timeout_ms = 700000";
    let attackers = 3 * usize::try_from(SMALL.connections_max).unwrap();
    wire::raise_descriptors(attackers + 1_000);
    withstood(SMALL, limits, attackers, async |mut stream: TcpStream| -> io::Result<()> {
        stream.write_all(wire::head(&[JSON, ("content-length", "10")]).as_bytes()).await?;
        until_sent_away(stream).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_declares_more_than_is_allowed() {
    withstood(SMALL, "", ATTACKERS, async |mut stream: TcpStream| -> io::Result<()> {
        stream.write_all(wire::head(&[JSON, ("content-length", "10000000000")]).as_bytes()).await?;
        pour(stream, &[b'x'; 64 * 1024]).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_body_without_end() {
    withstood(SMALL, "", ATTACKERS / 4, async |mut stream: TcpStream| -> io::Result<()> {
        stream.write_all(wire::head(&[JSON, ("transfer-encoding", "chunked")]).as_bytes()).await?;
        let chunk = [b"10000\r\n", &[b'x'; 0x10000][..], b"\r\n"].concat();
        pour(stream, &chunk).await
    })
    .await;
}

/// Each byte a chunk of its own, with an extension that is as long as a line may be.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_body_that_is_nothing_but_extensions() {
    withstood(SMALL, "body_timeout_ms = 2000", ATTACKERS / 4, async |mut stream: TcpStream| -> io::Result<()> {
        stream.write_all(wire::head(&[JSON, ("transfer-encoding", "chunked")]).as_bytes()).await?;
        let chunk = format!("1;{}\r\nx\r\n", "a".repeat(8000));
        pour(stream, chunk.as_bytes()).await
    })
    .await;
}

/// 1 GiB of zeros for 1 MiB on the wire: it is never unpacked.
#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_bomb() {
    let world = withstood(SMALL, "", ATTACKERS, async |mut stream: TcpStream| -> io::Result<()> {
        for encoding in ["gzip", "deflate", "br", "zstd", "gzip, gzip"] {
            let head = wire::head(&[JSON, ("content-length", "8"), ("content-encoding", encoding)]);
            stream.write_all(&[head.as_bytes(), b"\x1f\x8b\x08\0\0\0\0\0"].concat()).await?;
            let status = wire::status(&mut stream).await;
            assert!(matches!(status, None | Some(415 | 429)), "{encoding}: {status:?}");
        }
        Ok(())
    })
    .await;
    let (_, metrics) = world.receiver.ask("/metrics").await.unwrap();
    assert!(metrics.contains(r#"outcome="unsupported_type""#), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_headers() {
    withstood(SMALL, "", ATTACKERS, async |mut stream: TcpStream| -> io::Result<()> {
        stream.write_all(b"POST /hooks/github HTTP/1.1\r\nhost: receiver\r\n").await?;
        pour(stream, b"x-a: b\r\n").await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_header_without_end() {
    withstood(SMALL, "", ATTACKERS, async |mut stream: TcpStream| -> io::Result<()> {
        stream.write_all(b"POST /hooks/github HTTP/1.1\r\nx-hub-signature-256: ").await?;
        pour(stream, &[b'a'; 16 * 1024]).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_close_for_writing_in_the_middle_of_a_body() {
    withstood(SMALL, "", ATTACKERS, async |mut stream: TcpStream| -> io::Result<()> {
        stream.write_all(wire::head(&[JSON, ("content-length", "100000")]).as_bytes()).await?;
        stream.write_all(&[b'x'; 50_000]).await?;
        stream.shutdown().await?;
        until_sent_away(stream).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_reset_in_the_middle_of_a_body() {
    withstood(SMALL, "", ATTACKERS, async |mut stream: TcpStream| -> io::Result<()> {
        stream.write_all(wire::head(&[JSON, ("content-length", "100000")]).as_bytes()).await?;
        stream.write_all(&[b'x'; 50_000]).await?;
        stream.set_zero_linger()
    })
    .await;
}

/// Requests one after the other in one piece, nothing signed, every answer read.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_unsigned_requests_in_a_row() {
    withstood(SMALL, "", ATTACKERS / 4, async |stream: TcpStream| -> io::Result<()> {
        let one = wire::head(&[JSON, ("content-length", "2"), ("x-github-event", "push")]) + "{}";
        pour(stream, one.repeat(50).as_bytes()).await
    })
    .await;
}

/// The same, and no answer is ever read: answers fill the kernel's buffers, and then nothing moves.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_never_read_their_answers() {
    withstood(SMALL, "write_timeout_ms = 2000", ATTACKERS / 4, async |mut stream: TcpStream| -> io::Result<()> {
        let one = wire::head(&[JSON, ("content-length", "2"), ("x-github-event", "push")]) + "{}";
        let many = one.repeat(50);
        loop {
            stream.write_all(many.as_bytes()).await?;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http() {
    withstood(SMALL, "", ATTACKERS, async |mut stream: TcpStream| -> io::Result<()> {
        for garbage in
            [&b"\0\0\0\0\r\n\r\n"[..], b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
        {
            stream.write_all(garbage).await?;
        }
        until_sent_away(stream).await
    })
    .await;
}

/// On a port that speaks TLS: HTTP in the clear, half a handshake and then silence, a record that claims to be larger than any,
/// and noise.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_tls() {
    let mut world = World::with_tls(&(SMALL.toml() + "handshake_timeout_ms = 2000")).await;
    withstood_by(&mut world, SMALL, ATTACKERS, async |mut stream: TcpStream| -> io::Result<()> {
        let clear = wire::head(&[JSON, ("content-length", "2")]) + "{}";
        let half: &[u8] = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03";
        let bytes = match stream.local_addr()?.port() % 4 {
            0 => clear.as_bytes(),
            1 => half,
            2 => b"\x16\x03\x01\xff\xff",
            _ => return pour(stream, &[0xa5; 16 * 1024]).await,
        };
        stream.write_all(bytes).await?;
        until_sent_away(stream).await
    })
    .await;
}

/// A handshake is the dearest thing that a stranger can ask for.
#[tokio::test(flavor = "multi_thread")]
async fn handshakes_without_end() {
    let mut world = World::with_tls(&SMALL.toml()).await;
    let client = Arc::new(wire::tls_client(world.receiver.authority.as_deref().unwrap()));
    withstood_by(&mut world, SMALL, ATTACKERS / 4, move |stream: TcpStream| {
        let client = Arc::clone(&client);
        async move { wire::handshake(&client, stream).await.map(drop) }
    })
    .await;
}

/// Many more connections than there are places, all held: 2,000, or 10,000 in the full size.
#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_connections() {
    let count = if std::env::var_os("TOWLINE_TESTS_FULL").is_some() { 10_000 } else { 2_000 };
    wire::raise_descriptors(count + 1_000);
    let mut world = World::new(&SMALL.toml()).await;
    let senders = Senders::well_behaved(&world.receiver);
    senders.see("the sender is served before", 3, |status| status == 202).await;
    let before = Before::of(&mut world.receiver.daemon, SMALL);
    let attack = Attack::start(count, &world.receiver, until_sent_away);
    attack.connected(count).await;
    senders.see("the sender is served meanwhile", 15, |status| status == 202).await;
    let (_, metrics) = world.receiver.ask("/metrics").await.unwrap();
    attack.stop().await;
    before.assert_bounded(&mut world.receiver.daemon);
    let outcomes = senders.stop_served().await;
    stored::every_202_is_stored(&world.nats, &outcomes).await;
    let open = crate::world::metric(&metrics, "towline_receiver_connections").unwrap();
    assert!(open <= SMALL.connections_max, "{open} connections are open");
}

/// Deliveries that are good, with a body as large as is allowed, are served meanwhile too: what is bounded is not refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_delivery_during_an_attack() {
    let world = World::new(&SMALL.toml()).await;
    let attack = Attack::start(ATTACKERS, &world.receiver, |stream| trickle(stream, b"GET /hooks/github"));
    attack.connected(ATTACKERS).await;
    let client = crate::sender::client();
    for _ in 0..3 {
        let commit = new_commit();
        let padded = crate::sender::padded(&delivery(&commit), SMALL.body_bytes_max);
        let url = world.receiver.url(crate::world::PATH);
        assert_eq!(crate::sender::post(&client, &url, &commit, padded).await.status, Ok(202));
    }
    attack.stop().await;
}
