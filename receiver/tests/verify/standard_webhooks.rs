//! GitLab's signatures and the generic provider's: one scheme, judged for both.

use jiff::SignedDuration;
use rstest::rstest;
use towline_receiver::verify::TIMESTAMP_WINDOW;

use super::*;

const SIGNATURE: &str = "webhook-signature";

fn sent(provider: Provider, key: &str, at: Timestamp) -> HeaderMap {
    let secret = Secret::parse(provider, key.as_bytes()).unwrap();
    headers_of(&sign::sign(provider, &secret, "Push Hook", Bytes::from_static(b"{}"), "id-1", at))
}

#[rstest]
#[case(SignedDuration::ZERO, true)]
#[case(TIMESTAMP_WINDOW, true)]
#[case(-TIMESTAMP_WINDOW, true)]
#[case(TIMESTAMP_WINDOW + SignedDuration::from_secs(1), false)]
#[case(-TIMESTAMP_WINDOW - SignedDuration::from_secs(1), false)]
fn the_window_is_five_minutes_both_ways(
    #[values(Provider::Gitlab, Provider::Generic)] provider: Provider,
    #[case] offset: SignedDuration,
    #[case] believed: bool,
) {
    assert_eq!(TIMESTAMP_WINDOW, SignedDuration::from_mins(5));
    let said = refusal(provider, &[KEY], &sent(provider, KEY, NOW + offset));
    assert_eq!(said.is_none(), believed);
    if !believed {
        assert_eq!(said, Some(Refusal::OutsideWindow { seconds: -offset.as_secs() }));
    }
}

#[rstest]
fn several_signatures_one_is_enough(#[values(Provider::Gitlab, Provider::Generic)] provider: Provider) {
    let headers = signed(provider, KEY);
    let good = headers[SIGNATURE].to_str().unwrap().to_owned();
    let wrong = format!("v1,{}", data_encoding::BASE64.encode(&[7; 32]));
    let judged = |list: &str| refusal(provider, &[KEY], &with(&headers, SIGNATURE, list));
    for list in [
        format!("{wrong} {good}"),
        format!("{good} {wrong}"),
        format!("v1a,abc {good} {wrong}"),
        format!("{good} {good}"),
        format!("{}{good}", format!("{wrong} ").repeat(7)),
    ] {
        assert_eq!(judged(&list), None, "{list}");
    }
    assert_eq!(judged(&wrong), Some(Refusal::Wrong(SIGNATURE)));
    assert_eq!(judged(&format!("{wrong} {wrong}")), Some(Refusal::Wrong(SIGNATURE)));
    // No more than eight: each is compared with each secret.
    assert!(is_malformed(judged(&format!("{}{good}", format!("{wrong} ").repeat(8))), SIGNATURE));
    // Both secrets of a rotation, on either side.
    assert_eq!(refusal(provider, &[OTHER_KEY, KEY], &headers), None);
    assert_eq!(refusal(provider, &[OTHER_KEY], &headers), Some(Refusal::Wrong(SIGNATURE)));
}

#[rstest]
fn one_form(#[values(Provider::Gitlab, Provider::Generic)] provider: Provider) {
    let headers = signed(provider, KEY);
    let good = headers[SIGNATURE].to_str().unwrap().to_owned();
    let encoded = good.strip_prefix("v1,").unwrap();
    let hex = data_encoding::HEXLOWER.encode(&data_encoding::BASE64.decode(encoded.as_bytes()).unwrap());
    let judged = |value: &str| refusal(provider, &[KEY], &with(&headers, SIGNATURE, value));
    assert_eq!(judged(""), Some(Refusal::Unsigned(SIGNATURE)));
    let bad = [
        // Prefix only, no prefix.
        "v1".to_owned(),
        "v1,".to_owned(),
        encoded.to_owned(),
        format!(",{encoded}"),
        // Hexadecimal digits.
        format!("v1,{hex}"),
        format!("v1,{}", &hex[..63]),
        format!("v1,{hex}0"),
        // Upper case, other versions and algorithms.
        format!("V1,{encoded}"),
        format!("v2,{encoded}"),
        format!("v1a,{encoded}"),
        format!("v10,{encoded}"),
        format!("sha256={hex}"),
        format!("v1={encoded}"),
        // Spaces.
        format!("{good} "),
        format!(" {good}"),
        format!("v1, {encoded}"),
        format!("{good}  {good}"),
        format!("{good}\t"),
        // A second one that is none.
        format!("{good} v1,"),
        format!("{good} {encoded}"),
        format!("{good},{encoded}"),
        // Base64 of more or less than 32 bytes, without padding, in the other alphabet.
        format!("v1,{}", data_encoding::BASE64.encode(&[7; 31])),
        format!("v1,{}", data_encoding::BASE64.encode(&[7; 33])),
        format!("v1,{}", encoded.trim_end_matches('=')),
        format!("v1,{}", data_encoding::BASE64URL.encode(&[0xfb; 32])),
    ];
    for value in &bad {
        assert!(is_malformed(judged(value), SIGNATURE), "{value:?}: {:?}", judged(value));
    }
    for end in 3..good.len() {
        assert!(is_malformed(judged(&good[..end]), SIGNATURE), "truncated base64: {}", &good[..end]);
    }
    assert!(judged(&format!("v1,{}", encoded.to_uppercase())).is_some());
}

#[rstest]
fn all_three_headers_once(
    #[values(Provider::Gitlab, Provider::Generic)] provider: Provider,
    #[values("webhook-id", "webhook-timestamp", "webhook-signature")] name: &'static str,
) {
    let headers = signed(provider, KEY);
    let value = headers[name].to_str().unwrap().to_owned();
    let twice = and(&headers, name, &value);
    assert_eq!(refusal(provider, &[KEY], &twice), Some(Refusal::Repeated(name)));
    let expected = if name == SIGNATURE { Refusal::Unsigned(name) } else { Refusal::Missing(name) };
    assert_eq!(refusal(provider, &[KEY], &without(&headers, name)), Some(expected));
}

#[rstest]
fn id_and_time_are_signed_and_cannot_be_cut_in_another_way(
    #[values(Provider::Gitlab, Provider::Generic)] provider: Provider,
) {
    let headers = signed(provider, KEY);
    let judged = |name, value: &str| refusal(provider, &[KEY], &with(&headers, name, value));
    for id in ["id-2", "id-1 ", "ID-1", "5"] {
        assert_eq!(judged("webhook-id", id), Some(Refusal::Wrong(SIGNATURE)), "{id:?}");
    }
    for id in ["", "id-1.5", ".", "id-1."] {
        assert!(is_malformed(judged("webhook-id", id), "webhook-id"), "{id:?}");
    }
    for time in ["1700000001", "01700000000", "0"] {
        assert_eq!(judged("webhook-timestamp", time), Some(Refusal::Wrong(SIGNATURE)), "{time:?}");
    }
    for time in ["", "-1700000000", "+1700000000", "1700000000.0", "1700000000 ", "now", "99999999999999999999", "0x1"]
    {
        assert!(is_malformed(judged("webhook-timestamp", time), "webhook-timestamp"), "{time:?}");
    }
    // A body that somebody could write into: "id-1.<old time>" as the id, the time out of the body.
    let secret = Secret::parse(provider, KEY.as_bytes()).unwrap();
    let signed_once = Bytes::from_static(b"1700000000.{}");
    let old = NOW - SignedDuration::from_hours(1);
    let captured = headers_of(&sign::sign(provider, &secret, "push", signed_once, "id-1", old));
    let cut = with(&captured, "webhook-id", &format!("id-1.{}", old.as_second()));
    let cut = with(&cut, "webhook-timestamp", "1700000000");
    assert!(is_malformed(refusal(provider, &[KEY], &cut), "webhook-id"));
}

#[rstest]
fn the_signed_id_and_time_make_another_message(#[values(Provider::Gitlab, Provider::Generic)] provider: Provider) {
    let id = |at| check(provider, &[KEY], &sent(provider, KEY, at)).unwrap().message_id("s");
    assert_eq!(id(NOW), id(NOW));
    assert_ne!(id(NOW), id(NOW + SignedDuration::from_secs(1)));
}

#[test]
fn gitlabs_token_beside_a_signature_changes_nothing() {
    let provider = Provider::Gitlab;
    let both = [KEY, "token"];
    let token = headers(&[("x-gitlab-token", "token")]);
    let bad_signature = with(&signed(provider, OTHER_KEY), "x-gitlab-token", "token");
    assert_eq!(refusal(provider, &both, &bad_signature), Some(Refusal::Wrong(SIGNATURE)));
    let empty_signature = with(&token, SIGNATURE, "");
    assert_eq!(refusal(provider, &both, &empty_signature), Some(Refusal::Unsigned(SIGNATURE)));
    let bad_token = with(&signed(provider, KEY), "x-gitlab-token", "wrong");
    assert_eq!(refusal(provider, &both, &bad_token), None);
    // A sender that does not sign yet, while the hook has both.
    assert_eq!(refusal(provider, &both, &token), None);
    // A hook that knows keys only has no use for a token, not even for the text of the key.
    for text in ["token", KEY] {
        let said = refusal(provider, &[KEY], &headers(&[("x-gitlab-token", text)]));
        assert_eq!(said, Some(Refusal::Unsigned(SIGNATURE)));
    }
    // One that knows tokens only does not mind a signature it cannot judge.
    assert_eq!(refusal(provider, &["token"], &with(&signed(provider, KEY), "x-gitlab-token", "token")), None);
    assert_eq!(refusal(provider, &["token"], &signed(provider, KEY)), Some(Refusal::Unsigned("x-gitlab-token")));
}
