//! Whose request is it? The peer's address, or, if the peer is a proxy that the configuration names, what it says about
//! whom it speaks for. Pure. Nothing here is believed for more than limits and log lines.
//!
//! `Forwarded` (RFC 7239) and `X-Forwarded-For` are read from the right, the end that the nearest proxy wrote: as long
//! as an address is a configured proxy's, what stands left of it was written by that proxy. The first address that is
//! not is the client; what stands left of it is the client's own invention and never looked at.
//!
//! Where an entry cannot be used (`unknown`, obfuscated, malformed) or there are no more, the client is the last proxy
//! that was reached: all whom it does not name count as one. So it is with both headers on one request, unless they
//! agree: most proxies write one of them and pass the other one through as the client wrote it.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};

/// Whose word is taken; none: nobody's.
pub use crate::networks::Networks as Proxies;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Of one of the two headers, all lines together: a chain of twenty proxies with everything RFC 7239 knows of them.
/// A longer one is not read.
const CHAIN_BYTES_MAX: usize = 4096;

/// Who a request is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    pub address: IpAddr,
    /// The peer says that it speaks for another, and is no configured proxy.
    pub disbelieved: bool,
}

/// The client of a request that this peer sent with these headers.
pub fn client(peer: IpAddr, headers: &HeaderMap, proxies: &Proxies) -> Client {
    let peer = peer.to_canonical();
    let (forwarded, old) = (headers.contains_key(FORWARDED), headers.contains_key(X_FORWARDED_FOR));
    if !proxies.contain(peer) {
        return Client { address: peer, disbelieved: forwarded || old };
    }
    let walk = |name: HeaderName, read: fn(&str) -> Option<Vec<Node>>| match lines(headers, &name) {
        Some(lines) => walk_from_the_right(peer, &lines, read, proxies),
        None => peer,
    };
    let address = match (forwarded, old) {
        (false, false) => peer,
        (true, false) => walk(FORWARDED, forwarded_line),
        (false, true) => walk(X_FORWARDED_FOR, x_forwarded_for_line),
        (true, true) => {
            let (new, old) = (walk(FORWARDED, forwarded_line), walk(X_FORWARDED_FOR, x_forwarded_for_line));
            if new == old { new } else { peer }
        }
    };
    Client { address, disbelieved: false }
}

/// Whom bounds for each address are kept for: in IPv6 the network that one subscriber gets, 64 bits of it, since he can
/// have any address in there.
pub fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

/// One place in the chain: an address, or that there is none to be had.
type Node = Option<IpAddr>;

fn lines<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Vec<&'a str>> {
    let total: usize = headers.get_all(name).iter().map(|value| value.len() + 1).sum();
    if total > CHAIN_BYTES_MAX {
        return None;
    }
    // A line that is no text is one that cannot be read: it has to stay in its place.
    Some(headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?")).collect())
}

fn walk_from_the_right(peer: IpAddr, lines: &[&str], read: fn(&str) -> Option<Vec<Node>>, proxies: &Proxies) -> IpAddr {
    let mut reached = peer;
    for line in lines.iter().rev() {
        let Some(nodes) = read(line) else { return reached };
        for node in nodes.into_iter().rev() {
            let Some(address) = node else { return reached };
            reached = address;
            if !proxies.contain(address) {
                return reached;
            }
        }
    }
    reached
}

fn x_forwarded_for_line(line: &str) -> Option<Vec<Node>> {
    let entries = line.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    Some(entries.map(|entry| bare_address(entry).or_else(|| node(entry))).collect())
}

/// `for=192.0.2.60;proto=http, for="[2001:db8::1]:4711"`. A line with a mistake anywhere is none: a quotation mark that
/// a client left open could otherwise swallow what the proxy wrote after it.
fn forwarded_line(line: &str) -> Option<Vec<Node>> {
    let mut nodes = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let (element, after) = element(rest)?;
        nodes.extend(element);
        rest = after;
    }
    Some(nodes)
}

/// One element of the list and what follows its comma. An empty element counts for nothing, as in any list.
fn element(text: &str) -> Option<(Option<Node>, &str)> {
    let mut found: Option<Node> = None;
    let mut pairs = 0;
    let mut rest = text.trim_start();
    loop {
        if let Some(after) = rest.strip_prefix(',') {
            return Some(((pairs > 0).then_some(found.flatten()), after.trim_start()));
        }
        if rest.is_empty() {
            return Some(((pairs > 0).then_some(found.flatten()), rest));
        }
        if let Some(after) = rest.strip_prefix(';') {
            rest = after.trim_start();
            continue;
        }
        let (name, value) = rest.split_once('=')?;
        let (value, after) = value_of(value)?;
        if name.is_empty() || !name.bytes().all(is_token) {
            return None;
        }
        if name.eq_ignore_ascii_case("for") && found.replace(node(&value)).is_some() {
            return None;
        }
        pairs += 1;
        rest = after.trim_start();
        if !(rest.is_empty() || rest.starts_with([',', ';'])) {
            return None;
        }
    }
}

/// A token or a quoted string, and what follows it. Unquoted colons and brackets are taken too: some proxies write them.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ';', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        let good = !value.is_empty() && value.bytes().all(|byte| is_token(byte) || b":[]".contains(&byte));
        return good.then(|| (value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 7239's node: an address with or without a port, IPv6 in brackets; `unknown` and `_hidden` are no address.
fn node(text: &str) -> Node {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let port_is_good = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return port_is_good.then(|| Ipv6Addr::from_str(address).ok().map(IpAddr::V6)).flatten().map(canonical);
    }
    let (address, port) = text.split_once(':').map_or((text, None), |(address, port)| (address, Some(port)));
    if !port.is_none_or(is_port) {
        return None;
    }
    address.parse().ok().map(IpAddr::V4)
}

/// As X-Forwarded-For has it, IPv6 without brackets.
fn bare_address(text: &str) -> Node {
    text.parse().ok().map(canonical)
}

fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

fn is_port(text: &str) -> bool {
    let obfuscated =
        |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    text.strip_prefix('_')
        .map_or_else(|| (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()), obfuscated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;
    use rstest::rstest;

    const PEER: &str = "10.0.0.1";

    fn proxies() -> Proxies {
        let mut proxies = Proxies::default();
        for network in ["10.0.0.0/8", "2001:db8:aaaa::/48", "::ffff:172.16.0.0/108"] {
            proxies.add(network).unwrap();
        }
        proxies
    }

    fn of(peer: &str, list: &[(&str, &str)]) -> Client {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(HeaderName::from_str(name).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        client(peer.parse().unwrap(), &headers, &proxies())
    }

    #[rstest]
    #[case::one("203.0.113.9", "203.0.113.9")]
    #[case::invented_left("1.1.1.1, 203.0.113.9", "203.0.113.9")]
    #[case::past_proxies("1.1.1.1, 203.0.113.9, 10.1.1.1,10.2.2.2", "203.0.113.9")]
    #[case::mapped("::ffff:203.0.113.9", "203.0.113.9")]
    #[case::mapped_proxy("203.0.113.9, ::ffff:10.9.9.9", "203.0.113.9")]
    #[case::mapped_network("203.0.113.9, 172.16.1.1", "203.0.113.9")]
    #[case::port("203.0.113.9:4711", "203.0.113.9")]
    #[case::bare_v6("2001:db8::1", "2001:db8::1")]
    #[case::v6_port("[2001:db8::1]:443", "2001:db8::1")]
    #[case::v6_proxy("2001:db8::1, 2001:db8:aaaa::7", "2001:db8::1")]
    #[case::only_proxies("10.3.3.3, 10.2.2.2", "10.3.3.3")]
    #[case::empty("", PEER)]
    #[case::commas(", ,203.0.113.9,,", "203.0.113.9")]
    #[case::unknown("1.1.1.1, unknown", PEER)]
    #[case::unknown_behind_a_proxy("1.1.1.1, unknown, 10.2.2.2", "10.2.2.2")]
    #[case::garbage("1.1.1.1, 203.0.113", PEER)]
    #[case::octal("0203.0.113.9", PEER)]
    #[case::zone("fe80::1%eth0", PEER)]
    #[case::name("client.example", PEER)]
    fn x_forwarded_for(#[case] value: &str, #[case] expected: &str) {
        assert_eq!(of(PEER, &[("x-forwarded-for", value)]).address.to_string(), expected);
    }

    #[rstest]
    #[case::plain("for=203.0.113.9", "203.0.113.9")]
    #[case::case_of_names("For=203.0.113.9;Proto=https;By=10.1.1.1", "203.0.113.9")]
    #[case::quoted(r#"for="203.0.113.9:4711";proto=http"#, "203.0.113.9")]
    #[case::unquoted_port("for=203.0.113.9:4711", "203.0.113.9")]
    #[case::v6(r#"for="[2001:db8::1]""#, "2001:db8::1")]
    #[case::v6_port(r#"host=a;for="[2001:db8::1]:4711""#, "2001:db8::1")]
    #[case::v6_obfuscated_port(r#"for="[2001:db8::1]:_p.1""#, "2001:db8::1")]
    #[case::escaped(r#"for="\203.0.113.9""#, "203.0.113.9")]
    #[case::list("for=1.1.1.1, for=203.0.113.9 , for=10.1.1.1;proto=http", "203.0.113.9")]
    #[case::comma_in_quotes(r#"for=203.0.113.9;host="a,for=1.1.1.1""#, "203.0.113.9")]
    #[case::empty_elements(", for=203.0.113.9,,", "203.0.113.9")]
    #[case::unknown("for=1.1.1.1, for=unknown", PEER)]
    #[case::obfuscated("for=1.1.1.1, for=_hidden, for=10.2.2.2", "10.2.2.2")]
    #[case::obfuscated_quoted(r#"for=1.1.1.1, for="_SEVKISEK""#, PEER)]
    #[case::without_for("for=1.1.1.1, proto=https", PEER)]
    #[case::for_twice("for=203.0.113.9;for=1.1.1.1", PEER)]
    #[case::bare_v6("for=2001:db8::1", PEER)]
    #[case::open_quote(r#"for=1.1.1.1;x=", for=203.0.113.9"#, PEER)]
    #[case::swallowed_quote(r#"for=1.1.1.1;x=", for="203.0.113.9""#, PEER)]
    #[case::after_quote(r#"for="203.0.113.9"x"#, PEER)]
    #[case::no_equals("203.0.113.9", PEER)]
    #[case::port_too_long("for=203.0.113.9:471111", PEER)]
    fn forwarded(#[case] value: &str, #[case] expected: &str) {
        assert_eq!(of(PEER, &[("forwarded", value)]).address.to_string(), expected);
    }

    #[test]
    fn several_lines_are_one_list() {
        let lines =
            [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "10.2.2.2")];
        assert_eq!(of(PEER, &lines).address.to_string(), "203.0.113.9");
        // A line that a client broke does not matter where the proxy wrote its own.
        let lines = [("forwarded", "for=\"1.1.1.1"), ("forwarded", "for=203.0.113.9")];
        assert_eq!(of(PEER, &lines).address.to_string(), "203.0.113.9");
    }

    #[test]
    fn two_headers_have_to_agree() {
        let both = |new, old| of(PEER, &[("forwarded", new), ("x-forwarded-for", old)]).address.to_string();
        assert_eq!(both("for=203.0.113.9", "1.1.1.1, 203.0.113.9"), "203.0.113.9");
        assert_eq!(both("for=1.1.1.1", "203.0.113.9"), PEER);
    }

    #[test]
    fn nobody_else_is_believed_and_that_is_told() {
        for (peer, address) in [("203.0.113.1", "203.0.113.1"), ("::ffff:203.0.113.1", "203.0.113.1")] {
            for header in [("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=1.1.1.1")] {
                assert_eq!(of(peer, &[header]), Client { address: address.parse().unwrap(), disbelieved: true });
            }
            assert!(!of(peer, &[("x-forwarded-host", "a")]).disbelieved);
        }
        assert_eq!(of("::ffff:10.0.0.1", &[("x-forwarded-for", "1.1.1.1")]).address.to_string(), "1.1.1.1");
    }

    #[test]
    fn a_chain_that_is_too_long_is_not_read() {
        let chain = "10.1.1.1, ".repeat(500) + "203.0.113.9";
        assert_eq!(of(PEER, &[("x-forwarded-for", &chain)]).address.to_string(), PEER);
    }

    #[rstest]
    #[case("10.0.0.0/33")]
    #[case("10.0.0.0/8 ")]
    #[case("proxy.example")]
    #[case("")]
    #[case("10.0.0.1/8")]
    #[case("0.0.0.0/0")]
    #[case("::/0")]
    fn what_is_no_network(#[case] text: &str) {
        assert!(Proxies::default().add(text).is_err());
    }

    #[test]
    fn one_address_is_a_network() {
        let mut proxies = Proxies::default();
        proxies.add("192.0.2.7").unwrap();
        assert!(proxies.contain("192.0.2.7".parse().unwrap()) && !proxies.contain("192.0.2.8".parse().unwrap()));
    }

    proptest! {
        /// Whatever a client writes, the address that the nearest proxy appended in a line of its own wins; on the same
        /// line it is that address or the proxy's, never another.
        #[test]
        fn no_client_chooses_its_address(invented in "[ -~]{0,60}") {
            let old = format!("{invented}, 203.0.113.9");
            prop_assert_eq!(of(PEER, &[("x-forwarded-for", &old)]).address.to_string(), "203.0.113.9");
            for new in ["for=203.0.113.9", "for=\"203.0.113.9:47\"", "proto=http;for=\"203.0.113.9\""] {
                let own_line = of(PEER, &[("forwarded", &invented), ("forwarded", new)]).address.to_string();
                prop_assert_eq!(own_line, "203.0.113.9");
                let same_line = of(PEER, &[("forwarded", &format!("{invented}, {new}"))]).address.to_string();
                prop_assert!(same_line == "203.0.113.9" || same_line == PEER, "{}", same_line);
            }
        }

        #[test]
        fn no_panic(text in ".{0,60}") {
            let _read = (forwarded_line(&text), x_forwarded_for_line(&text));
        }
    }
}
