//! One request through `git http-backend`, a CGI program. Knows no fault.

use std::io;
use std::path::Path;
use std::process::Stdio;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::repo;

/// Reads the whole request and the whole answer: smart HTTP needs no more, and test repositories are small.
pub(super) async fn run(root: &Path, request: Request<Incoming>) -> io::Result<(response::Parts, Bytes)> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let mut command = Command::new("git");
    repo::isolate(&mut command)
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", head.method.as_str())
        .env("PATH_INFO", head.uri.path())
        .env("QUERY_STRING", head.uri.query().unwrap_or_default())
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("REMOTE_ADDR", "127.0.0.1");
    let git_protocol = HeaderName::from_static("git-protocol");
    for (header, variable) in
        [(CONTENT_TYPE, "CONTENT_TYPE"), (CONTENT_ENCODING, "HTTP_CONTENT_ENCODING"), (git_protocol, "GIT_PROTOCOL")]
    {
        if let Some(value) = head.headers.get(header).and_then(|value| value.to_str().ok()) {
            command.env(variable, value);
        }
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let stdin = child.stdin.take();
    let write = async {
        if let Some(mut stdin) = stdin {
            // It may answer without reading everything.
            let _ = stdin.write_all(&body).await;
        }
    };
    let (output, ()) = tokio::join!(child.wait_with_output(), write);
    parse(&Bytes::from(output?.stdout))
}

fn parse(output: &Bytes) -> io::Result<(response::Parts, Bytes)> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "git http-backend gave no CGI answer");
    let end = output.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or_else(malformed)?;
    let text = std::str::from_utf8(&output[..end]).map_err(io::Error::other)?;
    let mut status = StatusCode::OK;
    let mut headers = HeaderMap::new();
    for line in text.lines() {
        let (name, value) = line.split_once(": ").ok_or_else(malformed)?;
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().unwrap_or_default();
            status = code.parse().map_err(io::Error::other)?;
        } else {
            let name: HeaderName = name.parse().map_err(io::Error::other)?;
            headers.insert(name, HeaderValue::from_str(value).map_err(io::Error::other)?);
        }
    }
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok((response.into_parts().0, output.slice(end + 4..)))
}
