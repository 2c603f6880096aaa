//! What a Git host would not do, or says too much of: explained, bounded, and without the token.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{Desk, TOKEN, URL};
use crate::serve::{Reply, Server};

/// What `check` says of a host that always answers so; it has to end with 3.
fn said(provider: &'static str, reply: impl Fn() -> Reply + Send + 'static) -> String {
    let server = Server::start(move |_| reply());
    let ran = Desk::new(provider, server.url()).run("check", &[]);
    assert_eq!((ran.code, ran.stdout.as_str()), (3, ""), "{}", ran.stderr);
    ran.stderr
}

#[test]
fn a_refusal_says_what_is_missing() {
    let message = |text: &str| json!({ "message": text }).to_string();
    let not_found = said("github", || Reply::new(404, json!({"message": "Not Found"})));
    assert!(not_found.contains("admin:repo_hook") && not_found.contains("Webhooks: read and write"), "{not_found}");
    let not_found = said("gitlab", || Reply::new(404, json!({"message": "404 Project Not Found"})));
    assert!(not_found.contains("Maintainer"), "{not_found}");
    let forbidden =
        said("gitea", move || Reply::new(403, message("token does not have at least one of required scope(s)")));
    assert!(forbidden.contains("write:repository") && forbidden.contains("required scope(s)"), "{forbidden}");
    let unknown = said("github", || Reply::new(401, json!({"message": "Bad credentials"})));
    assert!(unknown.contains("the token is not accepted"), "{unknown}");
    let broken = said("gitlab", || Reply::new(502, "<html>"));
    assert!(broken.contains("try again later"), "{broken}");
}

#[test]
fn a_rate_limit_says_until_when() {
    let limited = said("github", || {
        Reply::new(403, json!({"message": "API rate limit exceeded"}))
            .with("x-ratelimit-remaining", 0)
            .with("x-ratelimit-reset", 1_767_225_600)
    });
    assert!(limited.contains("after 2026-01-01T00:00:00Z"), "{limited}");
    let limited = said("gitlab", || Reply::new(429, "Retry later").with("retry-after", 60));
    assert!(limited.contains("try again in 1m"), "{limited}");
}

#[test]
fn a_redirect_does_not_get_the_token() {
    let (seen, asked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (elsewhere_seen, here_asked) = (Arc::clone(&seen), Arc::clone(&asked));
    let elsewhere = Server::start(move |_| {
        elsewhere_seen.fetch_add(1, Ordering::Relaxed);
        Reply::new(200, "[]")
    });
    let to = elsewhere.url();
    let said = said("github", move || {
        here_asked.fetch_add(1, Ordering::Relaxed);
        Reply::new(301, "").with("location", &to)
    });
    assert!(said.contains("renamed or moved"), "{said}");
    assert_eq!((asked.load(Ordering::Relaxed), seen.load(Ordering::Relaxed)), (1, 0));
}

#[test]
fn a_host_that_never_ends_is_left() {
    let pages = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&pages);
    let said_of_pages = said("github", move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let hook = json!({"id": 1, "active": true, "events": [], "config": {"url": "https://other.example"}});
        Reply::new(200, json!([hook])).with("link", "<x>; rel=\"next\"")
    });
    assert!(said_of_pages.contains("more than 10 pages") && pages.load(Ordering::Relaxed) == 10, "{said_of_pages}");
    let long = said("github", || Reply::new(200, format!("[\"{}\"]", "x".repeat(9 << 20))));
    assert!(long.contains("more than 8388608 bytes"), "{long}");
    let other = said("gitlab", || Reply::new(200, json!([{"id": "seven"}])));
    assert!(other.contains("not what this API is documented to say"), "{other}");
}

#[test]
fn what_a_host_says_cannot_paint_the_terminal_or_show_the_token() {
    let said = said("gitea", || Reply::new(422, json!({"message": format!("\u{1b}[2J{TOKEN}\n\u{7}")})));
    assert!(!said.contains('\u{1b}') && said.contains("***"), "{said:?}");
}

#[test]
fn a_token_is_not_sent_where_everybody_can_read_it() {
    for api in [
        "http://192.0.2.1",
        "https://user:hunter2@git.example",
        "ftp://git.example",
        "https://git.example/?token=hunter2",
    ] {
        let ran = Desk::new("gitea", api.to_owned()).run("check", &[]);
        assert_eq!(ran.code, 2, "{api}: {}", ran.stderr);
        assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    }
}

#[test]
fn a_token_for_this_machine_takes_no_way_over_a_proxy() {
    let server = Server::start(|_| Reply::new(200, "[]"));
    let proxy = Server::start(|_| panic!("a proxy sees the token"));
    let desk = Desk::new("github", server.url());
    let ran = desk.run_with("check", &[], &[("http_proxy", &proxy.url()), ("all_proxy", &proxy.url())]);
    assert_eq!(ran.code, 1, "no hook is there: {}", ran.stderr);
}

#[test]
fn without_a_token_nothing_is_asked() {
    let server = Server::start(|_| panic!("nobody may ask"));
    let desk = Desk::new("github", server.url());
    for bad in ["", "two\nlines", "not ascii: ä"] {
        desk.place.write("token", bad);
        let ran = desk.run("check", &[]);
        assert_eq!(ran.code, 3, "{}", ran.stderr);
        assert!(!ran.stderr.contains("lines") && ran.stderr.contains("one line"), "{}", ran.stderr);
    }
}

#[test]
fn whose_hook_it_is_has_to_be_said_once() {
    let desk = Desk::new("github", "http://127.0.0.1:1".to_owned());
    let needed = ["webhook", "delete", "--provider", "github", "--url", URL, "--token-file", "token"];
    for whose in [&[][..], &["--repo", "org/app", "--org", "org"]] {
        let ran = desk.place.towline(&[&needed[..], whose].concat());
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains("--repo") && ran.stderr.contains("--org"), "{}", ran.stderr);
    }
}

#[test]
fn nobody_there_is_said_in_words() {
    let address = Server::start(|_| Reply::new(200, "")).url();
    let ran = Desk::new("github", address).run("check", &[]);
    assert_eq!(ran.code, 3);
    assert!(ran.stderr.contains("nothing listens there"), "{}", ran.stderr);
}

#[test]
fn a_new_secret_that_the_host_did_not_take_does_not_stay() {
    let posts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&posts);
    // Gitea: it does not tell of a hook's secret. The hook that is there looks right, and has another one.
    let server = Server::start(move |request| {
        let hook = |id: u64| {
            let config = json!({"url": URL, "content_type": "json"});
            json!({"id": id, "type": "gitea", "active": true, "events": ["push"], "branch_filter": "", "config": config})
        };
        match request.method() {
            "GET" => Reply::new(200, json!([hook(1)])),
            "DELETE" => Reply::new(204, ""),
            _ => {
                let mut posts = seen.lock().unwrap();
                posts.push(serde_json::from_str::<Value>(&request.body).unwrap()["config"]["secret"].clone());
                if posts.len() == 1 { Reply::new(500, "") } else { Reply::new(201, hook(2)) }
            }
        }
    });
    let desk = Desk::new("gitea", server.url());
    let ran = desk.create(&["--no-test"]);
    assert_eq!((ran.code, desk.secret()), (3, None), "{}", ran.stderr);
    let report = desk.created(&["--no-test"]);
    assert_eq!((&report["outcome"], &report["secretMade"]), (&json!("updated"), &json!(true)));
    assert_eq!(posts.lock().unwrap().last(), Some(&Value::from(desk.secret().unwrap())));

    // One that was there before is its owner's.
    posts.lock().unwrap().clear();
    assert_eq!((desk.create(&["--no-test", "--replace"]).code, desk.secret().is_some()), (3, true));
}

#[test]
fn what_was_deleted_before_a_failure_is_said() {
    let hook = |id: u64| json!({"id": id, "active": true, "events": ["push"], "config": {"url": URL}});
    let server = Server::start(move |request| match (request.method(), request.path().rsplit('/').next()) {
        ("GET", _) => Reply::new(200, json!([hook(1), hook(2), hook(3), hook(4)])),
        (_, Some("1" | "2")) => Reply::new(204, ""),
        _ => Reply::new(403, json!({"message": "Forbidden"})),
    });
    let ran = Desk::new("github", server.url()).run("delete", &["--all"]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stderr.contains("delete webhook 3, after 1, 2 were deleted (still there: 3, 4;"), "{}", ran.stderr);
}

#[test]
fn a_secret_is_not_sent_where_everybody_can_read_it() {
    let server = Server::start(|_| panic!("nobody may ask"));
    let desk = Desk::new("gitlab", server.url());
    desk.place.write("secret", "hunter2\n").write("basic", "user:hunter2\n");
    let away = "http://192.0.2.1/hooks/x";
    let needed = ["--repo", "org/app", "--url", away];
    let of_check = ["--provider", "gitlab", "--token-file", "token", "--api", &desk.api, "--secret-file", "secret"];
    let after = ["--after", "0123456789012345678901234567890123456789"];
    for (command, more) in [
        ("check", &of_check[..]),
        ("send", &[&["--provider", "gitlab", "--secret-file", "secret"][..], &after].concat()),
        ("send", &[&["--provider", "azure-devops", "--secret-file", "basic"][..], &after].concat()),
    ] {
        let ran = desk.place.towline(&[&["webhook", command][..], &needed, more].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
        assert!(ran.stderr.contains("--allow-http") && !ran.stderr.contains("hunter2"), "{}", ran.stderr);
    }
}
