//! Raw objects of Git, taken apart: what was signed, and the signature.
//!
//! Knows where Git puts signatures: in a header of a commit, at the end of a tag. Strict: what Git itself would not write is
//! refused, because two readers may understand it differently. Must not know keys.

use jiff::Timestamp;

use super::refusal::Why;

/// A signature of the largest RSA key takes 2 KiB; twenty times that for keys to come.
const SIGNATURE_BYTES_MAX: usize = 40 << 10;

/// How a signature is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    OpenPgp,
    Ssh,
}

/// An object, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Signed {
    pub form: Form,
    /// What the signature is over.
    pub payload: Vec<u8>,
    pub signature: String,
    /// When the committer or tagger says it was made.
    pub claimed_at: Option<Timestamp>,
}

/// A tag's header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TagHeader<'a> {
    pub object: &'a str,
    pub kind: &'a str,
    pub name: &'a str,
}

/// A commit.
pub(super) fn commit(raw: &[u8]) -> Result<Signed, Why> {
    let head = head(raw);
    let mut names = headers(head).map(name);
    let expected = [&b"tree"[..], b"parent", b"author", b"committer"];
    if names.next() != Some(expected[0])
        || names.by_ref().find(|name| *name != expected[1]) != Some(expected[2])
        || names.next() != Some(expected[3])
    {
        return Err(Why::Malformed { cause: "a commit begins with tree, parents, author and committer" });
    }
    if names.any(|name| expected.contains(&name)) {
        return Err(Why::Malformed { cause: "a header is there twice" });
    }
    if headers(head).any(|header| name(header) == b"gpgsig-sha256") {
        return Err(Why::Sha256Header);
    }
    let mut signatures = headers(head).filter(|header| name(header) == b"gpgsig");
    let signature = signatures.next().ok_or(Why::Unsigned)?;
    if signatures.next().is_some() {
        return Err(Why::Several);
    }
    let payload: Vec<u8> = headers(head).filter(|header| name(header) != b"gpgsig").flatten().copied().collect();
    let text = text(signature)?;
    let value = text.strip_prefix("gpgsig ").ok_or(Why::Unsigned)?.replace("\n ", "\n");
    let payload = [&payload, &raw[head.len()..]].concat();
    Ok(Signed { form: form(&value)?, claimed_at: moment(head, b"committer"), payload, signature: value })
}

/// An annotated tag.
pub(super) fn tag(raw: &[u8]) -> Result<(TagHeader<'_>, Signed), Why> {
    let head = head(raw);
    let mut lines = headers(head);
    let header = TagHeader {
        object: field(lines.next(), "object")?,
        kind: field(lines.next(), "type")?,
        name: field(lines.next(), "tag")?,
    };
    if lines.clone().any(|header| matches!(name(header), b"object" | b"type" | b"tag")) {
        return Err(Why::Malformed { cause: "a header is there twice" });
    }
    if headers(head).any(|header| matches!(name(header), b"gpgsig" | b"gpgsig-sha256")) {
        return Err(Why::Sha256Header);
    }
    let mut starts = raw.split_inclusive(|byte| *byte == b'\n').scan(0, |at, line| {
        let start = *at;
        *at += line.len();
        Some((start, line))
    });
    let mut starts = starts.by_ref().filter(|(start, line)| *start >= head.len() && is_begin(line));
    let (start, _) = starts.next().ok_or(Why::Unsigned)?;
    if starts.next().is_some() {
        return Err(Why::Several);
    }
    let (payload, signature) = raw.split_at(start);
    let signature = text(signature)?.to_owned();
    let signed =
        Signed { form: form(&signature)?, payload: payload.to_vec(), signature, claimed_at: moment(head, b"tagger") };
    Ok((header, signed))
}

/// Up to the empty line, without it.
fn head(raw: &[u8]) -> &[u8] {
    let end = raw.windows(2).position(|pair| pair == b"\n\n").map_or(raw.len(), |at| at + 1);
    &raw[..end]
}

/// Each header with the lines that continue it, line ends included.
fn headers(head: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    let mut rest = head;
    std::iter::from_fn(move || {
        let ends = rest.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
        let end = ends.into_iter().find(|end| rest.get(*end) != Some(&b' ')).unwrap_or(rest.len());
        let (header, tail) = rest.split_at(end);
        rest = tail;
        (!header.is_empty()).then_some(header)
    })
}

fn name(header: &[u8]) -> &[u8] {
    header.split(|byte| matches!(byte, b' ' | b'\n')).next().unwrap_or_default()
}

fn field<'a>(header: Option<&'a [u8]>, name: &str) -> Result<&'a str, Why> {
    let malformed = Why::Malformed { cause: "a tag begins with object, type and tag" };
    let line = header.and_then(|header| std::str::from_utf8(header).ok()).ok_or(malformed.clone())?;
    let value = line.strip_prefix(name).and_then(|rest| rest.strip_prefix(' ')).ok_or(malformed.clone())?;
    value.strip_suffix('\n').filter(|value| !value.contains('\n')).ok_or(malformed)
}

/// `Name <address> <seconds> <zone>`.
fn moment(head: &[u8], who: &[u8]) -> Option<Timestamp> {
    let header = headers(head).find(|header| name(header) == who)?;
    let mut words = header.trim_ascii_end().rsplit(|byte| *byte == b' ').skip(1);
    Timestamp::from_second(std::str::from_utf8(words.next()?).ok()?.parse().ok()?).ok()
}

fn text(signature: &[u8]) -> Result<&str, Why> {
    if signature.len() > SIGNATURE_BYTES_MAX {
        return Err(Why::Unreadable { cause: format!("it is longer than {SIGNATURE_BYTES_MAX} bytes") });
    }
    std::str::from_utf8(signature).map_err(|_| Why::Unreadable { cause: "it is not text".to_owned() })
}

fn is_begin(line: &[u8]) -> bool {
    let begins = ["PGP SIGNATURE", "PGP MESSAGE", "SIGNED MESSAGE", "SSH SIGNATURE"];
    begins.iter().any(|begin| line.starts_with(format!("-----BEGIN {begin}-----").as_bytes()))
}

/// The form, if it is one block of it and nothing else.
fn form(signature: &str) -> Result<Form, Why> {
    let mut begins = signature.lines().filter(|line| line.starts_with("-----BEGIN "));
    let (form, end) = match begins.next().filter(|first| signature.starts_with(first)).map(str::trim_end) {
        Some("-----BEGIN PGP SIGNATURE-----") => (Form::OpenPgp, "-----END PGP SIGNATURE-----"),
        Some("-----BEGIN SSH SIGNATURE-----") => (Form::Ssh, "-----END SSH SIGNATURE-----"),
        Some("-----BEGIN SIGNED MESSAGE-----") => return Err(Why::X509),
        _ => return Err(Why::UnknownForm),
    };
    if begins.next().is_some() {
        return Err(Why::Several);
    }
    match signature.split_once(end) {
        Some((_, rest)) if rest.trim().is_empty() => Ok(form),
        Some(_) => Err(Why::Unreadable { cause: "something follows its end".to_owned() }),
        None => Err(Why::Unreadable { cause: "its end is missing".to_owned() }),
    }
}
