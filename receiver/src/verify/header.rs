//! Reading a header that something depends on: there once, or not at all. Two of one name are refused, because what is
//! behind a proxy and what is in front of it may each look at another one.

use http::HeaderMap;

use super::Refusal;

/// A header's value if it is there exactly once, as visible ASCII.
pub(super) fn single<'h>(headers: &'h HeaderMap, name: &'static str) -> Result<Option<&'h str>, Refusal> {
    once(headers, name)?;
    let text = headers.get(name).map(|value| value.to_str()).transpose();
    text.map_err(|_| Refusal::Malformed { header: name, form: "visible ASCII" })
}

/// The header that proves who sent it.
pub(super) fn proof<'h>(headers: &'h HeaderMap, name: &'static str) -> Result<&'h str, Refusal> {
    single(headers, name)?.filter(|text| !text.is_empty()).ok_or(Refusal::Unsigned(name))
}

/// A header that is there no more than once.
pub(super) fn once(headers: &HeaderMap, name: &'static str) -> Result<(), Refusal> {
    if headers.get_all(name).iter().nth(1).is_some() { Err(Refusal::Repeated(name)) } else { Ok(()) }
}
