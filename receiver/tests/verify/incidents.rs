//! What went wrong in other receivers, for every provider of this one.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use towline_receiver::config::Hook;

use super::*;

/// Comparing as many bytes as the shorter side has accepts an empty signature, and each beginning of the right one.
#[test]
fn rustsec_2024_0010_zip_compare_signature_bypass() {
    for (provider, secret) in SENDERS {
        let headers = signed(provider, secret);
        let (name, good) = proof(&headers);
        assert_eq!(refusal(provider, &[secret], &headers), None);
        for end in 0..good.len() {
            let said = refusal(provider, &[secret], &with(&headers, name, &good[..end]));
            assert!(said.is_some(), "{provider}: the first {end} of {}", good.len());
        }
        for more in ["0", "=", "A", "==", &good] {
            assert!(refusal(provider, &[secret], &with(&headers, name, &format!("{good}{more}"))).is_some());
        }
    }
}

/// Time cannot be measured honestly here, so the code is looked at: secrets are compared in `compare.rs` only, there by
/// `subtle` only, and without a way out of the loop. That every secret is tried is a test beside that code.
#[test]
fn cve_2022_43411_non_constant_time_comparison() {
    for (path, code) in sources("src/verify") {
        let is_compare = path.ends_with("compare.rs");
        assert_eq!(code.contains("ct_eq"), is_compare, "{}", path.display());
        for word in ["==", "!=", ".eq(", ".ne(", ".cmp(", "starts_with(", "ends_with(", ".contains(&"] {
            assert!(!code.contains(word), "{} compares by {word}", path.display());
        }
        for word in ["break", "return", ".any(", ".all(", ".find(", ".position("] {
            assert!(!is_compare || !code.contains(word), "{} may stop early: {word}", path.display());
        }
    }
    let uses = [
        "Secret::shared",
        "Secret::signing_key",
        "Secret::credentials",
        ".shared()",
        ".signing_key()",
        ".credentials()",
    ];
    for (path, code) in sources("src") {
        let may =
            ["src/verify/", "src/sign/", "src/secret.rs"].iter().any(|place| path.to_string_lossy().contains(place));
        assert!(may || !uses.iter().any(|word| code.contains(word)), "{} looks at a secret", path.display());
    }
}

/// The code of all files below, without comments and tests.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            found.push((path, lines.collect::<Vec<_>>().join("\n")));
        }
    }
    assert!(found.len() > 5);
    found
}

#[test]
fn signature_checked_only_if_present() {
    for (provider, secret) in SENDERS {
        let signed = signed(provider, secret);
        let (name, good) = proof(&signed);
        let unsigned = without(&signed, name);
        let said = refusal(provider, &[secret], &unsigned);
        assert_eq!(said, Some(Refusal::Unsigned(name)), "{provider}");
        assert_eq!(refusal(provider, &[secret], &HeaderMap::new()), Some(Refusal::Unsigned(name)), "{provider}");
        assert_eq!(refusal(provider, &[secret], &with(&signed, name, "")), Some(Refusal::Unsigned(name)), "{provider}");
        // The right value under every other name.
        for other in PROOFS.into_iter().filter(|other| *other != name) {
            assert!(refusal(provider, &[secret], &with(&unsigned, other, &good)).is_some(), "{provider}: {other}");
        }
    }
}

/// Configuration does not let a hook be without a secret; should it ever, the hook believes nobody.
#[test]
fn a_hook_without_secrets_believes_nobody() {
    for (provider, secret) in SENDERS {
        assert!(refusal(provider, &[], &signed(provider, secret)).is_some(), "{provider}");
        assert!(refusal(provider, &[], &HeaderMap::new()).is_some(), "{provider}");
    }
}

/// What would print a secret by `{:?}` does not compile.
#[test]
fn secrets_cannot_be_printed() {
    struct Probe<T>(PhantomData<T>);
    trait Unprintable {
        const PRINTS: bool = false;
    }
    impl<T> Unprintable for Probe<T> {}
    // An inherent constant wins over a trait's, where its bound holds.
    impl<T: Debug> Probe<T> {
        const PRINTS: bool = true;
    }
    const { assert!(Probe::<Refusal>::PRINTS) };
    const { assert!(!Probe::<Secret>::PRINTS) };
    const { assert!(!Probe::<Verified>::PRINTS) };
    const { assert!(!Probe::<SignedDelivery>::PRINTS) };
    const { assert!(!Probe::<Hook>::PRINTS) };
}

/// The reason is logged, so it holds neither what was sent nor what was expected.
#[test]
fn refusals_quote_nothing() {
    for (provider, secret) in SENDERS {
        let headers = signed(provider, secret);
        let (name, good) = proof(&headers);
        let other = if secret == KEY { OTHER_KEY } else { "another:secret" };
        let judged = [
            refusal(provider, &[other], &headers),
            refusal(provider, &[secret], &and(&headers, name, &good)),
            refusal(provider, &[secret], &with(&headers, name, &format!("{good}hunter2 "))),
        ];
        for said in judged {
            let said = said.unwrap();
            for said in [said.to_string(), format!("{said:?}")] {
                assert!(said.contains(name), "{said}");
                for quoted in [&*good, secret, other, "hunter2"] {
                    assert!(!said.replace("hook's secrets", "").replace("a secret at", "").contains(quoted), "{said}");
                }
            }
        }
    }
}

/// What is the secret itself is known as such by whoever shows a delivery.
#[test]
fn headers_that_carry_the_secret_are_named() {
    for (provider, secret) in SENDERS {
        let headers = signed(provider, secret);
        let (name, _) = proof(&headers);
        let plain = matches!((provider, secret), (Provider::Gitlab, "secret") | (Provider::AzureDevops, _));
        assert_eq!(sign::is_secret(name), plain, "{provider}");
    }
}
