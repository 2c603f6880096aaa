//! A Git server over smart HTTP, which misbehaves on demand: `git http-backend` as CGI behind a listener on port 0.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::lab::hermetic;

/// What the server does instead of its work.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fault {
    Silent,
    /// The head of an answer, then a byte now and then.
    Drip,
    Answer {
        status: &'static str,
        headers: String,
        body: &'static str,
    },
    /// Only to what does not begin with the path.
    RedirectUnless {
        prefix: &'static str,
        to: String,
    },
    /// Packs break off after so many bytes.
    CutPack(usize),
    /// One bit of a pack is wrong.
    FlipPack,
    /// The list of refs arrives, the pack never does.
    SilentPack,
}

struct State {
    root: PathBuf,
    fault: Mutex<Option<Fault>>,
    ended: AtomicBool,
    requests: Sender<String>,
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    /// The request lines, each with what it said of who asks, in the order in which they came.
    pub(super) requests: Receiver<String>,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(root: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (sender, requests) = channel();
        let state = Arc::new(State {
            root: root.to_owned(),
            fault: Mutex::new(None),
            ended: AtomicBool::new(false),
            requests: sender,
        });
        let (address, shared) = (listener.local_addr().unwrap(), Arc::clone(&state));
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.ended.load(Ordering::Relaxed) {
                    return;
                }
                let (stream, shared) = (stream.unwrap(), Arc::clone(&shared));
                // Ends with its connection, which the client closes.
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { address, requests, state, accepting: Some(accepting) }
    }

    pub(super) fn misbehave(&self, fault: impl Into<Option<Fault>>) {
        *self.state.fault.lock().unwrap() = fault.into();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        let _ = self.accepting.take().map(JoinHandle::join);
    }
}

#[derive(Default)]
struct Request {
    method: String,
    target: String,
    git_protocol: String,
    content_type: String,
    authorization: String,
    body: Vec<u8>,
}

fn serve(mut stream: TcpStream, state: &State) {
    let Some(request) = read(&stream) else { return };
    let _ = state.requests.send(format!("{} {} {}", request.method, request.target, request.authorization));
    let fault = state.fault.lock().unwrap().clone();
    let is_pack = request.method == "POST" && request.body.windows(13).any(|bytes| bytes == b"command=fetch");
    match fault {
        Some(Fault::Silent) => until_closed(&stream, |_| true),
        Some(Fault::SilentPack) if is_pack => until_closed(&stream, |_| true),
        Some(Fault::Drip) => drip(&mut stream),
        Some(Fault::Answer { status, headers, body }) => {
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\n{headers}Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
        }
        Some(Fault::RedirectUnless { prefix, to }) if !request.target.starts_with(prefix) => {
            let _ = write!(
                stream,
                "HTTP/1.1 301 Moved\r\nLocation: {to}{}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                tail(&request.target)
            );
        }
        Some(Fault::CutPack(at)) if is_pack => answer(&mut stream, state, &request, |body| body.truncate(at)),
        Some(Fault::FlipPack) if is_pack => answer(&mut stream, state, &request, |body| {
            let middle = body.len() / 2;
            body[middle] ^= 1;
        }),
        _ => answer(&mut stream, state, &request, |_| {}),
    }
}

/// What follows the repository's name.
fn tail(target: &str) -> &str {
    target.find(".git/").map_or("", |at| &target[at + 4..])
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut request = Request { method, target, ..Request::default() };
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "git-protocol" => request.git_protocol = value.to_owned(),
            "authorization" => request.authorization = format!("authorization: {value}"),
            "content-type" => request.content_type = value.to_owned(),
            _ => {}
        }
    }
    request.body.resize(length, 0);
    reader.read_exact(&mut request.body).ok()?;
    Some(request)
}

/// A read that times out is a pause; one that ends is the client's goodbye.
fn until_closed(stream: &TcpStream, mut at_each_pause: impl FnMut(&TcpStream) -> bool) {
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    loop {
        match (&mut &*stream).read(&mut [0; 64]) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if !at_each_pause(stream) {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

fn drip(stream: &mut TcpStream) {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\n\
                Connection: close\r\nContent-Length: 1000000\r\n\r\n001e# service=git-upload-pack\n0fff";
    let _ = stream.write_all(head.as_bytes());
    until_closed(stream, |mut stream| stream.write_all(b"0").is_ok());
}

fn answer(stream: &mut TcpStream, state: &State, request: &Request, spoil: impl FnOnce(&mut Vec<u8>)) {
    let output = backend(state, request);
    let split = output.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("CGI headers");
    let (head, mut body) = (String::from_utf8_lossy(&output[..split]).into_owned(), output[split + 4..].to_vec());
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
    let _ =
        write!(stream, "HTTP/1.1 {status}\r\n{head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    spoil(&mut body);
    let _ = stream.write_all(&body);
}

fn backend(state: &State, request: &Request) -> Vec<u8> {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let mut child = hermetic(&mut Command::new("git"), &state.root)
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &state.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", &request.method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", &request.content_type)
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("GIT_PROTOCOL", &request.git_protocol)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&request.body).unwrap();
    child.wait_with_output().unwrap().stdout
}
