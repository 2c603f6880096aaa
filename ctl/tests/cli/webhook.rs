//! `towline webhook send` against a receiver of a few lines.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use serde_json::Value;

use crate::serve::Request;
use crate::{Place, Ran};

const AFTER: &str = "0123456789012345678901234567890123456789";

/// Takes one request, gives one answer.
fn receiver(answer: &'static str) -> (SocketAddr, JoinHandle<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let request = Request::read(&stream);
        stream.write_all(answer.as_bytes()).unwrap();
        request
    });
    (address, served)
}

fn send(place: &Place, address: SocketAddr, provider: &str, secret: &str, more: &[&str]) -> Ran {
    place.write("secret", secret);
    let url = format!("http://{address}/hooks/x");
    let arguments = [
        &["webhook", "send", "--provider", provider, "--secret-file", "secret", "--url", &url, "--repo", "org/app"][..],
        &["--ref", "refs/heads/main", "--after", AFTER],
        more,
    ]
    .concat();
    place.towline(&arguments)
}

const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\ncontent-length: 9\r\n\r\npublished";

#[test]
fn every_provider_is_signed_in_its_way() {
    let signing_key = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD\n";
    for (provider, secret, headers, after) in [
        ("github", "hunter2\n", &["x-hub-signature-256", "x-github-event", "x-github-delivery"][..], "/after"),
        ("gitea", "hunter2\n", &["x-gitea-signature", "x-gitea-event", "x-gitea-delivery"], "/after"),
        ("forgejo", "hunter2\n", &["x-forgejo-signature", "x-forgejo-event", "x-forgejo-delivery"], "/after"),
        ("gitlab", "hunter2\n", &["x-gitlab-token", "x-gitlab-event"], "/after"),
        ("gitlab", signing_key, &["webhook-signature", "webhook-timestamp", "webhook-id", "x-gitlab-event"], "/after"),
        (
            "bitbucket",
            "hunter2\n",
            &["x-hub-signature", "x-event-key", "x-request-uuid"],
            "/push/changes/0/new/target/hash",
        ),
        ("bitbucket-server", "hunter2\n", &["x-hub-signature", "x-event-key", "x-request-id"], "/changes/0/toHash"),
        ("azure-devops", "user:hunter2\n", &["authorization"], "/resource/refUpdates/0/newObjectId"),
        ("generic", signing_key, &["webhook-signature", "webhook-timestamp", "webhook-id"], "/after"),
    ] {
        let (place, (address, served)) = (Place::new(), receiver(ACCEPTED));
        let ran = send(&place, address, provider, secret, &[]);
        assert_eq!(ran.code, 0, "{provider}: {}{}", ran.stdout, ran.stderr);
        let request = served.join().unwrap();
        assert_eq!(request.line, "POST /hooks/x HTTP/1.1");
        assert_eq!(request.header("content-type"), Some("application/json"));
        for name in headers {
            assert!(request.header(name).is_some(), "{provider} has no {name}");
            assert!(ran.stdout.contains(name), "{}", ran.stdout);
        }
        let body: Value = serde_json::from_str(&request.body).unwrap();
        assert_eq!(body.pointer(after).and_then(Value::as_str), Some(AFTER), "{provider}: {body}");
        assert!(ran.stdout.contains("202: the commit event is published"), "{}", ran.stdout);
        for shown in ["hunter2", "aHVudGVyMg", "dXNlcjpodW50ZXIy", "C2FVsBQIhrscChlQ"] {
            assert!(!ran.stdout.contains(shown), "the secret is shown: {}", ran.stdout);
        }
    }
}

#[test]
fn a_refusal_is_explained_and_ends_with_1() {
    let (place, (address, served)) =
        (Place::new(), receiver("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
    let ran = send(&place, address, "github", "wrong", &["-o", "json"]);
    served.join().unwrap();
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&report["status"], &report["accepted"]), (&Value::from(401), &Value::Bool(false)));
}

#[test]
fn every_answer_is_explained_and_leads_to_the_receivers_log() {
    for (status, words) in [
        (401, "`secrets` in receiver.toml"),
        (404, "`path` of the hooks"),
        (415, "application/json"),
        (429, "wait"),
        (503, "send it again later"),
        (502, "something in front"),
    ] {
        let answer = format!(
            "HTTP/1.1 {status} X\r\nx-request-id: abc123\r\nretry-after: 7\r\ncontent-length: 4\r\nconnection: close\r\n\r\na\x1b[2"
        );
        let (place, (address, served)) = (Place::new(), receiver(Box::leak(answer.into_boxed_str())));
        let ran = send(&place, address, "github", "s", &[]);
        served.join().unwrap();
        assert_eq!(ran.code, 1);
        assert!(ran.stdout.contains(words) && ran.stdout.contains("retry after: 7"), "{}", ran.stdout);
        assert!(ran.stdout.contains("request: abc123 (search the receiver's log for it)"), "{}", ran.stdout);
        assert!(!ran.stdout.contains('\x1b'), "an answer cannot paint the terminal: {:?}", ran.stdout);
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let answer = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    let (place, (address, served)) = (Place::new(), receiver(answer));
    let ran = send(&place, address, "gitea", "s", &[]);
    served.join().unwrap();
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.contains("302: a redirect"), "{}", ran.stdout);
}

#[test]
fn the_same_delivery_can_be_sent_again() {
    let bodies = [(), ()].map(|()| {
        let (place, (address, served)) = (Place::new(), receiver(ACCEPTED));
        assert_eq!(send(&place, address, "github", "s", &["--delivery", "one"]).code, 0);
        let request = served.join().unwrap();
        (request.header("x-github-delivery").unwrap().to_owned(), request.body)
    });
    assert_eq!(bodies[0], bodies[1]);
}

#[test]
fn nobody_there_is_not_a_refusal() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let ran = send(&Place::new(), address, "github", "s", &[]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stderr.starts_with("error: failed to post to http://127.0.0.1"), "{}", ran.stderr);
    assert!(ran.stderr.contains(": nothing listens there"), "{}", ran.stderr);

    let (place, missing) = (Place::new(), "--secret-file");
    let ran = place.towline(&[
        "webhook",
        "send",
        "--provider",
        "github",
        missing,
        "nowhere",
        "--url",
        "http://127.0.0.1:1/",
        "--repo",
        "a/b",
        "--after",
        AFTER,
    ]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
}
