//! The Git hosts of the harness, tried: clones, pushes, faults, and the webhooks of a real Gitea.

use std::fs;
use std::sync::{Arc, Mutex};

use harness::failure::Failure;
use harness::git_server::{Fault, GitServer, Options};
use harness::gitea::Gitea;
use harness::guard::scratch;
use harness::repo::git;
use harness::wait_until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::SOON;

/// What a clone finds in `file`.
async fn clone(url: &str, options: &[&str], file: &str) -> Result<String, Failure> {
    let to = scratch("clone");
    let target = to.join("clone");
    let target = target.to_str().expect("scratch folders are UTF-8");
    git(&to, &[options, &["clone", "--quiet", "--depth=1", url, target]].concat()).await?;
    Ok(fs::read_to_string(to.join("clone").join(file)).expect("the clone has the file"))
}

#[tokio::test]
async fn a_clone_sees_what_was_pushed_and_faults_are_felt() {
    let server = GitServer::start().await.unwrap();
    let repo = server.repository("org/fleet").await.unwrap();
    let url = server.url("org/fleet");
    let first = repo.commit(&[("a.yaml", "one"), ("sub/b.yaml", "b")]).await.unwrap();
    assert_eq!(clone(&url, &[], "a.yaml").await.unwrap(), "one");

    repo.commit(&[("a.yaml", "two")]).await.unwrap();
    repo.revert().await.unwrap();
    assert_eq!(clone(&url, &[], "a.yaml").await.unwrap(), "one");

    repo.remove("sub").await.unwrap();
    assert_eq!(repo.force_push(&first).await.unwrap(), first);
    assert_eq!(clone(&url, &[], "sub/b.yaml").await.unwrap(), "b");

    let before = server.request_count();
    for fault in [Fault::Down, Fault::Status(503), Fault::Truncate] {
        server.set_fault(fault).await.unwrap();
        clone(&url, &[], "a.yaml").await.expect_err(&format!("a clone during {fault:?}"));
    }
    assert!(server.request_count() > before);

    server.set_fault(Fault::Stall).await.unwrap();
    let before = server.request_count();
    let cloning = async { clone(&url, &[], "a.yaml").await.unwrap() };
    let lifting = async {
        wait_until("the stalled clone has asked", SOON, async || {
            if server.request_count() > before { Ok(()) } else { Err("no request".to_owned()) }
        })
        .await
        .unwrap();
        server.set_fault(Fault::None).await.unwrap();
    };
    let (content, ()) = tokio::join!(cloning, lifting);
    assert_eq!(content, "one");

    repo.delete_branch("main").await.unwrap();
    let refs = git(repo.work(), &["ls-remote", &url]).await.unwrap();
    assert!(!refs.contains("refs/heads/main"), "{refs}");
}

#[tokio::test]
async fn https_and_credentials_are_asked_for() {
    let credentials = Some(("robot".to_owned(), "secret".to_owned()));
    let server = GitServer::start_with(Options { tls: true, credentials }).await.unwrap();
    let repo = server.repository("private").await.unwrap();
    repo.commit(&[("a", "one")]).await.unwrap();
    let authority = scratch("authority").join("ca.crt");
    fs::write(&authority, server.authority().unwrap()).unwrap();
    let trust = format!("http.sslCAInfo={}", authority.display());
    let url = server.url("private");

    clone(&url, &["-c", &trust], "a").await.expect_err("a clone without credentials");
    let url = url.replace("https://", "https://robot:secret@");
    clone(&url, &[], "a").await.expect_err("a clone that does not know the authority");
    assert_eq!(clone(&url, &["-c", &trust], "a").await.unwrap(), "one");
}

#[tokio::test]
async fn gitea_takes_a_push_and_delivers_its_webhook() {
    let gitea = Gitea::start().await.unwrap();
    let repo = gitea.repository("fleet", true).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hook = format!("http://{}/hooks/gitea", listener.local_addr().unwrap());
    gitea.webhook("fleet", &hook, "hook-secret").await.unwrap();

    let delivery = Arc::new(Mutex::new(String::new()));
    let seen = Arc::clone(&delivery);
    let receiving = async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 64 * 1024];
        while !seen.lock().unwrap().contains("\"after\"") {
            let length = stream.read(&mut buffer).await.unwrap();
            seen.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    };
    let (pushed, received) = tokio::join!(repo.commit(&[("a.yaml", "one")]), tokio::time::timeout(SOON, receiving));
    let commit = pushed.unwrap();
    received.unwrap_or_else(|_| panic!("no delivery; gitea says:\n{}", gitea.log_tail()));

    let delivery = delivery.lock().unwrap().clone();
    assert!(delivery.to_ascii_lowercase().contains("x-gitea-signature:"), "{delivery}");
    assert!(delivery.contains(&commit), "{delivery}");
    clone(&gitea.clone_url("fleet"), &[], "a.yaml").await.expect_err("a clone of a private repository");
    assert_eq!(clone(&gitea.push_url("fleet"), &[], "a.yaml").await.unwrap(), "one");
}
