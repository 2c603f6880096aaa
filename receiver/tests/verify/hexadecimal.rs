//! The five providers that sign the body with a hexadecimal HMAC.

use rstest::rstest;

use super::*;

/// Well-formed, and the HMAC of nothing here.
const WRONG: &str = "27a20c08c3edf6bed88fcbc08bb6f33dd6f9bc1dac8cc8b2a9b4b6ff3d7b0f1d";

fn prefix(provider: Provider) -> &'static str {
    match provider {
        Provider::Gitea | Provider::Forgejo => "",
        _ => "sha256=",
    }
}

/// The provider's header, and the digits of the good signature of `{}`.
fn good(provider: Provider) -> (&'static str, String) {
    let (name, value) = proof(&signed(provider, "k"));
    (name, value.strip_prefix(prefix(provider)).unwrap().to_owned())
}

#[rstest]
#[case(Provider::Github, "x-hub-signature-256")]
#[case(Provider::Gitea, "x-gitea-signature")]
#[case(Provider::Forgejo, "x-forgejo-signature")]
#[case(Provider::Bitbucket, "x-hub-signature")]
#[case(Provider::BitbucketServer, "x-hub-signature")]
fn one_form_in_one_header(#[case] provider: Provider, #[case] header: &'static str) {
    let (name, digits) = good(provider);
    assert_eq!(name, header);
    let prefix = prefix(provider);
    let judged = |value: &str| refusal(provider, &["k"], &headers(&[(name, value)]));
    assert_eq!(judged(&format!("{prefix}{digits}")), None);
    assert_eq!(judged(&format!("{prefix}{WRONG}")), Some(Refusal::Wrong(name)));
    assert_eq!(judged(""), Some(Refusal::Unsigned(name)));
    let bad = [
        // Prefix only, and the other form.
        "sha256=".to_owned(),
        if prefix.is_empty() { format!("sha256={digits}") } else { digits.clone() },
        // 63 and 65 digits, none, and half of them.
        format!("{prefix}{}", &digits[..63]),
        format!("{prefix}{digits}0"),
        format!("{prefix}{}", &digits[..32]),
        format!("{prefix}{digits}{digits}"),
        // Upper case.
        format!("{prefix}{}", digits.to_uppercase()),
        format!("SHA256={digits}"),
        // Other algorithms.
        format!("sha1={}", &digits[..40]),
        format!("sha1={digits}"),
        format!("sha512={digits}{digits}"),
        format!("md5={}", &digits[..32]),
        // Spaces.
        format!("{prefix}{digits} "),
        format!(" {prefix}{digits}"),
        format!("{prefix} {digits}"),
        format!("{prefix}{digits}\t"),
        // Two in one.
        format!("{prefix}{digits},{prefix}{digits}"),
        format!("{prefix}{digits} {prefix}{digits}"),
        // Not hexadecimal: base64, whole and truncated.
        format!("{prefix}{}", data_encoding::BASE64.encode(&[7; 32])),
        format!("{prefix}{}", &data_encoding::BASE64.encode(&[7; 32])[..42]),
        format!("{prefix}{}g", &digits[..63]),
        format!("{prefix}0x{}", &digits[..62]),
    ];
    for value in &bad {
        assert!(is_malformed(judged(value), name), "{provider}: {value:?}: {:?}", judged(value));
    }
    let other = HeaderValue::from_bytes(b"sha256=\xff").unwrap();
    let other = HeaderMap::from_iter([(HeaderName::from_static(name), other)]);
    assert!(is_malformed(refusal(provider, &["k"], &other), name));
}

#[rstest]
fn two_headers_are_none(
    #[values(Provider::Github, Provider::Gitea, Provider::Forgejo, Provider::Bitbucket, Provider::BitbucketServer)]
    provider: Provider,
) {
    let (name, digits) = good(provider);
    let (good, wrong) = (format!("{}{digits}", prefix(provider)), format!("{}{WRONG}", prefix(provider)));
    for (first, second) in [(&good, &good), (&good, &wrong), (&wrong, &good), (&String::new(), &good)] {
        let said = refusal(provider, &["k"], &headers(&[(name, first), (name, second)]));
        assert_eq!(said, Some(Refusal::Repeated(name)), "{provider}");
    }
}

#[test]
fn a_sha_1_signature_is_told_apart_and_not_believed() {
    let sha1 = [("x-hub-signature", "sha1=2fd4e1c67a2d28fced849ee1bb76e7391b93eb12")];
    let said = refusal(Provider::Github, &["k"], &headers(&sha1)).unwrap();
    assert_eq!(said, Refusal::OnlySha1);
    assert!(said.to_string().contains("SHA-1"), "{said}");
    // A good SHA-256 in the old header is none either; the two together are GitHub's usual delivery.
    let (name, digits) = good(Provider::Github);
    let good = format!("sha256={digits}");
    let old = headers(&[("x-hub-signature", &good)]);
    assert_eq!(refusal(Provider::Github, &["k"], &old), Some(Refusal::OnlySha1));
    assert_eq!(refusal(Provider::Github, &["k"], &with(&headers(&sha1), name, &good)), None);
    let bad = with(&headers(&sha1), name, &format!("sha256={WRONG}"));
    assert_eq!(refusal(Provider::Github, &["k"], &bad), Some(Refusal::Wrong(name)));
}

/// Gitea and Forgejo sign under the names of those they descend from, too.
#[test]
fn a_bad_signature_is_not_rescued_by_a_good_one_of_another_name() {
    let all = |digits: &str| {
        headers(&[
            ("x-forgejo-signature", digits),
            ("x-gitea-signature", digits),
            ("x-gogs-signature", digits),
            ("x-hub-signature-256", &format!("sha256={digits}")),
            ("x-hub-signature", &format!("sha256={digits}")),
        ])
    };
    for provider in
        [Provider::Forgejo, Provider::Gitea, Provider::Github, Provider::Bitbucket, Provider::BitbucketServer]
    {
        let (name, digits) = good(provider);
        let all = all(&digits);
        assert_eq!(refusal(provider, &["k"], &all), None);
        let wrong = format!("{}{WRONG}", prefix(provider));
        assert_eq!(refusal(provider, &["k"], &with(&all, name, &wrong)), Some(Refusal::Wrong(name)));
        // What both send where the webhook has no secret.
        assert!(refusal(provider, &["k"], &with(&all, name, "")).is_some());
        assert!(refusal(provider, &["k"], &without(&all, name)).is_some());
    }
    let (_, digits) = good(Provider::Forgejo);
    let empty = with(&all(&digits), "x-forgejo-signature", "");
    assert_eq!(refusal(Provider::Forgejo, &["k"], &empty), Some(Refusal::Unsigned("x-forgejo-signature")));
}

#[test]
fn every_secret_is_good_while_one_is_replaced() {
    let headers = signed(Provider::Forgejo, "k");
    for texts in [&["k", "new"][..], &["old", "k"], &["a", "b", "k"]] {
        assert_eq!(refusal(Provider::Forgejo, texts, &headers), None);
    }
    assert_eq!(refusal(Provider::Forgejo, &["a", "b"], &headers), Some(Refusal::Wrong("x-forgejo-signature")));
}

#[test]
fn the_unsigned_delivery_id_does_not_make_another_message() {
    let headers = signed(Provider::Gitea, "k");
    let id = |delivery: &str, subject: &str| {
        check(Provider::Gitea, &["k"], &with(&headers, "x-gitea-delivery", delivery)).unwrap().message_id(subject)
    };
    assert_eq!(id("1", "a"), id("2", "a"));
    assert_ne!(id("1", "a"), id("1", "b"));
    assert_eq!(id("1", "a").len(), 64);
}
