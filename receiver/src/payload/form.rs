//! A form's one field to the bytes it stands for. Knows percent-encoding, and nothing of what is in the field.
//!
//! A body says itself what it is: JSON never begins with a field's name. The header that says it too is not signed, so
//! it is not asked.

use std::borrow::Cow;

use super::Unreadable;

/// The one field GitHub sends.
const FIELD: &[u8] = b"payload=";

/// What is to be read as JSON: the form's field, or the whole body where it is no form.
pub(super) fn unwrap(body: &[u8]) -> Result<Cow<'_, [u8]>, Unreadable> {
    let Some(value) = body.strip_prefix(FIELD) else { return Ok(Cow::Borrowed(body)) };
    // A second field would leave it open which one was meant.
    if value.contains(&b'&') {
        return Err(Unreadable::NotAForm);
    }
    decode(value).map(Cow::Owned).ok_or(Unreadable::NotAForm)
}

fn decode(value: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value.iter();
    while let Some(&byte) = rest.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => 16 * digit(*rest.next()?)? + digit(*rest.next()?)?,
            byte => byte,
        });
    }
    Some(decoded)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("payload=%7B%22a%22%3A+%22%C3%9c%2B%22%7D", Some("{\"a\": \"Ü+\"}"))]
    #[case("payload=", Some(""))]
    #[case("{\"a\": \"&payload=%7B%7D\"}", Some("{\"a\": \"&payload=%7B%7D\"}"))]
    #[case("payload=a&payload=b", None)]
    #[case("payload=a&x=b", None)]
    #[case("payload=%", None)]
    #[case("payload=%7", None)]
    #[case("payload=%7g", None)]
    fn forms(#[case] body: &str, #[case] expected: Option<&str>) {
        assert_eq!(unwrap(body.as_bytes()).ok().as_deref(), expected.map(str::as_bytes));
    }
}
