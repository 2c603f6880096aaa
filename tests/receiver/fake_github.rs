//! As much of GitHub as a sweep meets: a webhook that delivers once, its deliveries listed by cursor, and redeliveries that
//! really go to the receiver. With moods. Shapes are those of GitHub's REST documentation.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use futures::stream;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use towline_receiver::sign::{self, Push, SignedDelivery};
use towline_receiver::{Provider, Secret};

pub const TOKEN: &str = "github_pat_0123456789abcdefghij";
pub const HOOK_ID: u64 = 12_345_678_901;

/// Where the webhook is listed as delivering to. The fake knows better.
pub const HOOK_URL: &str = "https://hooks.example/hooks/github";

/// Beyond 2^53, as GitHub's are.
const FIRST_ID: u64 = 158_233_914_212_352_001;

type Body = BoxBody<Bytes, Infallible>;

/// What is delivered, attempt for attempt: headers and body.
type Payload = (Vec<(&'static str, String)>, Bytes);

/// How the API is today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Good,
    /// The secondary limit, for so many seconds.
    Limited(u64),
    Redirects,
    Forbids,
    Fails,
    Garbage,
    /// A body without an end.
    Endless,
    /// Nothing, for ever.
    Hangs,
}

/// One attempt to deliver.
#[derive(Clone, Debug)]
pub struct Attempt {
    id: u64,
    pub guid: String,
    at: Timestamp,
    redelivery: bool,
    pub status: u16,
}

/// A request to the API.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: Instant,
    pub what: String,
    pub answer: u16,
}

struct State {
    receiver: String,
    mood: Mood,
    /// Whether the receiver can be reached from there.
    reaches: bool,
    page_len: usize,
    payloads: BTreeMap<String, Payload>,
    /// In their order.
    attempts: Vec<Attempt>,
    seen: Vec<Seen>,
}

pub struct FakeGithub {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _server: JoinSet<()>,
}

impl FakeGithub {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            receiver: String::new(),
            mood: Mood::Good,
            reaches: true,
            page_len: 100,
            payloads: BTreeMap::new(),
            attempts: Vec::new(),
            seen: Vec::new(),
        };
        let state = Arc::new(Mutex::new(state));
        let mut server = JoinSet::new();
        server.spawn(serve(listener, Arc::clone(&state)));
        Self { address, state, _server: server }
    }

    pub fn api(&self) -> String {
        format!("http://{}/api/v3", self.address)
    }

    pub fn delivers_to(&self, url: &str) {
        url.clone_into(&mut self.lock().receiver);
    }

    pub fn is(&self, mood: Mood) {
        self.lock().mood = mood;
    }

    pub fn reaches_the_receiver(&self, reaches: bool) {
        self.lock().reaches = reaches;
    }

    pub fn lists_at_a_time(&self, page_len: usize) {
        self.lock().page_len = page_len;
    }

    /// A push of this commit to a branch of its own, delivered once. Returns what the receiver said.
    pub async fn push(&self, commit: &str, secret: &str) -> u16 {
        let secret = Secret::parse(Provider::Github, secret.as_bytes()).unwrap();
        let reference = format!("refs/heads/{commit}");
        let push = Push { repository: "org/app", reference: &reference, before: None, after: Some(commit) };
        let SignedDelivery { headers, body } =
            sign::delivery(Provider::Github, &secret, &push, commit, Timestamp::now());
        self.lock().payloads.insert(commit.to_owned(), (headers, body));
        attempt(&self.state, commit, false).await
    }

    /// By guid, which is the commit.
    pub fn attempts_of(&self, guid: &str) -> Vec<u16> {
        self.lock().attempts.iter().filter(|attempt| attempt.guid == guid).map(|attempt| attempt.status).collect()
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.lock().seen.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn attempt(state: &Mutex<State>, guid: &str, redelivery: bool) -> u16 {
    let (url, reaches, (headers, body)) = {
        let state = lock(state);
        (state.receiver.clone(), state.reaches, state.payloads[guid].clone())
    };
    let mut status = 502;
    if reaches {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = headers.into_iter().fold(client.post(url), |request, (name, value)| request.header(name, value));
        if let Ok(answer) = request.body(body).send().await {
            status = answer.status().as_u16();
        }
    }
    let mut state = lock(state);
    let id = FIRST_ID + state.attempts.len() as u64;
    state.attempts.push(Attempt { id, guid: guid.to_owned(), at: Timestamp::now(), redelivery, status });
    status
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let service = service_fn(move |request| handle(Arc::clone(&state), request));
            // Whoever hangs up has his reasons.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn handle(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path_and_query().map_or("", |path| path.as_str());
    let what = format!("{} {path}", request.method());
    let mood = lock(&state).mood;
    let authorized = request.headers().get("authorization").is_some_and(|value| value == &format!("Bearer {TOKEN}"));
    let answer = match mood {
        _ if !authorized => plain(401, r#"{"message": "Bad credentials"}"#),
        Mood::Good => good(&state, &request).await,
        Mood::Limited(seconds) => with(plain(429, "{}"), "retry-after", &seconds.to_string()),
        Mood::Redirects => with(plain(301, "{}"), "location", "/elsewhere"),
        Mood::Forbids => plain(403, "{}"),
        Mood::Fails => plain(502, "<html>"),
        Mood::Garbage => plain(200, "<html>It works!</html>"),
        Mood::Endless => {
            let piece = Bytes::from(vec![b' '; 64 * 1024]);
            let endless = stream::repeat_with(move || Ok(Frame::data(piece.clone())));
            Response::new(StreamBody::new(endless).boxed())
        }
        Mood::Hangs => std::future::pending().await,
    };
    lock(&state).seen.push(Seen { at: Instant::now(), what, answer: answer.status().as_u16() });
    Ok(answer)
}

async fn good(state: &Mutex<State>, request: &Request<Incoming>) -> Response<Body> {
    let hooks = "/api/v3/repos/org/app/hooks";
    let path = request.uri().path();
    let Some(rest) = path.strip_prefix(hooks) else { return plain(404, "{}") };
    if (request.method(), rest) == (&Method::GET, "") {
        let other = json!({"id": 1, "config": {"url": "https://other.example"}});
        return plain(200, &json!([other, {"id": HOOK_ID, "config": {"url": HOOK_URL}}]).to_string());
    }
    let Some(rest) = rest.strip_prefix(&format!("/{HOOK_ID}/deliveries")) else { return plain(404, "{}") };
    if (request.method(), rest) == (&Method::GET, "") {
        return list(&lock(state), request);
    }
    let id: Option<u64> = rest.strip_prefix('/').and_then(|rest| rest.strip_suffix("/attempts")?.parse().ok());
    let known = id.and_then(|id| lock(state).attempts.iter().find(|attempt| attempt.id == id).cloned());
    match known {
        Some(known) if request.method() == Method::POST => {
            attempt(state, &known.guid, true).await;
            plain(202, "{}")
        }
        Some(_) | None => plain(404, "{}"),
    }
}

/// Newest first; the cursor is the number of attempts that are newer.
fn list(state: &State, request: &Request<Incoming>) -> Response<Body> {
    let etag = format!("W/\"{}\"", state.attempts.len());
    let query = request.uri().query().unwrap_or_default();
    let cursor = query.split('&').find_map(|pair| pair.strip_prefix("cursor=v1_"));
    if cursor.is_none() && request.headers().get("if-none-match").is_some_and(|known| known == &etag) {
        return plain(304, "");
    }
    let skip: usize = cursor.map_or(0, |cursor| cursor.parse().unwrap());
    let page = state.attempts.iter().rev().skip(skip).take(state.page_len).map(listed);
    let answer = with(plain(200, &Value::from_iter(page).to_string()), "etag", &etag);
    let next = skip + state.page_len;
    if next >= state.attempts.len() {
        return answer;
    }
    // By the repository's number, as GitHub does.
    let link =
        format!("<https://git.example/repositories/7/hooks/8/deliveries?per_page=100&cursor=v1_{next}>; rel=\"next\"");
    with(answer, "link", &link)
}

fn listed(attempt: &Attempt) -> Value {
    json!({
        "id": attempt.id,
        "guid": attempt.guid,
        "delivered_at": attempt.at,
        "redelivery": attempt.redelivery,
        "duration": 0.27,
        "status": if attempt.status < 300 { "OK" } else { "Invalid HTTP Response" },
        "status_code": attempt.status,
        "event": "push",
        "action": null,
        "installation_id": null,
        "repository_id": 456,
        "throttled_at": null,
    })
}

fn plain(status: u16, text: &str) -> Response<Body> {
    let mut answer = Response::new(Full::new(Bytes::from(text.to_owned())).boxed());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

fn with(mut answer: Response<Body>, name: &'static str, value: &str) -> Response<Body> {
    answer.headers_mut().insert(name, value.parse().unwrap());
    answer
}
