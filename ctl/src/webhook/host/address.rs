//! Addresses: of an API, from what a person calls the host, and of each call below it. Pure. A token goes to no other address
//! than the one that was named, and over http:// only within this machine or where that was asked for.

use crate::http::{Url, is_this_machine};
use crate::webhook::api::{Api, Call};

/// Why there is no address to send a token to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("there is no public service of this kind: say where the host is, as in https://git.example")]
    Missing,
    #[error("it has to be http:// or https://, without user, password, query and fragment")]
    Form,
    #[error("a token is not sent over http:// to another machine unless --allow-http is given")]
    PlainHttp,
}

/// The API's base, without a slash at its end. `https://git.example` and `https://git.example/api/v4` mean the same.
pub(crate) fn base(api: &dyn Api, given: Option<&Url>, allow_http: bool) -> Result<Url, AddressError> {
    let public = api.public().and_then(|text| text.parse::<Url>().ok());
    let mut url = given.cloned().or_else(|| public.clone()).ok_or(AddressError::Missing)?;
    if !is_plain(&url) || url.query().is_some() || url.fragment().is_some() {
        return Err(AddressError::Form);
    }
    if url.scheme() == "http" && !allow_http && !is_this_machine(&url) {
        return Err(AddressError::PlainHttp);
    }
    let host = url.host_str().unwrap_or_default();
    // The public service's own pages are at the name without `api.`
    let bare = public.as_ref().and_then(Url::host_str).and_then(|known| known.strip_prefix("api."));
    if let (true, Some(public)) = (bare == Some(host), &public) {
        return Ok(public.clone());
    }
    // GitHub's API has a name of its own there, and others nothing at that name.
    let whole = host.starts_with("api.") || ends_with(&url, api.base_path());
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty();
        if !whole {
            path.extend(api.base_path());
        }
    }
    Ok(url)
}

/// A call's address. Segments are encoded, slashes within them too.
pub(crate) fn of(base: &Url, call: &Call) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(&call.path);
    }
    if !call.query.is_empty() {
        url.query_pairs_mut().extend_pairs(&call.query);
    }
    url
}

/// Whether Git hosts can post to it, and may know it.
pub(crate) fn is_hook(url: &Url) -> bool {
    is_plain(url) && url.fragment().is_none()
}

fn is_plain(url: &Url) -> bool {
    let http = matches!(url.scheme(), "http" | "https");
    http && url.has_host() && url.username().is_empty() && url.password().is_none()
}

fn ends_with(url: &Url, end: [&str; 2]) -> bool {
    let segments: Vec<&str> = url.path().split('/').filter(|segment| !segment.is_empty()).collect();
    segments.ends_with(&end)
}

#[cfg(test)]
mod tests {
    use towline_receiver::Provider;

    use super::*;
    use crate::webhook::api::{self, Place};

    fn based(provider: Provider, given: &str) -> String {
        let api = api::of(provider).unwrap();
        base(api, Some(&given.parse().unwrap()), false).map(|url| url.to_string()).unwrap_or_else(|e| e.to_string())
    }

    #[test]
    fn what_people_call_a_host_becomes_its_api() {
        for (provider, given, expected) in [
            (Provider::Github, "https://github.com", "https://api.github.com/"),
            (Provider::Github, "https://api.github.com/", "https://api.github.com/"),
            (Provider::Github, "https://ghe.example", "https://ghe.example/api/v3"),
            (Provider::Github, "https://ghe.example/api/v3/", "https://ghe.example/api/v3"),
            (Provider::Github, "https://api.tenant.ghe.com", "https://api.tenant.ghe.com/"),
            (Provider::Gitlab, "https://git.example/gitlab", "https://git.example/gitlab/api/v4"),
            (Provider::Gitea, "http://127.0.0.1:3000", "http://127.0.0.1:3000/api/v1"),
            (Provider::Gitea, "http://[::1]:3000", "http://[::1]:3000/api/v1"),
        ] {
            assert_eq!(based(provider, given), expected, "{given}");
        }
        let public = |provider| base(api::of(provider).unwrap(), None, false);
        assert_eq!(public(Provider::Gitlab).unwrap().as_str(), "https://gitlab.com/api/v4");
        assert!(matches!(public(Provider::Gitea), Err(AddressError::Missing)));
    }

    #[test]
    fn a_token_does_not_go_everywhere() {
        for bad in
            ["http://git.example", "http://10.0.0.1", "http://localhost.evil.example", "http://127.0.0.1.evil.example"]
        {
            assert_eq!(based(Provider::Gitea, bad), AddressError::PlainHttp.to_string(), "{bad}");
        }
        for bad in
            ["ftp://git.example", "https://u:p@git.example", "https://git.example/?a=b", "https://git.example/#a"]
        {
            assert_eq!(based(Provider::Gitea, bad), AddressError::Form.to_string(), "{bad}");
        }
    }

    #[test]
    fn a_name_cannot_leave_its_place_in_the_path() {
        let place = Place::repository("group/sub?x#y%2e/app").unwrap();
        let base: Url = "https://git.example/api/v4".parse().unwrap();
        let call = api::list(api::of(Provider::Gitlab).unwrap(), &place, 1);
        assert_eq!(
            of(&base, &call).as_str(),
            "https://git.example/api/v4/projects/group%2Fsub%3Fx%23y%252e%2Fapp/hooks?per_page=100&page=1"
        );
    }
}
