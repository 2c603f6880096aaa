//! What others published: key, text and result.

use super::*;

fn code(key: &[u8], body: &[u8]) -> String {
    let secret = Secret::parse(Provider::Gitea, key).unwrap();
    let delivery = sign::sign(Provider::Gitea, &secret, "push", Bytes::copy_from_slice(body), "id", NOW);
    proof(&headers_of(&delivery)).1
}

fn believed(key: &[u8], body: &[u8], signature: &str) -> Result<(), Refusal> {
    let secret = Secret::parse(Provider::Gitea, key).unwrap();
    let headers = headers(&[("x-gitea-signature", signature)]);
    verify(Provider::Gitea, &[secret], &headers, Bytes::copy_from_slice(body), NOW).map(|_| ())
}

/// RFC 4231, HMAC-SHA-256 of test cases 1, 2, 3, 4, 6 and 7.
#[test]
fn rfc_4231() {
    let counting: Vec<u8> = (1..=25).collect();
    let larger = "This is a test using a larger than block-size key and a larger than block-size data. \
                  The key needs to be hashed before being used by the HMAC algorithm.";
    let cases: [(&[u8], &[u8], &str); 6] = [
        (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (&counting, &[0xcd; 50], "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
        (
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
        (&[0xaa; 131], larger.as_bytes(), "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"),
    ];
    for (key, body, expected) in cases {
        assert_eq!(code(key, body), expected);
        assert_eq!(believed(key, body, expected), Ok(()));
    }
}

/// RFC 4231, test case 5, which the RFC prints truncated to 128 bits: our code begins with them, and is not believed when
/// it is cut. No provider truncates.
#[test]
fn rfc_4231_truncated() {
    let (key, body) = ([0x0c; 20], b"Test With Truncation");
    let truncated = "a3b6167473100ee06e0c796c2955552b";
    let whole = code(&key, body);
    assert!(whole.starts_with(truncated) && whole.len() == 64);
    assert_eq!(believed(&key, body, &whole), Ok(()));
    assert!(is_malformed(believed(&key, body, truncated).err(), "x-gitea-signature"));
}

/// From GitHub's documentation "Validating webhook deliveries".
#[test]
fn githubs_documented_example() {
    let secrets = secrets(Provider::Github, &["It's a Secret to Everybody"]);
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let headers = headers(&[("x-hub-signature-256", signature)]);
    let judge = |body| verify(Provider::Github, &secrets, &headers, Bytes::from_static(body), NOW).err();
    assert_eq!(judge(b"Hello, World!"), None);
    assert_eq!(judge(b"Hello, World?"), Some(Refusal::Wrong("x-hub-signature-256")));
}

/// The example of the Standard Webhooks reference libraries.
#[test]
fn standard_webhooks_example() {
    let headers = headers(&[
        ("webhook-id", "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk"),
        ("webhook-timestamp", "1649367553"),
        ("webhook-signature", "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="),
    ]);
    let body = Bytes::from_static(br#"{"email":"test@example.com","username":"test_user"}"#);
    let then = Timestamp::from_second(1_649_367_553).unwrap();
    for provider in [Provider::Gitlab, Provider::Generic] {
        let secrets = secrets(provider, &[KEY]);
        assert!(verify(provider, &secrets, &headers, body.clone(), then).is_ok());
        let late = verify(provider, &secrets, &headers, body.clone(), NOW).err();
        assert!(matches!(late, Some(Refusal::OutsideWindow { seconds: 50_632_447 })), "{late:?}");
    }
}
