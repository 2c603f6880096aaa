//! Installation tokens against a stand-in for GitHub that checks what it is shown, as GitHub does.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use data_encoding::{BASE64, BASE64URL_NOPAD};
use jiff::{SignedDuration, Timestamp};
use rustls::SignatureScheme;
use secrecy::{ExposeSecret as _, SecretSlice};
use serde_json::Value;

use super::{Access, App, Login, PlainHttp, SecretError, TokenError, Tokens, read};

const KEY: &str = include_str!("tests/app.pem");
const PUBLIC: &str = include_str!("tests/app.pub.pem");
const APP: &str = "4711";
const INSTALLATION: &str = "42";

/// What the stand-in knows.
#[derive(Default)]
struct State {
    now: Timestamp,
    suspended: bool,
    down: bool,
    tokens: usize,
}

struct GitHub {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl GitHub {
    fn start(now: Timestamp) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, state) =
            (listener.local_addr().unwrap(), Arc::new(Mutex::new(State { now, ..State::default() })));
        let shared = Arc::clone(&state);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut head = Vec::new();
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) <= 2 {
                        break;
                    }
                    head.push(line.trim().to_owned());
                }
                let (status, body) = answer(&head, &mut shared.lock().unwrap());
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status} -\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = reader.read_to_end(&mut Vec::new());
            }
        });
        Self { address, state }
    }

    fn api(&self) -> String {
        format!("http://{}/api/v3/", self.address)
    }

    fn tokens(&self) -> usize {
        self.state.lock().unwrap().tokens
    }
}

fn answer(head: &[String], state: &mut State) -> (u16, String) {
    if state.down {
        return (502, String::new());
    }
    if head[0] != format!("POST /api/v3/app/installations/{INSTALLATION}/access_tokens HTTP/1.1") {
        return (404, String::new());
    }
    let bearer = head.iter().find_map(|line| line.strip_prefix("authorization: Bearer "));
    if !bearer.is_some_and(|jwt| is_proof(jwt, state.now)) || !head.iter().any(|line| line == "user-agent: towline") {
        return (401, String::new());
    }
    if state.suspended {
        return (403, String::new());
    }
    state.tokens += 1;
    let expires = state.now + SignedDuration::from_hours(1);
    (201, format!(r#"{{"token":"ghs_{}","expires_at":"{expires}","permissions":{{"contents":"read"}}}}"#, state.tokens))
}

/// As GitHub judges: RS256, of this App, begun, not expired, and for ten minutes at most.
fn is_proof(jwt: &str, now: Timestamp) -> bool {
    let parts: Vec<&str> = jwt.split('.').collect();
    let [header, claims, signature] = parts[..] else { return false };
    let json = |part: &str| serde_json::from_slice::<Value>(&BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap();
    let (alg, claims_read) = (json(header)["alg"].clone(), json(claims));
    let (iat, exp) = (claims_read["iat"].as_i64().unwrap(), claims_read["exp"].as_i64().unwrap());
    let in_time = iat <= now.as_second() && exp > now.as_second() && exp <= now.as_second() + 600;
    alg == "RS256" && claims_read["iss"] == APP && in_time && {
        let base64: String = PUBLIC.lines().filter(|line| !line.starts_with("-----")).collect();
        let key = BASE64.decode(base64.as_bytes()).unwrap();
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        let rs256 = algorithms.mapping.iter().find(|(scheme, _)| *scheme == SignatureScheme::RSA_PKCS1_SHA256).unwrap();
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
        rs256.1[0].verify_signature(&key, format!("{header}.{claims}").as_bytes(), &signature).is_ok()
    }
}

fn secret(changes: &[(&str, &str)], api: &str, url: &str) -> Result<App, SecretError> {
    let mut all = BTreeMap::from([
        ("githubAppID", APP),
        ("githubAppInstallationID", INSTALLATION),
        ("githubAppPrivateKey", KEY),
        ("githubAppBaseURL", api),
    ]);
    all.extend(changes.iter().copied());
    let data = all.into_iter().map(|(key, value)| (key.to_owned(), SecretSlice::from(value.as_bytes().to_vec())));
    read(&data.collect(), url).map(|credentials| credentials.app.unwrap())
}

/// Plain http is allowed to the stand-in, by name.
fn access(github: &GitHub) -> Access {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Access { plain_http: PlainHttp::parse([github.address.to_string()]).unwrap(), ..Access::default() }
}

fn password(login: Login) -> String {
    match login {
        Login::Basic { username, password } if username == "x-access-token" => password.expose_secret().to_owned(),
        _ => unreachable!(),
    }
}

#[tokio::test]
async fn a_token_is_shared_until_shortly_before_it_expires() {
    let now = Timestamp::now();
    let github = GitHub::start(now);
    let (tokens, access) = (Tokens::default(), access(&github));
    let app = secret(&[], &github.api(), "http://127.0.0.1:1/org/fleet.git").unwrap();
    let asking = (0..20).map(|_| tokens.login(&app, &access, now));
    for login in futures::future::join_all(asking).await {
        assert_eq!(password(login.unwrap()), "ghs_1");
    }
    let later = |minutes| now + SignedDuration::from_mins(minutes);
    assert_eq!(password(tokens.login(&app, &access, later(49)).await.unwrap()), "ghs_1");
    github.state.lock().unwrap().now = later(51);
    assert_eq!(password(tokens.login(&app, &access, later(51)).await.unwrap()), "ghs_2");
    tokens.forget(&app);
    assert_eq!(password(tokens.login(&app, &access, later(51)).await.unwrap()), "ghs_3", "the host did not take it");
    assert_eq!(github.tokens(), 3);
}

/// A token lives for an hour of GitHub's time, whatever our clock does meanwhile.
#[tokio::test]
async fn a_clock_that_jumps_keeps_no_token_for_too_long() {
    let now = Timestamp::now();
    let days = |days: i64| now + SignedDuration::from_hours(24 * days);
    let github = GitHub::start(now);
    let (tokens, access) = (Tokens::default(), access(&github));
    let app = secret(&[], &github.api(), "http://127.0.0.1:1/org/fleet.git").unwrap();
    let jump = async |to: Timestamp| {
        github.state.lock().unwrap().now = to;
        password(tokens.login(&app, &access, to).await.unwrap())
    };
    assert_eq!(jump(now).await, "ghs_1");
    assert_eq!(jump(days(3)).await, "ghs_2", "forward: it looks expired");
    assert_eq!(jump(now).await, "ghs_3", "back: it would look good for three days");
    assert_eq!(jump(days(-3)).await, "ghs_4");
    assert_eq!(jump(days(-3)).await, "ghs_4");
}

#[tokio::test]
async fn whoever_knows_the_numbers_but_not_the_key_gets_no_kept_token() {
    let now = Timestamp::now();
    let github = GitHub::start(now);
    let (tokens, access) = (Tokens::default(), access(&github));
    let url = "http://127.0.0.1/org/fleet.git";
    tokens.login(&secret(&[], &github.api(), url).unwrap(), &access, now).await.unwrap();
    // The same key in other bytes: another one as far as can be told.
    let spaced = format!("{KEY}\n\n x");
    let other = secret(&[("githubAppPrivateKey", &spaced)], &github.api(), url).unwrap();
    tokens.login(&other, &access, now).await.unwrap();
    assert_eq!(github.tokens(), 2);
}

#[tokio::test]
async fn what_github_says_is_said_in_words() {
    let now = Timestamp::now();
    let github = GitHub::start(now);
    let (tokens, access) = (Tokens::default(), access(&github));
    let url = "http://127.0.0.1/org/fleet.git";
    let app = |changes: &[(&str, &str)]| secret(changes, &github.api(), url).unwrap();
    let error = tokens.login(&app(&[("githubAppID", "4712")]), &access, now).await.err().unwrap();
    assert!(matches!(error, TokenError::Unknown) && !error.is_retryable(), "{error}");
    let error = tokens.login(&app(&[("githubAppInstallationID", "43")]), &access, now).await.err().unwrap();
    assert!(matches!(error, TokenError::NotInstalled), "{error}");
    github.state.lock().unwrap().suspended = true;
    let error = tokens.login(&app(&[]), &access, now).await.err().unwrap();
    assert!(matches!(error, TokenError::Suspended), "{error}");
    github.state.lock().unwrap().down = true;
    let error = tokens.login(&app(&[]), &access, now).await.err().unwrap();
    assert!(matches!(error, TokenError::Status(502)) && error.is_retryable(), "{error}");
    let error = tokens.login(&app(&[]), &Access::default(), now).await.err().unwrap();
    assert!(matches!(error, TokenError::PlainHttp), "{error}");
    // A clock an hour off makes a proof that is not good.
    (github.state.lock().unwrap().down, github.state.lock().unwrap().suspended) = (false, false);
    let error = tokens.login(&app(&[]), &access, now - SignedDuration::from_hours(1)).await.err().unwrap();
    assert!(matches!(error, TokenError::Unknown), "{error}");
}

#[test]
fn an_app_is_for_its_own_host() {
    let enterprise = "https://git.example/api/v3";
    assert!(secret(&[], enterprise, "https://robot@GIT.example:8443/org/fleet.git").is_ok());
    assert!(secret(&[("githubAppBaseURL", "")], "", "https://github.com/org/fleet.git").is_ok());
    assert!(secret(&[], "https://api.corp.example", "https://corp.example/org/fleet.git").is_ok());
    for url in [
        "https://evil.example/org/fleet.git",
        "https://git.example.evil.example/x",
        "https://git.example@evil.example/x",
    ] {
        assert_eq!(secret(&[], enterprise, url).err(), Some(SecretError::Elsewhere), "{url}");
    }
    for (key, value, part) in [
        ("githubAppPrivateKey", "hunter2", "not an RSA private key"),
        ("githubAppPrivateKey", "", "no key githubAppPrivateKey"),
        ("githubAppInstallationID", "", "no key githubAppInstallationID"),
        ("githubAppInstallationID", "../x", "not a number"),
        ("githubAppID", "", "no key githubAppID"),
        ("githubAppBaseURL", "git.example", "the address of GitHub's API"),
        ("bearerToken", "hunter2", "both bearerToken and githubAppID"),
    ] {
        let said = secret(&[(key, value)], enterprise, "https://git.example/x").err().unwrap().to_string();
        assert!(said.contains(part) && !said.contains("hunter2"), "{part}: {said}");
    }
}
