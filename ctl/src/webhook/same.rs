//! Which of a place's hooks is meant: the one with the address. Pure.

use super::api::Hook;
use super::shown;
use crate::http::Url;

/// Hooks with this address, in the order of their ids.
pub(crate) fn with_url(hooks: Vec<Hook>, url: &Url) -> (Vec<Hook>, Vec<Hook>) {
    let (mut same, others): (Vec<Hook>, Vec<Hook>) = hooks.into_iter().partition(|hook| is_same(&hook.url, url));
    same.sort_by_key(|hook| hook.id);
    (same, others)
}

/// Hosts write an address back as it was given; `https://h` and `https://h:443/` are the same.
fn is_same(text: &str, url: &Url) -> bool {
    text.parse::<Url>().is_ok_and(|other| other == *url)
}

pub(crate) fn ids(hooks: &[Hook]) -> Vec<u64> {
    hooks.iter().map(|hook| hook.id).collect()
}

pub(crate) fn joined(ids: &[u64]) -> String {
    ids.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

/// The addresses of hooks that go to the same machine: one of them may be the one that was meant.
pub(crate) fn near(others: &[Hook], url: &Url) -> Vec<String> {
    let near = |hook: &&Hook| hook.url.parse::<Url>().is_ok_and(|other| other.host_str() == url.host_str());
    others.iter().filter(near).map(|hook| format!("{} (id {})", shown::address(&hook.url), hook.id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(id: u64, url: &str) -> Hook {
        Hook { id, url: url.to_owned(), ..Hook::default() }
    }

    #[test]
    fn the_same_address_may_be_written_in_several_ways() {
        let url: Url = "https://h.example/hooks/github".parse().unwrap();
        let all = vec![
            hook(9, "https://H.example:443/hooks/github"),
            hook(2, "https://h.example/hooks/github"),
            hook(3, "https://h.example/hooks/gitlab?token=t"),
            hook(4, "http://h.example/hooks/github"),
            hook(5, "https://other.example/hooks/github"),
            hook(6, "not an address"),
        ];
        let (same, others) = with_url(all, &url);
        assert_eq!(ids(&same), [2, 9]);
        let near = near(&others, &url);
        assert_eq!(near, ["https://h.example/hooks/gitlab (id 3)", "http://h.example/hooks/github (id 4)"]);
    }
}
