//! What holds for all providers and everything they could be sent.

use proptest::prelude::*;

use super::*;

fn signing_key(bytes: Vec<u8>) -> Vec<u8> {
    format!("whsec_{}", data_encoding::BASE64.encode(&bytes)).into_bytes()
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 24..=64).prop_map(signing_key)
}

fn sender() -> impl Strategy<Value = (Provider, Vec<u8>)> {
    let text = || prop::collection::vec(any::<u8>(), 1..80);
    const HEXADECIMAL: [Provider; 5] =
        [Provider::Github, Provider::Gitea, Provider::Forgejo, Provider::Bitbucket, Provider::BitbucketServer];
    prop_oneof![
        5 => (prop::sample::select(&HEXADECIMAL[..]), text()),
        1 => (Just(Provider::Gitlab), "[!-~]([ -~]{0,60}[!-~])?".prop_map(String::into_bytes)),
        2 => (Just(Provider::Gitlab), key()),
        2 => (Just(Provider::Generic), key()),
        1 => (Just(Provider::AzureDevops), "[a-z]{0,9}:[ -~é]{1,60}".prop_map(String::into_bytes)),
        1 => (Just(Provider::AzureDevops), text()),
    ]
}

/// A delivery, or None where the text is no secret of that provider.
fn made(provider: Provider, text: &[u8], body: Vec<u8>, id: &str) -> Option<(Secret, HeaderMap, Bytes)> {
    let secret = Secret::parse(provider, text).ok()?;
    let delivery = sign::sign(provider, &secret, "push", Bytes::from(body), id, NOW);
    Some((secret, headers_of(&delivery), delivery.body))
}

/// Whether the body is signed, and not only accompanied by the secret.
fn is_signed(headers: &HeaderMap) -> bool {
    !headers.keys().any(|name| sign::is_secret(name.as_str()))
}

fn flip(bytes: &mut [u8], position: prop::sample::Index, bit: u8) {
    let at = position.index(bytes.len());
    bytes[at] ^= 1 << bit;
}

proptest! {
    #[test]
    fn what_sign_makes_verify_accepts(
        (provider, text) in sender(),
        body in prop::collection::vec(any::<u8>(), 0..400),
        id in "[!--/-~]{1,60}",
    ) {
        let Some((secret, headers, body)) = made(provider, &text, body, &id) else { return Ok(()) };
        let result = verify(provider, &[secret], &headers, body, NOW);
        prop_assert!(result.is_ok(), "{provider}: {:?}", result.err());
    }

    #[test]
    fn a_flipped_bit_in_the_body_is_refused(
        (provider, text) in sender(),
        body in prop::collection::vec(any::<u8>(), 1..200),
        position in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let Some((secret, headers, body)) = made(provider, &text, body, "id") else { return Ok(()) };
        prop_assume!(is_signed(&headers));
        let mut flipped = body.to_vec();
        flip(&mut flipped, position, bit);
        let said = verify(provider, &[secret], &headers, Bytes::from(flipped), NOW).err();
        prop_assert!(matches!(said, Some(Refusal::Wrong(_))), "{said:?}");
    }

    #[test]
    fn a_flipped_bit_in_what_proves_it_is_refused(
        (provider, text) in sender(),
        position in any::<prop::sample::Index>(),
        bit in 0..8_u8,
        header in prop::sample::select(&["", "webhook-id", "webhook-timestamp"][..]),
    ) {
        let Some((secret, headers, body)) = made(provider, &text, b"{}".to_vec(), "id") else { return Ok(()) };
        let header = if header.is_empty() || !is_signed(&headers) || !headers.contains_key("webhook-signature") {
            proof(&headers).0
        } else {
            header
        };
        let mut value = headers[header].as_bytes().to_vec();
        // The name of the basic scheme has no case.
        let from = if header == "authorization" { "Basic ".len() } else { 0 };
        flip(&mut value[from..], position, bit);
        let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
        let mut headers = headers;
        headers.insert(header, value);
        prop_assert!(verify(provider, &[secret], &headers, body, NOW).is_err());
    }

    #[test]
    fn another_secret_is_refused((provider, text) in sender(), other in sender()) {
        let Some((_, headers, body)) = made(provider, &text, b"{}".to_vec(), "id") else { return Ok(()) };
        let Ok(other_secret) = Secret::parse(provider, &other.1) else { return Ok(()) };
        // HMAC fills short keys up with zeros, and a password alone is that of nobody: these are one secret twice.
        let bare = |text: &[u8]| {
            let start = usize::from(text.starts_with(b":"));
            let end = text.iter().rposition(|byte| !b"\0\r\n".contains(byte)).map_or(start, |last| last + 1);
            text[start.min(end)..end].to_vec()
        };
        prop_assume!(bare(&text) != bare(&other.1));
        prop_assert!(verify(provider, &[other_secret], &headers, body, NOW).is_err());
    }

    #[test]
    fn any_headers_at_all_never_panic(
        (provider, secret) in prop::sample::select(&SENDERS[..]),
        values in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..90), any::<prop::sample::Index>()), 0..8),
        body in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        const OTHERS: [&str; 6] = [
            "webhook-id", "webhook-timestamp", "x-github-event", "x-gitlab-event", "x-event-key", "x-gitea-delivery",
        ];
        let names: Vec<&str> = PROOFS.into_iter().chain(OTHERS).collect();
        let mut headers = HeaderMap::new();
        for (value, index) in values {
            let Ok(value) = HeaderValue::from_bytes(&value) else { continue };
            headers.append(*index.get(&names), value);
        }
        let secrets = secrets(provider, &[secret]);
        prop_assert!(verify(provider, &secrets, &headers, Bytes::from(body), NOW).is_err());
    }

    #[test]
    fn almost_good_headers_never_panic(
        (provider, secret) in prop::sample::select(&SENDERS[..]),
        value in "(sha256=|v1,|Basic |basic )?[0-9a-fA-F+/= ,]{0,70}",
        time in "[0-9+-]{0,20}",
    ) {
        let mut headers = signed(provider, secret);
        let name = proof(&headers).0;
        headers.insert(name, HeaderValue::from_str(&value).unwrap());
        headers.insert("webhook-timestamp", HeaderValue::from_str(&time).unwrap());
        prop_assert!(refusal(provider, &[secret], &headers).is_some());
    }
}

/// What one provider sends is not believed from another, except where both send the same.
#[test]
fn a_delivery_to_another_providers_hook_is_refused() {
    for (from, secret) in SENDERS {
        let headers = signed(from, secret);
        for (to, known) in SENDERS {
            let same = proof(&headers).0 == proof(&signed(to, known)).0 && secret == known;
            assert_eq!(refusal(to, &[known], &headers).is_none(), same, "{from} to {to}");
        }
    }
}
