use rstest::rstest;

use super::*;
use crate::sweep::decide::AttemptResult;

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
    list.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
}

fn access() -> Access<'static> {
    Access { api: "https://git.example/api/v3", authorization: HeaderValue::from_static("Bearer t") }
}

#[test]
fn requests() {
    let (repository, organisation) = (Scope::Repository("org/app".into()), Scope::Organisation("org".into()));
    let etag = HeaderValue::from_static("W/\"1\"");
    let first = access().deliveries(&repository, 7, None, Some(&etag)).unwrap();
    assert_eq!(first.method(), Method::GET);
    assert_eq!(first.uri(), "https://git.example/api/v3/repos/org/app/hooks/7/deliveries?per_page=100");
    assert_eq!(first.headers()["if-none-match"], "W/\"1\"");
    assert_eq!(first.headers()["authorization"], "Bearer t");
    assert_eq!(first.headers()["accept"], "application/vnd.github+json");
    assert_eq!(first.headers()["x-github-api-version"], "2022-11-28");
    let second = access().deliveries(&organisation, 7, Some("v1_9"), None).unwrap();
    assert_eq!(second.uri(), "https://git.example/api/v3/orgs/org/hooks/7/deliveries?per_page=100&cursor=v1_9");
    assert!(!second.headers().contains_key("if-none-match"));
    let attempt = access().redeliver(&repository, 7, u64::MAX).unwrap();
    assert_eq!(attempt.method(), Method::POST);
    let path = "/api/v3/repos/org/app/hooks/7/deliveries/18446744073709551615/attempts";
    assert_eq!(attempt.uri().path(), path);
    assert_eq!(access().hooks(&organisation).unwrap().uri().path(), "/api/v3/orgs/org/hooks");
}

/// The documented shape, with fields that are not read.
#[test]
fn a_page() {
    let body = br#"[
        {"id": 158233914212352, "guid": "0b989ba4-242f-11e5-81e1-c7b6966d2516", "delivered_at": "2026-06-03T00:57:16Z",
         "redelivery": true, "duration": 0.27, "status": "OK", "status_code": 200, "event": "push", "action": null,
         "installation_id": null, "repository_id": 456, "throttled_at": null, "url": ""},
        {"id": 1, "guid": "b", "delivered_at": "2026-06-03T00:57:16.123Z", "redelivery": false, "duration": 10.0,
         "status": "failed to connect", "status_code": 502, "event": "issues", "action": "opened"},
        {"id": 2, "guid": "c", "delivered_at": "2026-06-03T02:57:16+02:00", "status_code": null, "event": "delete"}
    ]"#;
    let page = attempts(body).unwrap();
    let seen: Vec<_> = page.iter().map(|a| (a.id, a.is_redelivery, a.event, a.result)).collect();
    assert_eq!(
        seen,
        [
            (158_233_914_212_352, true, Event::Push, AttemptResult::Delivered),
            (1, false, Event::Other, AttemptResult::Failed),
            (2, false, Event::Other, AttemptResult::Open),
        ]
    );
    assert_eq!(page[0].delivered_at, page[2].delivered_at);
}

#[rstest]
#[case("")]
#[case("<html>")]
#[case("{}")]
#[case("{\"message\": \"Not Found\"}")]
#[case("[{\"id\": 1}]")]
#[case("[{\"id\": \"1\", \"guid\": \"a\", \"delivered_at\": \"2026-06-03T00:57:16Z\", \"event\": \"push\"}]")]
#[case("[{\"id\": -1, \"guid\": \"a\", \"delivered_at\": \"2026-06-03T00:57:16Z\", \"event\": \"push\"}]")]
#[case("[{\"id\": 1, \"guid\": \"a\", \"delivered_at\": \"yesterday\", \"event\": \"push\"}]")]
fn garbage(#[case] body: &str) {
    let Err(ApiError::Unreadable { .. }) = attempts(body.as_bytes()) else { panic!("{body} is read") };
    assert!(hook_id(body.as_bytes(), "https://hooks.example").is_err());
}

#[test]
fn a_guid_that_is_none_is_passed_over() {
    let body = format!(
        r#"[{{"id": 1, "guid": "{}", "delivered_at": "2026-06-03T00:57:16Z", "event": "push", "status_code": 503}}]"#,
        "a".repeat(65)
    );
    assert_eq!(attempts(body.as_bytes()), Ok(Vec::new()));
}

#[rstest]
#[case(
    r#"<https://api.github.com/repositories/1/hooks/2/deliveries?per_page=100&cursor=v1_17684038513>; rel="next""#,
    Some("v1_17684038513")
)]
#[case(r#"<https://x/?cursor=v1_1>; rel="prev", <https://x/?cursor=v1_2&per_page=100>; rel="next""#, Some("v1_2"))]
#[case(r#"<https://x/?cursor=v1_1>; rel="prev""#, None)]
#[case(r#"<https://x/?page=2>; rel="next""#, None)]
#[case(r#"<https://x/?cursor=>; rel="next""#, None)]
#[case(r#"<https://x/?cursor=1 2>; rel="next""#, None)]
#[case(r#"<https://x/?cursor=1#/../..>; rel="next""#, None)]
#[case(r#"<https://x/?cursor=1; rel="next""#, None)]
#[case("rel=\"next\"", None)]
fn cursors(#[case] link: &str, #[case] cursor: Option<&str>) {
    assert_eq!(next_cursor(&headers(&[("link", link)])).as_deref(), cursor);
    let long = format!("<https://x/?cursor={}>; rel=\"next\"", "1".repeat(257));
    assert_eq!(next_cursor(&headers(&[("link", &long)])), None);
}

fn limited(seconds: u64) -> Result<Status, ApiError> {
    Err(ApiError::Limited { wait: Duration::from_secs(seconds) })
}

#[rstest]
#[case(200, &[], Ok(Status::Good))]
#[case(202, &[("x-ratelimit-remaining", "0")], Ok(Status::Good))]
#[case(304, &[], Ok(Status::Unchanged))]
#[case(301, &[("location", "https://elsewhere.example")], Err(ApiError::Redirect(301)))]
#[case(401, &[], Err(ApiError::Token))]
#[case(403, &[("x-ratelimit-remaining", "4999")], Err(ApiError::Forbidden))]
#[case(404, &[], Err(ApiError::NotFound))]
#[case(422, &[], Err(ApiError::Status(422)))]
#[case(502, &[("retry-after", "7")], Err(ApiError::Status(502)))]
// The primary limit, until the window ends; the secondary one, for as long as it says; neither says.
#[case(403, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1800000090")], limited(90))]
#[case(429, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1799999990")], limited(0))]
#[case(403, &[("x-ratelimit-remaining", "4000"), ("x-ratelimit-reset", "1800000090"), ("retry-after", "7")], limited(7))]
#[case(429, &[("x-ratelimit-remaining", "4000"), ("x-ratelimit-reset", "1800003000")], limited(60))]
#[case(429, &[("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")], limited(60))]
#[case(429, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "99999999999999999999")], limited(60))]
fn heads(#[case] status: u16, #[case] list: &[(&'static str, &str)], #[case] expected: Result<Status, ApiError>) {
    assert_eq!(judge(StatusCode::from_u16(status).unwrap(), &headers(list), now()), expected);
}

#[test]
fn some_requests_are_left_for_others() {
    let left = |count| headers(&[("x-ratelimit-remaining", count), ("x-ratelimit-reset", "1800000090")]);
    assert_eq!(spent(&left("100"), now()), None);
    assert_eq!(spent(&left("99"), now()), Some(Duration::from_secs(90)));
    assert_eq!(spent(&HeaderMap::new(), now()), None);
}

#[test]
fn a_webhook_is_found_by_where_it_delivers_to() {
    let body = br#"[{"id": 1, "config": {"url": "https://other.example/"}, "name": "web"}, {"id": 2},
        {"id": 3, "config": {"url": "https://hooks.example/hooks/github/", "secret": "********"}}]"#;
    assert_eq!(hook_id(body, "https://hooks.example/hooks/github"), Ok(3));
    assert!(matches!(hook_id(body, "https://hooks.example/hooks"), Err(ApiError::NoSuchUrl(_))));
}
