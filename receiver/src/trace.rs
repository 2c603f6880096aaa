//! W3C trace context of a delivery. Pure. Knows the two headers' forms; not what a trace is for.
//!
//! Git hosts send none, proxies and meshes in front of the receiver may. What came in is passed on as it is: nothing here
//! exports spans, and a parent that nobody recorded would tear the trace. Where none came in, the request's id begins a
//! trace that says "not recorded", so that one id runs through the logs of receiver and agents in any case.

use http::{HeaderMap, HeaderName};
use towline_proto::commit_event::is_traceparent;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What a version 00 has; later versions may have more behind it.
const TRACEPARENT_BYTES: usize = 55;

/// The recommendation's "at least 512 characters" to be passed on, and its most members. More is dropped, as it allows.
const TRACESTATE_BYTES_MAX: usize = 512;
const TRACESTATE_MEMBERS_MAX: usize = 32;

/// Of a tracestate's key and value.
const KEY_BYTES_MAX: usize = 256;
const VALUE_BYTES_MAX: usize = 256;

/// Where a delivery stands in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Of version 00.
    traceparent: String,
    tracestate: Option<String>,
}

impl TraceContext {
    /// What a request's headers say, if they say it as they must. A bad traceparent makes the tracestate void.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(TRACEPARENT).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else { return None };
        let traceparent = traceparent(line.to_str().ok()?)?;
        Some(Self { traceparent, tracestate: tracestate(headers) })
    }

    /// A trace of its own, that nobody records. `request` is this request's id, and its span's.
    pub fn start(request: u64, random: u64) -> Self {
        // Neither id may be all zeros.
        let (request, random) = (request.max(1), random.max(1));
        Self { traceparent: format!("00-{random:016x}{request:016x}-{request:016x}-00"), tracestate: None }
    }

    pub fn traceparent(&self) -> &str {
        &self.traceparent
    }

    pub fn tracestate(&self) -> Option<&str> {
        self.tracestate.as_deref()
    }

    pub fn trace_id(&self) -> &str {
        &self.traceparent[3..35]
    }
}

/// As version 00: of a later version only what 00 knows is taken, its flags included.
fn traceparent(text: &str) -> Option<String> {
    let (known, rest) = text.split_at_checked(TRACEPARENT_BYTES)?;
    if !is_traceparent(known) {
        return None;
    }
    match &known[..2] {
        "00" if rest.is_empty() => Some(known.to_owned()),
        "00" => None,
        _later if rest.is_empty() || rest.starts_with('-') => {
            let is_sampled = u8::from_str_radix(&known[53..], 16).ok()? & 1;
            Some(format!("00{}{is_sampled:02x}", &known[2..53]))
        }
        _ => None,
    }
}

/// All lines as one; none of it where any of it has not the form.
fn tracestate(headers: &HeaderMap) -> Option<String> {
    let mut joined = String::new();
    let mut members = 0;
    for line in headers.get_all(TRACESTATE) {
        for member in line.to_str().ok()?.split(',').map(|member| member.trim_matches([' ', '\t'])) {
            if member.is_empty() {
                continue;
            }
            members += 1;
            let fits = joined.len() + member.len() < TRACESTATE_BYTES_MAX && members <= TRACESTATE_MEMBERS_MAX;
            if !fits || !is_member(member) {
                return None;
            }
            if !joined.is_empty() {
                joined.push(',');
            }
            joined.push_str(member);
        }
    }
    (!joined.is_empty()).then_some(joined)
}

fn is_member(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else { return false };
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte);
    let is_key = key.bytes().next().is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit())
        && key.len() <= KEY_BYTES_MAX
        && key.bytes().all(plain);
    is_key
        && (1..=VALUE_BYTES_MAX).contains(&value.len())
        && value.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=')
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use rstest::rstest;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn of(list: &[(&'static str, &str)]) -> Option<TraceContext> {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        TraceContext::from_headers(&headers)
    }

    #[rstest]
    #[case(GOOD, Some(GOOD))]
    #[case("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x", None)]
    #[case("00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None)]
    #[case("00-00000000000000000000000000000000-b7ad6b7169203331-01", None)]
    #[case("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", None)]
    #[case("00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333-001", None)]
    #[case("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0", None)]
    #[case("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None)]
    #[case("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff-more", Some(GOOD))]
    #[case("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more", None)]
    #[case("", None)]
    fn traceparents(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(of(&[("traceparent", text)]).as_ref().map(TraceContext::traceparent), expected);
    }

    #[test]
    fn tracestate_goes_with_a_good_traceparent_and_within_its_bounds() {
        let state = |lines: &[&str]| {
            let mut list = vec![("traceparent", GOOD)];
            list.extend(lines.iter().map(|line| ("tracestate", *line)));
            of(&list).unwrap().tracestate
        };
        assert_eq!(state(&["a=1, b@c=2", "d=x y"]), Some("a=1,b@c=2,d=x y".to_owned()));
        assert_eq!(state(&["a"]), None);
        assert_eq!(state(&["A=1"]), None);
        assert_eq!(state(&[&format!("a={}", "x".repeat(257))]), None);
        assert_eq!(state(&[&vec!["a=1"; 33].join(",")]), None);
        assert_eq!(state(&[&format!("a={0},b={0},c={0}", "x".repeat(200))]), None);
        assert_eq!(of(&[("tracestate", "a=1")]), None);
        assert_eq!(of(&[("traceparent", GOOD), ("traceparent", GOOD)]), None, "twice is not once");
    }

    #[test]
    fn one_of_its_own_is_well_formed() {
        let own = TraceContext::start(0xab, 0);
        assert_eq!(own.traceparent(), "00-000000000000000100000000000000ab-00000000000000ab-00");
        assert_eq!(own.trace_id(), "000000000000000100000000000000ab");
        assert!(is_traceparent(own.traceparent()) && is_traceparent(TraceContext::start(0, 0).traceparent()));
    }
}
