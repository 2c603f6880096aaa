//! gix's HTTP transport on our [`Wire`].
//!
//! Knows gix's contract: a GET that is answered at once, a POST that is sent when the first byte of its answer is asked for. Must
//! not know what is said.

use std::any::Any;
use std::cell::RefCell;
use std::io::{self, BufRead, Cursor, Read, Write};
use std::rc::Rc;

use bytes::{Buf, Bytes};
use gix::protocol::transport::client::blocking_io::http::{GetResponse, Http, PostBodyDataKind, PostResponse};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::wire::{Failure, Wire, redirect};

/// A renamed repository, a host that adds `www` or `.git`: one or two. A loop is cut here.
const REDIRECTS_MAX: usize = 5;

/// One conversation's requests.
pub(super) struct Exchange {
    wire: Wire,
    /// Where redirects led.
    base: Option<String>,
}

impl Exchange {
    pub(super) fn new(wire: Wire) -> Self {
        Self { wire, base: None }
    }

    fn follow(&mut self, url: &str, base_url: &str, headers: &HeaderMap) -> Result<reqwest::Response, Failure> {
        let tail = url.strip_prefix(base_url).unwrap_or_default();
        let mut url = url.to_owned();
        for _ in 0..=REDIRECTS_MAX {
            let response = self.wire.request(&url, headers.clone(), None)?;
            let Some(to) = redirect(&response)? else { return Ok(response) };
            url = to.to_string();
            let base = url.strip_suffix(tail).ok_or_else(|| Failure::Redirect { to: origin(&to) })?;
            self.base = Some(base.to_owned());
        }
        Err(Failure::Redirect { to: "itself again and again".to_owned() })
    }
}

impl Http for Exchange {
    type Headers = Head;
    type ResponseBody = Body;
    type PostBody = Upload;

    fn get(
        &mut self,
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> gix::Result<GetResponse<Head, Body>> {
        let response = self.follow(url, base_url, &header_map(headers)).and_then(only_git);
        let response = response.map_err(|failure| gix::Error::from_error(self.wire.fail(failure)))?;
        let answer = Answer { wire: self.wire.clone(), pending: None, response: Some(response) }.shared();
        Ok(GetResponse { headers: Head::of(&answer), body: Body::of(&answer) })
    }

    fn post(
        &mut self,
        url: &str,
        _base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
        _kind: PostBodyDataKind,
    ) -> gix::Result<PostResponse<Head, Body, Upload>> {
        // What Git uploads in a fetch (wants, haves) is small, so it is sent whole, with a length.
        let pending = Pending { url: url.to_owned(), headers: header_map(headers), body: Vec::new() };
        let answer = Answer { wire: self.wire.clone(), pending: Some(pending), response: None }.shared();
        Ok(PostResponse { post_body: Upload(Rc::clone(&answer)), headers: Head::of(&answer), body: Body::of(&answer) })
    }

    fn configure(&mut self, _config: &dyn Any) -> gix::Result<()> {
        Ok(())
    }

    fn redirected_base_url(&self) -> Option<String> {
        self.base.clone()
    }
}

/// What a request brought, or will bring.
struct Answer {
    wire: Wire,
    pending: Option<Pending>,
    response: Option<reqwest::Response>,
}

struct Pending {
    url: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn shared(self) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(self))
    }

    fn response(&mut self) -> io::Result<Option<&mut reqwest::Response>> {
        if let Some(Pending { url, headers, body }) = self.pending.take() {
            let sent = self.wire.request(&url, headers, Some(body)).and_then(|response| match redirect(&response)? {
                Some(to) => Err(Failure::Redirect { to: origin(&to) }),
                None => only_git(response),
            });
            self.response = Some(sent.map_err(|failure| self.wire.fail(failure))?);
        }
        Ok(self.response.as_mut())
    }

    fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        let wire = self.wire.clone();
        let Some(response) = self.response()? else { return Ok(None) };
        let chunk = wire.chunk(response).map_err(|failure| wire.fail(failure))?;
        if chunk.is_none() {
            self.response = None;
        }
        Ok(chunk)
    }
}

/// A POST's body, collected until its answer is read.
pub(super) struct Upload(Rc<RefCell<Answer>>);

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0.borrow_mut().pending {
            Some(pending) => pending.body.extend_from_slice(bytes),
            None => return Err(io::ErrorKind::BrokenPipe.into()),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An answer's headers, as far as gix looks at them.
pub(super) struct Head {
    answer: Rc<RefCell<Answer>>,
    text: Option<Cursor<String>>,
}

impl Head {
    fn of(answer: &Rc<RefCell<Answer>>) -> Self {
        Self { answer: Rc::clone(answer), text: None }
    }

    fn text(&mut self) -> io::Result<&mut Cursor<String>> {
        if self.text.is_none() {
            let content_type = self.answer.borrow_mut().response()?.map(|response| content_type(response));
            self.text = Some(Cursor::new(format!("content-type:{}\n", content_type.unwrap_or_default())));
        }
        Ok(self.text.get_or_insert_default())
    }
}

impl Read for Head {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.text()?.read(out)
    }
}

impl BufRead for Head {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.text()?.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        if let Some(text) = &mut self.text {
            text.consume(count);
        }
    }
}

/// An answer's body.
pub(super) struct Body {
    answer: Rc<RefCell<Answer>>,
    chunk: Bytes,
}

impl Body {
    fn of(answer: &Rc<RefCell<Answer>>) -> Self {
        Self { answer: Rc::clone(answer), chunk: Bytes::new() }
    }
}

impl Read for Body {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(out)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Body {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.chunk.is_empty() {
            match self.answer.borrow_mut().chunk()? {
                Some(chunk) => self.chunk = chunk,
                None => break,
            }
        }
        Ok(&self.chunk)
    }

    fn consume(&mut self, count: usize) {
        self.chunk.advance(count.min(self.chunk.len()));
    }
}

/// A sign-in page, a proxy's apology or a server without smart HTTP would otherwise be a puzzle about packet lines.
fn only_git(response: reqwest::Response) -> Result<reqwest::Response, Failure> {
    let content_type = content_type(&response);
    if content_type.starts_with("application/x-git-upload-pack-") {
        return Ok(response);
    }
    Err(Failure::NotGit { content_type: content_type.chars().filter(|c| c.is_ascii_graphic()).take(64).collect() })
}

fn content_type(response: &reqwest::Response) -> String {
    response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("nothing").to_owned()
}

fn origin(url: &reqwest::Url) -> String {
    url.origin().ascii_serialization()
}

fn header_map(lines: impl IntoIterator<Item = impl AsRef<str>>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for line in lines {
        let (name, value) = line.as_ref().split_once(':').unwrap_or_default();
        if let (Ok(name), Ok(mut value)) = (HeaderName::try_from(name.trim()), HeaderValue::try_from(value.trim())) {
            value.set_sensitive(name == reqwest::header::AUTHORIZATION);
            map.append(name, value);
        }
    }
    map
}
