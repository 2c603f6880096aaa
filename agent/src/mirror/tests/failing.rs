//! What an operator is told when a fetch fails, and that it ends in time.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::lab::{GENEROUS, Lab, fetch, fetch_main, files, name, never, noise, resolve, within};
use super::server::Fault;
use crate::access::Access;
use crate::mirror::lock::Lock;
use crate::mirror::{FetchError, Mirror, OpenError};

fn answer(status: &'static str, headers: &str) -> Fault {
    Fault::Answer { status, headers: headers.to_owned(), body: "no" }
}

/// The error of a fetch under a fault; resolving must fail the same way.
fn under(lab: &Lab, fault: Fault) -> FetchError {
    lab.server.misbehave(fault);
    let error = fetch(&lab.mirror(), "refs/heads/main").unwrap_err();
    let resolving = resolve(&lab.mirror(), "refs/heads/main").unwrap_err();
    assert_eq!(error.to_string(), resolving.to_string());
    lab.server.misbehave(None);
    error
}

#[test]
fn each_status_says_what_to_do() {
    let lab = Lab::new();
    let url = lab.url();
    for status in ["401 Unauthorized", "403 Forbidden"] {
        let error = under(&lab, answer(status, "WWW-Authenticate: Basic realm=\"git\"\r\n"));
        assert!(matches!(error, FetchError::Anonymous { .. }) && !error.is_retryable(), "{error:?}");
    }
    let error = under(&lab, answer("404 Not Found", ""));
    assert!(matches!(error, FetchError::RepositoryNotFound { .. }) && !error.is_retryable(), "{error:?}");
    let error = under(&lab, answer("503 Unavailable", "Retry-After: 7\r\n"));
    assert_eq!(
        error.to_string(),
        format!("fetch from {url}: the server answers HTTP 503 and asks to be left alone for 7 s")
    );
    assert!(error.is_retryable() && error.retry_after() == Some(Duration::from_secs(7)));
    let used_up = answer("403 Forbidden", "X-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: 1\r\n");
    let error = under(&lab, used_up);
    assert!(error.is_retryable() && error.retry_after() == Some(Duration::from_secs(1)), "not a refusal: {error:?}");
    for (status, retryable) in [("500 Oops", true), ("429 Slow down", true), ("400 Bad", false)] {
        let error = under(&lab, answer(status, ""));
        assert!(matches!(error, FetchError::Status { .. }) && error.is_retryable() == retryable, "{error:?}");
    }
    let error = under(&lab, answer("200 OK", "Content-Type: text/html\r\n"));
    assert!(matches!(&error, FetchError::NotGit { content_type, .. } if content_type == "text/html"), "{error:?}");
    assert_eq!(fetch_main(&lab.mirror()).commit, lab.head(), "recovers by itself");
}

#[test]
fn redirects_stay_on_the_host() {
    let lab = Lab::new();
    let elsewhere = Fault::RedirectUnless { prefix: "/none", to: "http://localhost:1/org/fleet.git".to_owned() };
    let error = under(&lab, elsewhere);
    assert!(matches!(&error, FetchError::Redirect { to, .. } if to == "http://localhost:1"), "{error:?}");
    let around = Fault::RedirectUnless { prefix: "/none", to: "/org/fleet.git".to_owned() };
    assert!(matches!(under(&lab, around), FetchError::Redirect { .. }));

    lab.server.misbehave(Fault::RedirectUnless { prefix: "/org/fleet.git", to: "/org/fleet.git".to_owned() });
    let renamed = Mirror::open(&lab.storage, &lab.url().replace("fleet", "formerly")).unwrap();
    assert_eq!(fetch_main(&renamed).commit, lab.head());
    assert_eq!(resolve(&renamed, "refs/heads/main").unwrap(), Some(lab.head()));
}

#[test]
fn nobody_there_and_no_tls() {
    let lab = Lab::new();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mirror = Mirror::open(&lab.storage, &format!("http://{closed}/org/fleet.git")).unwrap();
    let error = fetch(&mirror, "refs/heads/main").unwrap_err();
    assert!(matches!(error, FetchError::Connect { .. }) && error.is_retryable(), "{error:?}");
    assert!(error.to_string().contains("refused"), "{error}");
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let mirror = Mirror::open(&lab.storage, &format!("https://{}/org/fleet.git", plain.local_addr().unwrap())).unwrap();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = plain.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        // Until the client is gone, so that the answer is not lost in a reset.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let error = fetch(&mirror, "refs/heads/main").unwrap_err();
    assert!(matches!(error, FetchError::Tls { .. }) && !error.is_retryable(), "{error:?}");
    answering.join().unwrap();
}

#[test]
fn an_empty_answer_is_not_a_repository_without_refs() {
    let lab = Lab::new();
    let headers = "Content-Type: application/x-git-upload-pack-advertisement\r\n".to_owned();
    for body in ["", "0000", "001e# service=git-upload-pack\n00000000"] {
        let error = under(&lab, Fault::Answer { status: "200 OK", headers: headers.clone(), body });
        assert!(matches!(error, FetchError::Protocol { .. }), "{body:?}: {error:?}");
    }
}

#[test]
fn a_password_in_a_url_is_refused_and_never_shown() {
    let lab = Lab::new();
    let url = lab.url().replace("http://", "http://robot:hunter2@");
    for url in [&url, &url.replace("http://", "https://")] {
        let error = Mirror::open(&lab.storage, url).unwrap_err();
        assert!(matches!(error, OpenError::Password), "{error:?}");
        let text = format!("{error} {error:?}");
        assert!(text.contains("secretRef") && !text.contains("hunter2") && !text.contains("robot"), "{text}");
    }
    // A user alone is part of what some hosts show as the clone URL. It says nothing.
    let mirror = Mirror::open(&lab.storage, &url.replace(":hunter2", "")).unwrap();
    assert_eq!(fetch_main(&mirror).commit, lab.head());
    assert_eq!(mirror.url(), lab.url());
    assert!(lab.server.requests.try_iter().all(|request| !request.to_lowercase().contains("authorization")));
}

#[test]
fn a_server_that_says_nothing_is_left_at_the_deadline() {
    let lab = Lab::new();
    let mirror = lab.mirror();
    fetch_main(&mirror);
    lab.write("apps/web.yaml", "kind: Web2\n");
    lab.commit("second");
    for fault in [Fault::Silent, Fault::Drip, Fault::SilentPack] {
        lab.server.misbehave(fault.clone());
        let begun = Instant::now();
        let error = mirror
            .fetch(&name("refs/heads/main"), &Access::default(), within(Duration::from_secs(1)), &never())
            .unwrap_err();
        assert!(matches!(error, FetchError::DeadlineExceeded { .. }) && error.is_retryable(), "{fault:?}: {error:?}");
        assert!(begun.elapsed() < GENEROUS, "{fault:?}");
    }
    lab.server.misbehave(Fault::Drip);
    let error = mirror
        .resolve(&name("refs/heads/main"), &Access::default(), within(Duration::from_secs(1)), &never())
        .unwrap_err();
    assert!(matches!(error, FetchError::DeadlineExceeded { .. }), "{error:?}");
    lab.server.misbehave(None);
    assert_eq!(fetch_main(&mirror).commit, lab.head());
}

#[test]
fn an_interruption_ends_a_wait() {
    let lab = Lab::new();
    let mirror = lab.mirror();
    for fault in [Fault::Silent, Fault::Drip, Fault::SilentPack] {
        let is_pack = fault == Fault::SilentPack;
        lab.server.requests.try_iter().for_each(drop);
        lab.server.misbehave(fault);
        let (interrupt, begun) = (never(), Instant::now());
        let (flag, deadline) = (Arc::clone(&interrupt), within(GENEROUS * 10));
        let fetching = {
            let mirror = mirror.clone();
            std::thread::spawn(move || mirror.fetch(&name("refs/heads/main"), &Access::default(), deadline, &flag))
        };
        // Not before the server was asked: the pack is the second POST.
        for _ in 0..if is_pack { 3 } else { 1 } {
            lab.server.requests.recv_timeout(GENEROUS).unwrap();
        }
        interrupt.store(true, Ordering::Relaxed);
        let error = fetching.join().unwrap().unwrap_err();
        assert!(matches!(error, FetchError::Interrupted { .. }), "{error:?}");
        assert!(begun.elapsed() < GENEROUS);
    }
}

#[test]
fn a_pack_that_breaks_leaves_the_last_good_state() {
    let lab = Lab::new();
    let mirror = lab.mirror();
    let first = fetch_main(&mirror).commit;
    lab.write("apps/noise.yaml", &noise(1, 20_000));
    let second = lab.commit("second");
    for fault in [Fault::CutPack(5_000), Fault::FlipPack] {
        lab.server.misbehave(fault.clone());
        let error = fetch(&mirror, "refs/heads/main").unwrap_err();
        assert!(matches!(error, FetchError::Protocol { .. }) && error.is_retryable(), "{fault:?}: {error:?}");
        assert!(mirror.holds(&first) && !mirror.holds(&second), "{fault:?}");
        assert_eq!(files(&mirror, &first, "apps").len(), 1);
    }
    lab.server.misbehave(None);
    assert_eq!(fetch_main(&mirror).commit, second);
    assert!(mirror.holds(&second));
}

#[test]
fn one_fetch_at_a_time() {
    let lab = Lab::new();
    let mirror = lab.mirror();
    let held = Lock::try_take(&lab.directory().with_extension("lock")).unwrap().unwrap();
    let error = mirror
        .fetch(&name("refs/heads/main"), &Access::default(), within(Duration::from_millis(300)), &never())
        .unwrap_err();
    assert!(matches!(error, FetchError::Busy { .. }) && error.is_retryable(), "{error:?}");
    drop(held);
    let fetching: Vec<_> = (0..4)
        .map(|_| {
            let mirror = mirror.clone();
            std::thread::spawn(move || fetch_main(&mirror).commit)
        })
        .collect();
    for one in fetching {
        assert_eq!(one.join().unwrap(), lab.head());
    }
}
