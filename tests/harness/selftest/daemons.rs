//! With a script in the place of a daemon: what is tried is the harness.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use harness::config::{AgentConfig, Hook, ReceiverConfig};
use harness::guard::scratch;
use harness::nats::NatsAccess;
use harness::towline::{Daemon, field};

use crate::SOON;

fn start(script: &str) -> Daemon {
    let dir = scratch("daemon");
    let program = dir.join("program");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    Daemon::start_program("daemon", &program, dir, Path::new("/config")).unwrap()
}

#[tokio::test]
async fn addresses_are_read_from_the_log_in_both_forms_and_again_after_a_restart() {
    let mut daemon = start(
        r#"echo 'no JSON' >&2
        echo '{"fields":{"message":"listening","what":"admin","address":"127.0.0.1:2"}}'
        echo '{"message":"listening","what":"public","address":"127.0.0.1:'$(($$ % 60000 + 1))'"}' >&2
        trap 'exit 7' TERM
        while :; do sleep 0.1; done"#,
    );
    assert_eq!(daemon.admin_url("/readyz").await.unwrap(), "http://127.0.0.1:2/readyz");
    let first = daemon.address("public").await.unwrap();
    assert_eq!(u32::from(first.port()), daemon.process().unwrap().pid() % 60_000 + 1);
    daemon.restart().unwrap();
    assert_ne!(daemon.address("public").await.unwrap(), first);
    let opened = daemon.log_lines().iter().filter(|line| field(line, "what") == Some("public")).count();
    assert_eq!(opened, 2);
    assert!(daemon.process().unwrap().resident_bytes() > 0);
    assert_eq!(daemon.terminate(SOON).await.unwrap().code(), Some(7));
}

#[tokio::test]
async fn a_daemon_that_ends_says_why() {
    let mut daemon = start("echo the disk is on fire >&2; exit 2");
    let failure = daemon.address("public").await.unwrap_err().to_string();
    assert!(failure.contains("the disk is on fire") && failure.contains("exit status: 2"), "{failure}");
}

#[test]
fn configurations_are_written_with_their_secrets() {
    let dir = scratch("config");
    let nats = NatsAccess { url: "nats://127.0.0.1:1".to_owned(), nkey: PathBuf::from("/nkey") };
    let file =
        ReceiverConfig::new(nats.clone(), vec![Hook::new("github", "github.com", "s3cret")]).write(&dir).unwrap();
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains("[[hooks]]\npath = \"/hooks/github\"") && !text.contains("s3cret"), "{text}");
    assert_eq!(fs::read_to_string(dir.join("hook-0-secret-0")).unwrap(), "s3cret");

    let config = AgentConfig { nats: Some(nats), ..AgentConfig::new("prod", Path::new("/kubeconfig")) };
    let text = fs::read_to_string(config.write(&dir).unwrap()).unwrap();
    assert!(text.starts_with("cluster = \"prod\"") && text.contains("nkey = \"/nkey\""), "{text}");
}
