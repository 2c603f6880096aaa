//! The edge: who is in front of a proxy cannot choose its own address, and a glob means what it says.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use towline_receiver::allow::AllowList;
use towline_receiver::forwarded::{Proxies, client};

const PROXY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

/// The oracle is exponential in wildcards, and names need not be long to differ.
const GLOB_BYTES_MAX: usize = 24;

/// Any chain that a stranger invents: without a proxy it is not believed, and with one it cannot get past what the proxy
/// wrote at its end.
pub fn forwarded(data: &[u8]) {
    let mut proxies = Proxies::default();
    proxies.add("10.0.0.0/8").unwrap();
    let lines: Vec<HeaderValue> =
        data.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();
    let ends = [("forwarded", "for=192.0.2.7;proto=https"), ("x-forwarded-for", "192.0.2.7")];
    for (name, end) in ends {
        let name = HeaderName::from_static(name);
        let mut headers = HeaderMap::new();
        for line in &lines {
            headers.append(&name, line.clone());
        }
        let direct = client(STRANGER, &headers, &proxies);
        assert_eq!(direct.address, STRANGER, "a stranger was believed about whom it speaks for");
        // Alone it may say what it likes: then a proxy said it.
        client(PROXY, &headers, &proxies);
        // A proxy either begins a line of its own or adds to the last one.
        let mut own = headers.clone();
        own.append(&name, HeaderValue::from_static(end));
        assert_chosen_by_the_proxy(client(PROXY, &own, &proxies).address);
        if let Some(last) = lines.last() {
            let joined = [last.as_bytes(), b", ", end.as_bytes()].concat();
            let mut added = HeaderMap::new();
            for line in &lines[..lines.len() - 1] {
                added.append(&name, line.clone());
            }
            added.append(&name, HeaderValue::from_bytes(&joined).unwrap());
            assert_chosen_by_the_proxy(client(PROXY, &added, &proxies).address);
        }
    }
}

/// Where the chain cannot be read, all of the proxy's clients count as one.
fn assert_chosen_by_the_proxy(address: IpAddr) {
    assert!(address == STRANGER || address == PROXY, "{address} was chosen by the client");
}

/// A glob and a name, on a line each.
pub fn allow(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (glob, name) = text.split_once('\n').unwrap_or((&text, ""));
    let mut list = AllowList::default();
    if list.add(glob).is_err() {
        return;
    }
    let allowed = list.allows(name);
    if glob.len() <= GLOB_BYTES_MAX && name.len() <= GLOB_BYTES_MAX {
        let (glob, name): (Vec<char>, Vec<char>) =
            (glob.to_lowercase().chars().collect(), name.to_lowercase().chars().collect());
        assert_eq!(allowed, matches(&glob, &name), "{glob:?} and {name:?}");
    }
}

/// What a glob means, in the shortest way to say it.
fn matches(glob: &[char], name: &[char]) -> bool {
    match glob {
        [] => name.is_empty(),
        ['*', '*', rest @ ..] => (0..=name.len()).any(|taken| matches(rest, &name[taken..])),
        ['*', rest @ ..] => {
            let part = name.iter().position(|c| *c == '/').unwrap_or(name.len());
            (0..=part).any(|taken| matches(rest, &name[taken..]))
        }
        ['?', rest @ ..] => name.first().is_some_and(|c| *c != '/') && matches(rest, &name[1..]),
        [literal, rest @ ..] => name.first() == Some(literal) && matches(rest, &name[1..]),
    }
}
